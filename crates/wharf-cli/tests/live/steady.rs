//! Two hundred connections a second from another host, and what must not disturb a single one.

use std::process::Command;
use std::time::{Duration, Instant};

use wharf_lab::{Prober, wait};

use super::scene::{AT_ONCE, LIMIT, Scene};

/// A debug build takes several times as long as what is installed.
const TIMES: u32 = if cfg!(debug_assertions) { 100 } else { 500 };

/// A client by each family from the remote host, and by each from the host itself.
fn served(name: &str) -> Option<(Scene, Vec<Prober>)> {
    let scene = Scene::new(name)?;
    scene.whoami("web", ["-p", "8080:80"]);
    let ways = scene.ways().into_iter();
    let probers = ways
        .map(|(client, address)| client.probe("tcp", &format!("{address}:8080"), 200).unwrap())
        .collect::<Vec<_>>();
    probers.iter().for_each(|it| it.answers(20, LIMIT).unwrap());
    Some((scene, probers))
}

#[track_caller]
fn nothing_failed(scene: &Scene, probers: Vec<Prober>) {
    let mut faults = Vec::new();
    for (prober, (client, address)) in probers.into_iter().zip(scene.ways()) {
        prober.answers(20, LIMIT).unwrap();
        let seen = prober.stop().unwrap();
        println!("{} to {address}: {seen}", client.name());
        if !seen.is_flawless() {
            faults.push(format!("{} to {address}: {seen}", client.name()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn twenty_flushes_of_all_rules_are_not_noticed() {
    let Some((scene, probers)) = served("flushes") else { return };
    for _ in 0..20 {
        let mut flush = Command::new("nft");
        flush.args(["flush", "ruleset"]);
        let output = scene.host.output(flush, LIMIT).unwrap();
        assert!(output.is_success(), "{output:?}");
        probers.iter().for_each(|it| it.answers(40, LIMIT).unwrap());
    }
    nothing_failed(&scene, probers);
}

#[test]
fn five_deaths_of_the_daemon_are_not_noticed() {
    let Some((scene, probers)) = served("deaths") else { return };
    for _ in 0..5 {
        scene.wharf.kill9("daemon").unwrap();
        probers.iter().for_each(|it| it.answers(20, LIMIT).unwrap());
        scene.wharf.ok(["ps"]);
        probers.iter().for_each(|it| it.answers(20, LIMIT).unwrap());
    }
    nothing_failed(&scene, probers);
}

#[test]
fn other_ports_that_come_and_go_are_not_noticed() {
    let Some(scene) = Scene::new("other ports") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    scene.whoami("other", []);
    let prober = scene.remote.probe("tcp", "10.1.0.2:8080", 200).unwrap();
    let began = Instant::now();
    for port in 9000..9000 + TIMES {
        let spec = format!("{port}:80");
        scene.wharf.publish("other", &[&spec], &[]);
        scene.wharf.unpublish("other", &[&spec]);
    }
    println!("a publish and an unpublish took {:?}", began.elapsed() / TIMES);
    let seen = prober.stop().unwrap();
    println!("{seen}");
    assert!(seen.is_flawless(), "{seen}");
}

/// What the kernel carries goes on; what the relay carries is served again within a second.
#[test]
fn a_killed_relay_is_a_short_pause_for_some_and_nothing_for_others() {
    let Some((scene, probers)) = served("killed relay") else { return };
    for _ in 0..3 {
        assert_eq!(scene.wharf.kill9("relay").unwrap(), 1);
        probers.iter().for_each(|it| it.answers(100, LIMIT).unwrap());
    }
    for (prober, (client, address)) in probers.into_iter().zip(scene.ways()) {
        let seen = prober.stop().unwrap();
        let way = format!("{} to {address}: {seen}", client.name());
        assert!(seen.is_flawless() || client.name() == "host", "{way}");
        assert!(seen.longest_gap < AT_ONCE, "{way}");
    }
}

#[test]
fn a_bridge_that_was_taken_away_is_back_within_a_second() {
    let Some((scene, probers)) = served("bridge") else { return };
    for _ in 0..3 {
        scene.host.delete_interface("wharf0").unwrap();
        std::thread::sleep(AT_ONCE);
        let failed: Vec<u64> = probers.iter().map(|it| it.so_far().failed).collect();
        probers.iter().for_each(|it| it.answers(50, LIMIT).unwrap());
        let later: Vec<u64> = probers.iter().map(|it| it.so_far().failed).collect();
        assert_eq!(failed, later, "failures more than a second after");
    }
}

/// The fast path is back within a second, whether or not the table can be owned.
#[test]
fn the_kernel_plane_is_back_within_a_second_of_a_flush() {
    let Some(scene) = Scene::new("back") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    for _ in 0..3 {
        let mut flush = Command::new("nft");
        flush.args(["flush", "ruleset"]);
        assert!(scene.host.output(flush, LIMIT).unwrap().is_success());
        // The client's address is what the kernel plane keeps; without a way back, the relay shows
        // its own.
        wait::until(Duration::from_secs(1), "the kernel plane", || {
            let rules = scene.host.snapshot().ok()?;
            rules.section("nftables").iter().any(|rule| rule.contains("wharf")).then_some(())
        })
        .unwrap();
        let told = scene.remote.told("tcp", "10.1.0.2:8080").unwrap();
        assert_eq!(told.source.to_string(), "10.1.0.1");
    }
}
