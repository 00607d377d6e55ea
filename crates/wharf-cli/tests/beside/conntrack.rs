//! Flows that the kernel remembers: those of what has changed go, all others stay.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use wharf_lab::{Host, Prober};

use super::scene::{AT, LIMIT, RATE, Scene};

/// How soon a client that never stops sending reaches who serves now.
const SOON: Duration = Duration::from_secs(1);

const SPECS: [&str; 2] = ["8080:80", "8080:80/udp"];

/// Clients whose flows are never quiet for long enough to be forgotten: from another host, by both
/// families, and on the host itself.
struct Restless(Vec<Prober>);

impl Restless {
    #[track_caller]
    fn new(scene: &Scene) -> Self {
        let begin = |host: &Host, at| host.probe("udp", at, RATE / 2).unwrap();
        let remote = AT.map(|at| begin(&scene.remote, at));
        let own = begin(&scene.host, "127.0.0.1:8080");
        let all = Self(remote.into_iter().chain([own]).collect());
        all.0.iter().for_each(|prober| prober.answers(10, LIMIT).unwrap());
        all
    }

    /// Every client has reached `server` soon after `moment`.
    #[track_caller]
    fn reach(&self, server: &str, moment: Instant) {
        for prober in &self.0 {
            let reached = prober.reaches(server, LIMIT).unwrap();
            let took = reached.saturating_duration_since(moment);
            eprintln!("{server} {took:?} after the verb began");
            assert!(took < SOON, "{took:?}: {}", prober.so_far());
        }
    }
}

/// Two containers, of which `blue` is published, and a third with another port.
fn blue_and_green(name: &str) -> Option<(Scene, TcpStream)> {
    let scene = Scene::new(name)?;
    for name in ["blue", "green", "other"] {
        scene.whoami(name, []);
    }
    scene.wharf.publish("other", &["9000:80"], &[]);
    scene.wharf.publish("blue", &SPECS, &[]);
    let flow = scene.remote.tcp("10.1.0.2:9000").unwrap();
    Some((scene, flow))
}

/// A connection to another port has not noticed anything.
#[track_caller]
fn goes_on(mut flow: &TcpStream) {
    flow.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(flow.read(&mut [0; 1024]).unwrap() > 0);
}

#[test]
fn a_restless_client_reaches_who_is_published_next() {
    let Some((scene, flow)) = blue_and_green("next") else { return };
    let clients = Restless::new(&scene);
    clients.reach("blue", Instant::now());
    for (old, new) in [("blue", "green"), ("green", "blue")] {
        scene.wharf.unpublish(old, &SPECS);
        let began = Instant::now();
        scene.wharf.publish(new, &SPECS, &[]);
        clients.reach(new, began);
    }
    goes_on(&flow);
}

#[test]
fn a_restless_client_reaches_who_replaces() {
    let Some((scene, flow)) = blue_and_green("replaced") else { return };
    let clients = Restless::new(&scene);
    for (old, new) in [("blue", "green"), ("green", "blue")] {
        let began = Instant::now();
        scene.wharf.publish(new, &SPECS, &["--replace", old]);
        clients.reach(new, began);
    }
    goes_on(&flow);
}

#[test]
fn a_restless_client_reaches_a_container_that_is_started_again() {
    let Some((scene, flow)) = blue_and_green("started") else { return };
    let clients = Restless::new(&scene);
    scene.wharf.ok(["stop", "-t", "0", "blue"]);
    scene.wharf.publish("green", &SPECS, &[]);
    clients.reach("green", Instant::now());
    scene.wharf.unpublish("green", &SPECS);
    scene.again(&["start"], "blue");
    clients.reach("blue", Instant::now());
    goes_on(&flow);
}

#[test]
fn a_restless_client_reaches_another_port_of_the_same_container() {
    let Some(scene) = Scene::new("moved").map(Scene::published) else { return };
    let inside = scene.wharf.container("web").unwrap();
    let named = |scene: &Scene| scene.remote.told("udp", AT[0]).unwrap().port;
    let _teller = inside.tell(&[81]).unwrap();
    let clients = Restless::new(&scene);
    scene.wharf.publish("web", &["8080:81/udp"], &[]);
    assert_eq!(named(&scene), Some(81));
    // The teller answers with the name of its host, which is the container's.
    std::thread::sleep(SOON);
    for prober in &clients.0 {
        prober.answers(10, LIMIT).unwrap();
    }
}

/// Without a replacement nobody is reached, and nothing is remembered that would lead anywhere.
#[test]
fn nothing_is_remembered_of_what_is_not_published_any_more() {
    let Some((scene, flow)) = blue_and_green("forgotten") else { return };
    let clients = Restless::new(&scene);
    scene.wharf.unpublish("blue", &SPECS);
    let (before, moment) = (clients.0[0].so_far().answered, Instant::now());
    std::thread::sleep(SOON);
    let probed = clients.0[0].so_far();
    let late = probed.turns.last().is_some_and(|turn| turn.last > moment + SOON / 2);
    assert!(!late, "still answered, after {before}: {probed}");
    goes_on(&flow);
}
