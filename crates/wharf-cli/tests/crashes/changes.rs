//! The daemon is killed while it changes what is published.

use std::time::{Duration, Instant};

use wharf_daemon::CRASH_CHANGE_STEPS;
use wharf_lab::{Prober, wait};

use super::site::{LIMIT, Site};

/// How soon a client that never stops sending reaches who serves now.
const SOON: Duration = Duration::from_secs(1);
const SPECS: [&str; 2] = ["8080:80", "8080:80/udp"];

/// UDP clients whose flows are never quiet, of a remote host in both families: the kernel remembers
/// where they went.
fn clients(site: &Site) -> Vec<Prober> {
    let begin = |at| site.remote.probe("udp", at, 100).unwrap();
    let all: Vec<Prober> = ["10.1.0.2:8080", "[fd01::2]:8080"].map(begin).into();
    all.iter().for_each(|prober| prober.reaches("blue", LIMIT).map(drop).unwrap());
    all
}

fn blue_and_green(step: &str) -> Option<Site> {
    let site = Site::new(step)?;
    for name in ["blue", "green"] {
        site.wharf.ok(["run", "-d", "--name", name, "-h", name, "wharf/whoami"]);
    }
    site.wharf.publish("blue", &SPECS, &[]);
    Some(site)
}

/// Has the daemon die at `step` of what `line` asks for; the next verb starts another.
fn killed_at(site: &Site, step: &str, line: &[&str]) {
    site.wharf.ok(["shutdown"]);
    let daemon = site.wharf.daemon_with([("WHARF_CRASH_AT", step)]).unwrap();
    site.wharf.fails(line.iter().copied());
    daemon.wait(LIMIT).unwrap();
}

fn a_change_is_finished(step: &str) {
    let Some(site) = blue_and_green(step) else { return };
    let clients = clients(&site);
    let replace = [&["publish", "green", "--replace", "blue"][..], &SPECS[1..]].concat();
    killed_at(&site, step, &replace);
    let began = Instant::now();
    site.wharf.ok(["ps"]);
    for prober in &clients {
        let reached = prober.reaches("green", LIMIT).unwrap();
        let took = reached.saturating_duration_since(began);
        assert!(took < SOON, "{took:?}: {}", prober.so_far());
    }
}

#[test]
fn killed_when_a_change_is_recorded() {
    a_change_is_finished("alter.recorded");
}

#[test]
fn killed_when_a_change_is_served() {
    a_change_is_finished("alter.served");
}

#[test]
fn killed_when_an_end_is_recorded() {
    let step = "unpublish.recorded";
    let Some(site) = blue_and_green(step) else { return };
    let clients = clients(&site);
    killed_at(&site, step, &["unpublish", "blue", "8080:80/udp"]);
    site.wharf.ok(["ps"]);
    for prober in &clients {
        let silent = || {
            let before = prober.so_far().answered;
            std::thread::sleep(SOON / 2);
            (prober.so_far().answered == before).then_some(())
        };
        wait::until(LIMIT, "the end of a flow", silent).unwrap();
    }
    // What belongs to another publication of the same container goes on.
    site.answers(8080);
}

#[test]
fn every_step_of_a_change_is_tested() {
    let tested = ["alter.recorded", "alter.served", "unpublish.recorded"];
    assert_eq!(tested, CRASH_CHANGE_STEPS);
}
