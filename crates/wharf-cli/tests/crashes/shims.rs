//! The shim of a container is killed at each named step of its life.

use wharf_lab::wait;
use wharf_runtime::crash::SHIM_STEPS;

use super::site::{LIMIT, Site};

const WEB: u16 = 8080;

/// What a step is part of, and what is known of the container's end after it.
enum Part {
    Start,
    /// The exit code is the program's if it was written down, and 137 otherwise.
    End(&'static str),
}

fn killed_at(step: &str, part: Part) {
    let Some(site) = Site::new(step) else { return };
    let untouched = site.untouched();
    let daemon = site.wharf.daemon().unwrap();
    site.run("other", 9090);
    site.answers(9090);
    let quiet = site.wharf.snapshot().unwrap();
    site.stop(daemon);

    let daemon = site.wharf.daemon_with([("WHARF_SHIM_CRASH_AT", step)]).unwrap();
    site.wharf.ok(["create", "--name", "web", "-p", "8080:80", "wharf/whoami"]);
    let at_rest = match part {
        Part::Start => {
            site.wharf.fails(["start", "web"]);
            "created"
        }
        Part::End(code) => {
            site.wharf.ok(["start", "web"]);
            site.answers(WEB);
            site.wharf.ok(["stop", "web"]);
            assert_eq!(site.wharf.ok(["wait", "web"]), code);
            "exited"
        }
    };
    let rests = || (site.wharf.state("web").as_deref() == Some(at_rest)).then_some(());
    wait::until(LIMIT, "the end of web", rests).unwrap();
    assert!(!site.host.can_connect("127.0.0.1:8080"), "its port is free");
    site.settles_to(&quiet);
    site.still_answers(9090);
    site.stop(daemon);

    let daemon = site.wharf.daemon().unwrap();
    assert_eq!(site.wharf.state("web").as_deref(), Some(at_rest));
    site.wharf.ok(["start", "web"]);
    site.answers(WEB);
    site.goes_without_a_trace(daemon, &quiet, &untouched);
}

#[test]
fn killed_when_the_root_is_mounted() {
    killed_at("shim.mounted", Part::Start);
}

#[test]
fn killed_when_the_process_waits() {
    killed_at("shim.created", Part::Start);
}

#[test]
fn killed_when_the_program_has_begun() {
    killed_at("shim.started", Part::Start);
}

#[test]
fn killed_when_the_program_has_ended() {
    killed_at("shim.ended", Part::End("137"));
}

#[test]
fn killed_when_the_exit_code_is_written_down() {
    killed_at("shim.recorded", Part::End("0"));
}

#[test]
fn killed_when_everything_is_taken_away() {
    killed_at("shim.removed", Part::End("0"));
}

#[test]
fn every_step_of_a_shim_is_tested() {
    let tested = [
        "shim.mounted",
        "shim.created",
        "shim.started",
        "shim.ended",
        "shim.recorded",
        "shim.removed",
    ];
    assert_eq!(tested, SHIM_STEPS);
}
