//! Thousands of ports at once.

use std::time::{Duration, Instant};

use super::scene::{Scene, answered_by};

/// Generous: what is promised of a release build is a second.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs a container with these port specs; returns how long it took.
fn run(scene: &Scene, specs: &[String]) -> Duration {
    let began = Instant::now();
    scene.whoami("many", specs.iter().flat_map(|spec| ["-p", spec]));
    began.elapsed()
}

fn remove(scene: &Scene) -> Duration {
    let began = Instant::now();
    scene.wharf.ok(["rm", "-f", "many"]);
    began.elapsed()
}

/// A container with one port, so that daemon, relay and bridge are there before anything is
/// measured; returns the number of processes besides the container's own.
fn warm_up(scene: &Scene) -> usize {
    scene.whoami("many", ["-p", "7999:80"]);
    let processes = scene.wharf.processes().len();
    scene.wharf.ok(["rm", "-f", "many"]);
    processes
}

#[test]
fn timed_ten_thousand_ports_in_one_range_come_up_and_go_away() {
    let Some(scene) = Scene::new("range") else { return };
    let processes = warm_up(&scene);
    let before = scene.host.snapshot().unwrap();
    let up = run(&scene, &["20000-29999:20000-29999".into(), "12000-16999:12000-16999/udp".into()]);
    assert_eq!(scene.wharf.processes().len(), processes, "a process for every port?");
    let sample = [20_000, 20_001, 23_456, 27_777, 29_999];
    let datagrams = [12_000, 14_567, 16_999];
    let inside = scene.wharf.container("many").unwrap();
    let _teller = inside.tell(&[&sample[..], &datagrams].concat()).unwrap();
    for (ports, proto) in [(&sample[..], "tcp"), (&datagrams, "udp")] {
        for port in ports {
            for (client, address) in [
                (&scene.remote, "10.1.0.2"),
                (&scene.remote, "[fd01::2]"),
                (&scene.host, "127.0.0.1"),
                (&scene.host, "[::1]"),
            ] {
                let address = format!("{address}:{port}");
                assert_eq!(
                    answered_by(client, proto, &address).unwrap(),
                    "many",
                    "{proto} {address}"
                );
            }
        }
    }
    let down = remove(&scene);
    eprintln!("15,000 ports in two ranges: up in {up:?}, down in {down:?}");
    assert!(up < LIMIT && down < LIMIT);
    wharf_lab::assert_same(&before, &scene.host.snapshot().unwrap());
}

#[test]
fn timed_a_thousand_scattered_ports_come_up_and_go_away() {
    let Some(scene) = Scene::new("scattered") else { return };
    let processes = warm_up(&scene);
    let before = scene.host.snapshot().unwrap();
    let port = |n: u16| 10_001 + 13 * n;
    let specs: Vec<String> = (0..1_000)
        .map(|n| format!("{}:80/{}", port(n), if n % 2 == 0 { "tcp" } else { "udp" }))
        .collect();
    let up = run(&scene, &specs);
    assert_eq!(scene.wharf.processes().len(), processes, "a process for every port?");
    for n in [0, 1, 222, 333, 998, 999] {
        let proto = if n % 2 == 0 { "tcp" } else { "udp" };
        for (client, address) in [
            (&scene.remote, "10.1.0.2"),
            (&scene.remote, "[fd01::2]"),
            (&scene.host, "127.0.0.1"),
            (&scene.host, "[::1]"),
        ] {
            let address = format!("{address}:{}", port(n));
            assert_eq!(answered_by(client, proto, &address).unwrap(), "many", "{proto} {address}");
        }
    }
    let down = remove(&scene);
    eprintln!("1,000 scattered ports: up in {up:?}, down in {down:?}");
    assert!(up < LIMIT && down < LIMIT);
    wharf_lab::assert_same(&before, &scene.host.snapshot().unwrap());
}

#[test]
fn every_port_can_be_published_of_one_address_as_far_as_descriptors_go() {
    let Some(scene) = Scene::new("most") else { return };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    // What the program keeps for connections, and a little less.
    let ports = u16::try_from(limit.saturating_sub(1_100).min(40_000)).unwrap();
    let last = 10_000 + ports - 1;
    scene.whoami("many", ["-p", &format!("10.1.0.2:10000-{last}:10000-{last}")]);
    let _teller = scene.wharf.container("many").unwrap().tell(&[10_000, last]).unwrap();
    for port in [10_000, last] {
        assert_eq!(answered_by(&scene.remote, "tcp", &format!("10.1.0.2:{port}")).unwrap(), "many");
    }
}
