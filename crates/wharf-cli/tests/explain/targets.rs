//! Targets that are no containers of Wharf's.

use std::os::fd::{AsFd, AsRawFd};

use wharf_lab::{Docker, Host, Podman};

use super::scene::Scene;

#[test]
fn a_namespace_is_looked_into() {
    let Some(scene) = Scene::new("namespace") else { return };
    let blue = scene.lab.host("blue").unwrap();
    let Some(place) = kept(&scene, &blue) else { return };
    scene.wharf.publish(&format!("netns:{place}"), &["8080:80"], &[]);
    scene.by_remote("8080").fails("listening", "nothing listens on 80/tcp", "start the server");
    let _teller = blue.tcp_listen("127.0.0.1:80").unwrap();
    let way = scene.by_remote("8080").works();
    assert!(way.hop("target").contains("entered by the relay"), "{way:?}");
    assert!(!way.has("bridge") && !way.has("veth"), "{way:?}");
}

/// A file that leads to the namespace of `host`, as long as the test runs.
fn kept(scene: &Scene, host: &Host) -> Option<String> {
    let descriptor = host.netns().as_fd().as_raw_fd();
    let link = scene.lab.directory().join(format!("ns-{}", host.name()));
    let own = format!("/proc/{}/fd/{descriptor}", std::process::id());
    std::os::unix::fs::symlink(own, &link).ok()?;
    Some(link.to_str()?.to_owned())
}

#[test]
fn a_machine_is_asked() {
    let Some(scene) = Scene::new("machine") else { return };
    scene.wharf.publish("addr:10.1.0.1", &["8080:80"], &[]);
    let way = scene.way("8080", Some("host"));
    way.fails("listening", "10.1.0.1:80 does not accept a connection", "have something listen");
    let _teller = scene.remote.tell(&[80]).unwrap();
    let way = scene.way("8080", Some("host")).works();
    assert!(way.hop("target").contains("10.1.0.1 is on a link of this host"), "{way:?}");
}

const SLEEP: [&str; 6] = ["run", "-d", "--name", "theirs", "--stop-signal=KILL", "box"];

#[test]
fn a_container_of_dockers_is_looked_into() {
    let Some(scene) = Scene::new("docker") else { return };
    let Some(rootfs) = scene.busybox() else { return };
    let home = scene.host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
    let Some(docker) = Docker::start(&home, &["--bip=172.29.0.1/24"]).unwrap() else { return };
    docker.import(&rootfs, "box").unwrap();
    let scene = scene.with_engine("WHARF_DOCKER_SOCKET", &docker.socket());
    docker.ok(&[&SLEEP[..], &["sleep", "600"]].concat());
    scene.wharf.publish("docker:theirs", &["8080:80"], &[]);
    scene.by_remote("8080").fails("listening", "nothing listens on 80/tcp", "start the server");
    let teller = docker.container("theirs").unwrap().tell(&[80]).unwrap();
    let way = scene.by_remote("8080").works();
    assert!(way.hop("bridge").contains("docker0 is up"), "{way:?}");
    assert!(way.hop("target").contains("docker's container theirs, process"), "{way:?}");
    assert!(way.hop("plane").contains("docker decides what is forwarded"), "{way:?}");
    drop(teller);
    docker.ok(&["stop", "-t", "0", "theirs"]);
    let way = scene.once("8080", |way| way.fails_at() == "target");
    way.fails("target", "theirs", "docker start theirs");
}

#[test]
fn a_container_of_podmans_is_looked_into() {
    let Some(scene) = Scene::new("podman") else { return };
    let Some(rootfs) = scene.busybox() else { return };
    let home = scene.host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
    let Some(podman) = Podman::start(&home).unwrap() else { return };
    podman.import(&rootfs, "box").unwrap();
    let scene = scene.with_engine("WHARF_PODMAN_SOCKET", &podman.socket());
    podman.ok(&[&SLEEP[..], &["sleep", "600"]].concat());
    let _teller = podman.container("theirs").unwrap().tell(&[80]).unwrap();
    scene.wharf.publish("podman:theirs", &["8080:80"], &[]);
    let way = scene.by_remote("8080").works();
    assert!(way.hop("target").contains("podman's container theirs, process"), "{way:?}");
}
