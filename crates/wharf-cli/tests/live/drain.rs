//! What is open when a port is taken back.

use std::time::Instant;

use wharf_lab::wait;

use super::scene::{LIMIT, Line, Scene};

fn server(name: &str, via: &str) -> Option<(Scene, std::net::TcpListener)> {
    let scene = Scene::new(name)?;
    scene.whoami("web", []);
    let listener = scene.listens("web", 7000);
    scene.wharf.publish("web", &["7000:7000"], &["--via", via]);
    Some((scene, listener))
}

fn becomes_closed(scene: &Scene) {
    wait::until(LIMIT, "the end of the port", || {
        (!scene.remote.can_connect("10.1.0.2:7000")).then_some(())
    })
    .unwrap();
}

fn without_a_drain_open_connections_end(via: &str) {
    let Some((scene, listener)) = server(via, via) else { return };
    let lines = scene
        .ways()
        .map(|(client, address)| Line::open(client, &format!("{address}:7000"), &listener));
    scene.wharf.unpublish("web", &["7000:7000"]);
    for (mut line, (client, address)) in lines.into_iter().zip(scene.ways()) {
        assert!(!line.carries(), "{} still talks to {address}", client.name());
    }
    becomes_closed(&scene);
}

#[test]
fn without_a_drain_open_connections_end_in_the_relay() {
    without_a_drain_open_connections_end("relay");
}

#[test]
fn without_a_drain_open_connections_end_in_the_kernel() {
    without_a_drain_open_connections_end("auto");
}

/// The command is left running: whether it waits for the end of the drain is its own affair.
fn a_drain_lets_open_connections_end(via: &str) {
    let Some((scene, listener)) = server(via, via) else { return };
    let mut lines = scene
        .ways()
        .map(|(client, address)| Line::open(client, &format!("{address}:7000"), &listener));
    let draining = scene.wharf.spawn(["unpublish", "web", "7000:7000", "--drain", "30s"]).unwrap();
    becomes_closed(&scene);
    assert!(lines.iter_mut().all(Line::carries), "{}", draining.stderr());
    let began = Instant::now();
    drop(lines);
    let output = draining.output(LIMIT).unwrap();
    assert!(output.is_success(), "{output:?}");
    wait::until(LIMIT, "the end of the publication", || scene.published().is_empty().then_some(()))
        .unwrap();
    assert!(began.elapsed() < LIMIT, "the whole drain was waited out");
}

#[test]
fn a_drain_lets_open_connections_end_in_the_relay() {
    a_drain_lets_open_connections_end("relay");
}

#[test]
fn a_drain_lets_open_connections_end_in_the_kernel() {
    a_drain_lets_open_connections_end("auto");
}

#[test]
fn a_drain_that_is_over_cuts_what_is_left() {
    let Some((scene, listener)) = server("over", "relay") else { return };
    let mut line = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    let draining = scene.wharf.spawn(["unpublish", "web", "7000:7000", "--drain", "2s"]).unwrap();
    becomes_closed(&scene);
    assert!(line.carries());
    wait::until(LIMIT, "the end of the drain", || (!line.carries()).then_some(())).unwrap();
    assert!(draining.output(LIMIT).unwrap().is_success());
    assert!(scene.published().is_empty());
}

#[test]
fn a_port_that_drains_can_be_had_by_another() {
    let Some((scene, listener)) = server("next", "relay") else { return };
    let mut line = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    let draining = scene.wharf.spawn(["unpublish", "web", "7000:7000", "--drain", "30s"]).unwrap();
    becomes_closed(&scene);
    scene.whoami("next", []);
    scene.wharf.publish("next", &["7000:80"], &[]);
    scene.answers("tcp", 7000, "next");
    assert!(line.carries());
    drop(line);
    assert!(draining.output(LIMIT).unwrap().is_success());
    scene.answers("tcp", 7000, "next");
}
