//! The daemon is killed while a container ends, or while a failed start is undone.

use wharf_daemon::CRASH_END_STEPS;

use super::site::{LIMIT, Site};
use wharf_lab::wait;

const WEB: u16 = 8080;

/// A container runs beside the one that is to end; what there was before is what is to be left.
fn killed_at(step: &str, running: bool, line: &[&str]) {
    let Some(site) = Site::new(step) else { return };
    let untouched = site.untouched();
    let daemon = site.wharf.daemon().unwrap();
    site.run("other", 9090);
    site.answers(9090);
    let quiet = site.wharf.snapshot().unwrap();
    if running {
        site.run("web", WEB);
        site.answers(WEB);
    }
    site.stop(daemon);

    let daemon = site.wharf.daemon_with([("WHARF_CRASH_AT", step)]).unwrap();
    site.wharf.fails(line.iter().copied());
    daemon.wait(LIMIT).unwrap();
    site.still_answers(9090);

    let daemon = site.wharf.daemon().unwrap();
    site.still_answers(9090);
    let at_rest = if running { "exited" } else { "created" };
    let rests = || (site.wharf.state("web").as_deref() == Some(at_rest)).then_some(());
    wait::until(LIMIT, "the end of web", rests).unwrap();
    assert!(!site.host.can_connect("127.0.0.1:8080"), "its port is free");
    // As at rest there is nothing of it on the host, but for its files.
    site.settles_to(&quiet);
    if running {
        site.wharf.ok(["start", "web"]);
        site.answers(WEB);
    }
    site.goes_without_a_trace(daemon, &quiet, &untouched);
}

fn stopped_at(step: &str) {
    killed_at(step, true, &["stop", "web"]);
}

#[test]
fn killed_when_the_signal_to_stop_is_sent() {
    stopped_at("stop.signalled");
}

#[test]
fn killed_when_an_exit_is_recorded() {
    stopped_at("settle.recorded");
}

#[test]
fn killed_when_the_ports_of_what_has_ended_are_taken_down() {
    stopped_at("settle.withdrawn");
}

#[test]
fn killed_when_what_has_ended_is_unplugged() {
    stopped_at("settle.unplugged");
}

#[test]
fn killed_when_a_failed_start_is_undone() {
    let line = ["run", "-d", "-p", "8080:80", "--name", "web", "--entrypoint", "/nosuch"];
    killed_at("undo.killed", false, &[&line[..], &["wharf/whoami"]].concat());
}

#[test]
fn every_step_of_an_end_is_tested() {
    let tested = [
        "stop.signalled",
        "settle.recorded",
        "settle.withdrawn",
        "settle.unplugged",
        "undo.killed",
    ];
    assert_eq!(tested, CRASH_END_STEPS);
}
