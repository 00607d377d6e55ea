//! The daemon is killed at each named step of `run` and `rm`.

use wharf_daemon::CRASH_STEPS;

use super::site::{LIMIT, Site};

const OTHER: u16 = 9090;
const WEB: u16 = 8080;

/// One test for each step, and the list of those there are.
macro_rules! steps {
    ($($test:ident: $step:literal,)*) => {
        const TESTED: &[&str] = &[$($step),*];
        $(
            #[test]
            fn $test() {
                killed_at($step);
            }
        )*
    };
}

steps! {
    killed_when_a_new_container_is_recorded: "create.recorded",
    killed_when_a_new_containers_files_are_made: "create.files",
    killed_when_a_new_container_is_complete: "create.done",
    killed_when_ports_are_reserved: "start.reserved",
    killed_when_a_start_is_announced: "start.marked",
    killed_when_the_shim_is_launched: "start.launched",
    killed_when_the_network_is_plugged_in: "start.plugged",
    killed_when_the_process_is_made: "start.created",
    killed_when_publications_are_recorded: "start.recorded",
    killed_when_the_relay_has_the_sockets: "start.relayed",
    killed_when_the_kernel_has_the_rules: "start.published",
    killed_when_the_program_runs: "start.started",
    killed_when_the_start_is_recorded: "start.done",
    killed_when_a_removal_is_announced: "remove.marked",
    killed_when_the_process_is_ended: "remove.killed",
    killed_when_publications_are_taken_down: "remove.unpublished",
    killed_when_the_network_is_unplugged: "remove.unplugged",
    killed_when_the_files_are_removed: "remove.files",
}

#[test]
fn every_step_is_tested() {
    let [mut tested, mut known] = [TESTED.to_vec(), CRASH_STEPS.to_vec()];
    tested.sort_unstable();
    known.sort_unstable();
    assert_eq!(tested, known);
}

fn killed_at(step: &str) {
    let Some(site) = Site::new(step) else { return };
    let untouched = site.untouched();
    let switches = site.switches();
    let removing = step.starts_with("remove.");

    let daemon = site.wharf.daemon().unwrap();
    site.run("other", OTHER);
    site.answers(OTHER);
    let quiet = site.wharf.snapshot().unwrap();
    let process = site.pid("other");
    if removing {
        site.run("web", WEB);
        site.answers(WEB);
    }
    site.stop(daemon);

    let daemon = site.wharf.daemon_with([("WHARF_CRASH_AT", step)]).unwrap();
    if removing {
        site.wharf.fails(["rm", "-f", "web"]);
    } else {
        let publish = format!("{WEB}:80");
        site.wharf.fails(["run", "-d", "-p", &publish, "--name", "web", "wharf/whoami"]);
    }
    daemon.wait(LIMIT).unwrap();
    site.still_answers(OTHER);

    let daemon = site.wharf.daemon().unwrap();
    site.still_answers(OTHER);
    assert_eq!(site.pid("other"), process, "it is the same process");
    what_is_left_of_web_is_sound(&site, step);
    site.wharf.ok(["rm", "-f", "web"]);
    // Only the unrelated container is there, as if nothing had happened.
    site.settles_to(&quiet);

    site.run("web", WEB);
    site.answers(WEB);
    site.still_answers(OTHER);
    site.wharf.ok(["rm", "-f", "web", "other"]);
    site.wharf.ok(["shutdown"]);
    daemon.wait(LIMIT).unwrap();
    site.left_nothing(&untouched);
    assert_eq!(site.switches(), switches);
}

/// Whatever step it was: a container that is said to run is served, any other can be started.
fn what_is_left_of_web_is_sound(site: &Site, step: &str) {
    let state = site.wharf.state("web");
    match (step, state.as_deref()) {
        // Nobody had been told its name.
        ("create.recorded" | "create.files", None) => return,
        ("create.done" | "start.reserved", Some("created")) => {}
        ("start.started" | "start.done", Some("running")) => {}
        // It had not run: it may be started again.
        (step, Some("created" | "exited")) if step.starts_with("start.") => {}
        // What was begun is finished.
        (step, None) if step.starts_with("remove.") => return,
        (step, state) => panic!("after {step} it is {state:?}"),
    }
    site.wharf.ok(["start", "web"]);
    site.answers(WEB);
    let ports = site.wharf.json(["ports"]);
    let ports = ports.as_array().unwrap();
    assert!(ports.iter().all(|it| it["state"] == "active"), "{ports:#?}");
    assert_eq!(ports.len(), 2);
}
