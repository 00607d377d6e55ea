//! A port that moves from one container to another while clients come.

use std::time::{Duration, Instant};

use wharf_lab::Prober;

use super::scene::{AT_ONCE, LIMIT, Line, Scene};

/// A client by every way in.
fn probers(scene: &Scene, proto: &str) -> Vec<Prober> {
    let ways = scene.ways().into_iter();
    ways.map(|(client, address)| client.probe(proto, &format!("{address}:8080"), 200).unwrap())
        .collect()
}

#[track_caller]
fn all_reach(probers: &[Prober], who: &str) {
    for prober in probers {
        prober.reaches(who, LIMIT).unwrap();
    }
}

fn two(name: &str, via: &str) -> Option<Scene> {
    let scene = Scene::new(name)?;
    scene.whoami("old", []);
    scene.whoami("new", []);
    scene.wharf.publish("old", &["8080:80", "8080:80/udp"], &["--via", via]);
    Some(scene)
}

fn move_to(scene: &Scene, to: &str, from: &str, via: &str) -> Instant {
    let moved = Instant::now();
    let flags = ["--via", via, "--replace", from];
    scene.wharf.publish(to, &["8080:80", "8080:80/udp"], &flags);
    moved
}

/// Twice there and twice back, 200 connections a second by each of four ways.
fn no_connection_is_refused(via: &str) {
    let Some(scene) = two(via, via) else { return };
    let probers = probers(&scene, "tcp");
    all_reach(&probers, "old");
    for (to, from) in [("new", "old"), ("old", "new"), ("new", "old"), ("old", "new")] {
        move_to(&scene, to, from, via);
        all_reach(&probers, to);
        probers.iter().for_each(|it| it.answers(20, LIMIT).unwrap());
    }
    let faults: Vec<String> = probers
        .into_iter()
        .zip(scene.ways())
        .map(|(prober, (client, address))| (prober.stop().unwrap(), client.name(), address))
        .filter(|(seen, ..)| !seen.is_flawless() || seen.servers().last() != Some(&"old"))
        .map(|(seen, client, address)| format!("{client} to {address}: {seen}"))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_connection_is_refused_by_the_relay() {
    no_connection_is_refused("relay");
}

#[test]
fn no_connection_is_refused_by_the_kernel() {
    no_connection_is_refused("auto");
}

/// After a moment for what was on its way, nobody reaches the old container.
#[test]
fn nothing_goes_to_the_old_one_afterwards() {
    let Some(scene) = two("afterwards", "auto") else { return };
    move_to(&scene, "new", "old", "auto");
    for proto in ["tcp", "udp"] {
        scene.answers(proto, 8080, "new");
    }
    assert_eq!(scene.published(), ["8080/tcp", "8080/udp"]);
    assert_eq!(scene.wharf.ok(["port", "old"]), "");
    scene.wharf.ok(["rm", "-f", "old"]);
    scene.answers("tcp", 8080, "new");
}

fn a_flow_of_datagrams_reaches_the_new_one(via: &str) {
    let Some(scene) = two(via, via) else { return };
    let probers = probers(&scene, "udp");
    all_reach(&probers, "old");
    let moved = move_to(&scene, "new", "old", via);
    all_reach(&probers, "new");
    for (prober, (client, address)) in probers.into_iter().zip(scene.ways()) {
        let seen = prober.stop().unwrap();
        let way = format!("{} to {address}: {seen}", client.name());
        assert_eq!(seen.servers(), ["old", "new"], "{way}");
        assert!(seen.reached("new", moved).unwrap() < AT_ONCE, "{way}");
        assert!(seen.longest_gap < AT_ONCE, "{way}");
    }
}

#[test]
fn a_flow_of_datagrams_reaches_the_new_one_through_the_relay() {
    a_flow_of_datagrams_reaches_the_new_one("relay");
}

#[test]
fn a_flow_of_datagrams_reaches_the_new_one_through_the_kernel() {
    a_flow_of_datagrams_reaches_the_new_one("auto");
}

/// Without a hand-over: one is taken back, then another published.
fn a_flow_of_datagrams_finds_a_new_publication(via: &str) {
    let Some(scene) = two(via, via) else { return };
    let probers = probers(&scene, "udp");
    all_reach(&probers, "old");
    scene.wharf.unpublish("old", &["--all"]);
    std::thread::sleep(Duration::from_millis(300));
    scene.wharf.publish("new", &["8080:80/udp"], &["--via", via]);
    let published = Instant::now();
    all_reach(&probers, "new");
    for (prober, (client, address)) in probers.into_iter().zip(scene.ways()) {
        let seen = prober.stop().unwrap();
        let reached = seen.reached("new", published).unwrap();
        assert!(reached < AT_ONCE, "{} to {address}: {seen}", client.name());
    }
}

#[test]
fn a_flow_of_datagrams_finds_a_new_publication_in_the_relay() {
    a_flow_of_datagrams_finds_a_new_publication("relay");
}

#[test]
fn a_flow_of_datagrams_finds_a_new_publication_in_the_kernel() {
    a_flow_of_datagrams_finds_a_new_publication("auto");
}

#[test]
fn a_container_that_is_gone_hands_its_flow_over() {
    let Some(scene) = two("gone", "auto") else { return };
    let probers = probers(&scene, "udp");
    all_reach(&probers, "old");
    scene.wharf.ok(["rm", "-f", "old"]);
    scene.wharf.publish("new", &["8080:80/udp"], &[]);
    let published = Instant::now();
    all_reach(&probers, "new");
    for prober in probers {
        let seen = prober.stop().unwrap();
        assert!(seen.reached("new", published).unwrap() < AT_ONCE, "{seen}");
    }
}

#[test]
fn one_port_of_several_is_handed_over() {
    let Some(scene) = Scene::new("one of several") else { return };
    scene.whoami("old", ["-p", "8080:80", "-p", "8081:80", "-p", "7000:7000"]);
    scene.whoami("new", []);
    let listener = scene.listens("old", 7000);
    let mut line = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    scene.wharf.publish("new", &["8080:80"], &["--replace", "old"]);
    scene.answers("tcp", 8080, "new");
    scene.answers("tcp", 8081, "old");
    assert!(line.carries(), "a connection on another port was cut");
    assert_eq!(scene.published(), ["7000/tcp", "8080/tcp", "8081/tcp"]);
}
