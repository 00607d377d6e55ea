//! Containers of Docker and Podman, published by us and followed.

use std::time::Duration;

use wharf_lab::{Docker, Podman, Wharf, wait};

use super::scene::{LIMIT, Scene};

/// Docker's own address range, away from what a test host has.
const BRIDGE: &str = "--bip=172.29.0.1/24";
const SLEEP: [&str; 3] = ["box", "sleep", "600"];

/// An engine on the host, with an image called `box`.
struct Beside<E> {
    // First: it ends before the instance whose directory and cgroups it lives in.
    engine: E,
    /// An instance that does nothing. Our own daemon would take the engine's containers for
    /// leftovers if they were in its cgroups.
    _home: Wharf,
    scene: Scene,
}

fn home(scene: &Scene) -> Wharf {
    scene.host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap()
}

fn docker(name: &str) -> Option<Beside<Docker>> {
    let scene = Scene::new(name)?;
    let (rootfs, home) = (scene.busybox()?, home(&scene));
    let engine = Docker::start(&home, &[BRIDGE]).unwrap()?;
    engine.import(&rootfs, "box").unwrap();
    let scene = scene.with_engine("WHARF_DOCKER_SOCKET", &engine.socket());
    Some(Beside { engine, _home: home, scene })
}

fn podman(name: &str) -> Option<Beside<Podman>> {
    let scene = Scene::new(name)?;
    let (rootfs, home) = (scene.busybox()?, home(&scene));
    let engine = Podman::start(&home).unwrap()?;
    engine.import(&rootfs, "box").unwrap();
    let scene = scene.with_engine("WHARF_PODMAN_SOCKET", &engine.socket());
    Some(Beside { engine, _home: home, scene })
}

/// By every way, and soon: an event has to come first.
#[track_caller]
fn comes_to_answer(scene: &Scene, who: &str) {
    let answered = || scene.remote.told("tcp", "10.1.0.2:8080").is_ok_and(|it| it.hostname == who);
    wait::until(LIMIT, who, || answered().then_some(())).unwrap();
    scene.answers("tcp", 8080, who);
    scene.answers("udp", 8080, who);
}

#[test]
fn a_docker_container_is_found_and_followed() {
    let Some(beside) = docker("docker target") else { return };
    let (docker, scene) = (&beside.engine, &beside.scene);
    let line = [&["run", "-d", "--name", "theirs", "--stop-signal=KILL"][..], &SLEEP].concat();
    docker.ok(&line);
    let teller = docker.container("theirs").unwrap().tell(&[80]).unwrap();
    scene.wharf.publish("docker:theirs", &["8080:80", "8080:80/udp"], &[]);
    comes_to_answer(scene, "theirs");
    // Another one takes its address while it is away.
    docker.ok(&["stop", "-t", "0", "theirs"]);
    drop(teller);
    docker.ok(&[&["run", "-d", "--name", "squatter"][..], &SLEEP].concat());
    let _squatter = docker.container("squatter").unwrap().tell(&[80]).unwrap();
    docker.ok(&["start", "theirs"]);
    let _teller = docker.container("theirs").unwrap().tell(&[80]).unwrap();
    comes_to_answer(scene, "theirs");
    docker.ok(&["rm", "-f", "theirs"]);
    wait::until(LIMIT, "the end of its ports", || scene.published().is_empty().then_some(()))
        .unwrap();
    scene.is_closed("tcp", 8080);
}

#[test]
fn a_docker_container_is_one_target_by_its_name_and_by_its_id() {
    let Some(beside) = docker("docker names") else { return };
    let (docker, scene) = (&beside.engine, &beside.scene);
    let line = [&["run", "-d", "--name", "theirs", "--stop-signal=KILL"][..], &SLEEP].concat();
    let id = docker.ok(&line).trim().to_owned();
    let (short, long) = (format!("docker:{}", &id[..12]), format!("docker:{id}"));
    let _teller = docker.container("theirs").unwrap().tell(&[80]).unwrap();
    scene.wharf.publish("docker:theirs", &["8080:80"], &[]);
    scene.wharf.publish(&short, &["8081:80"], &[]);
    scene.wharf.publish(&long, &["8080:80"], &["--allow", "10.1.0.0/24"]);
    let ports = scene.wharf.ports();
    let names: Vec<&str> = ports.iter().map(|it| it["target_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["docker:theirs"; 2], "{ports:#?}");
    scene.wharf.unpublish(&short, &["8080:80"]);
    scene.wharf.unpublish("docker:theirs", &["8081:80"]);
    assert!(scene.published().is_empty());
}

#[test]
fn a_stopped_docker_container_is_not_another_s_way_in() {
    let Some(beside) = docker("docker stopped") else { return };
    let (docker, scene) = (&beside.engine, &beside.scene);
    docker.ok(&[&["run", "-d", "--name", "theirs", "--stop-signal=KILL"][..], &SLEEP].concat());
    let teller = docker.container("theirs").unwrap().tell(&[80]).unwrap();
    scene.wharf.publish("docker:theirs", &["8080:80"], &[]);
    scene.answers("tcp", 8080, "theirs");
    docker.ok(&["stop", "-t", "0", "theirs"]);
    drop(teller);
    docker.ok(&[&["run", "-d", "--name", "squatter"][..], &SLEEP].concat());
    let _squatter = docker.container("squatter").unwrap().tell(&[80]).unwrap();
    // Within a second of the event nobody gets to whoever has the address now.
    std::thread::sleep(Duration::from_secs(1));
    scene.is_closed("tcp", 8080);
}

#[test]
fn a_docker_container_without_a_network_is_reached_from_inside() {
    let Some(beside) = docker("docker none") else { return };
    let (docker, scene) = (&beside.engine, &beside.scene);
    docker.ok(&[&["run", "-d", "--name", "theirs", "--network", "none"][..], &SLEEP].concat());
    let _teller = docker.container("theirs").unwrap().tell(&[80]).unwrap();
    scene.wharf.publish("docker:theirs", &["8080:80", "8080:80/udp"], &[]);
    // Docker gives it no IPv6 loopback; clients of that family have a test of their own.
    for proto in ["tcp", "udp"] {
        assert_eq!(scene.remote.told(proto, "10.1.0.2:8080").unwrap().hostname, "theirs");
        assert_eq!(scene.host.told(proto, "127.0.0.1:8080").unwrap().hostname, "theirs");
    }
}

#[test]
fn a_podman_container_is_found_and_followed() {
    let Some(beside) = podman("podman target") else { return };
    let (podman, scene) = (&beside.engine, &beside.scene);
    podman.ok(&[&["run", "-d", "--name", "theirs", "--stop-signal=KILL"][..], &SLEEP].concat());
    let teller = podman.container("theirs").unwrap().tell(&[80]).unwrap();
    scene.wharf.publish("podman:theirs", &["8080:80", "8080:80/udp"], &[]);
    comes_to_answer(scene, "theirs");
    podman.ok(&["stop", "-t", "0", "theirs"]);
    drop(teller);
    podman.ok(&["start", "theirs"]);
    let _teller = podman.container("theirs").unwrap().tell(&[80]).unwrap();
    comes_to_answer(scene, "theirs");
    podman.ok(&["rm", "-f", "theirs"]);
    wait::until(LIMIT, "the end of its ports", || scene.published().is_empty().then_some(()))
        .unwrap();
}

#[test]
fn a_hand_over_goes_from_docker_to_us() {
    let Some(beside) = docker("docker to us") else { return };
    let (docker, scene) = (&beside.engine, &beside.scene);
    docker.ok(&[&["run", "-d", "--name", "theirs"][..], &SLEEP].concat());
    let _teller = docker.container("theirs").unwrap().tell(&[80]).unwrap();
    scene.whoami("ours", []);
    scene.wharf.publish("docker:theirs", &["8080:80"], &[]);
    let prober = scene.remote.probe("tcp", "10.1.0.2:8080", 200).unwrap();
    prober.reaches("theirs", LIMIT).unwrap();
    scene.wharf.publish("ours", &["8080:80"], &["--replace", "docker:theirs"]);
    prober.reaches("ours", LIMIT).unwrap();
    let seen = prober.stop().unwrap();
    assert!(seen.is_flawless(), "{seen}");
    docker.ok(&["rm", "-f", "theirs"]);
    scene.answers("tcp", 8080, "ours");
}
