//! A change that a plane cannot make is taken back.

use rustix::process::{Pid, Signal, kill_process};
use wharf_lab::wait;

use super::scene::{LIMIT, Scene};

/// A relay that is stopped answers nothing; ten seconds later that is a failure.
#[test]
fn a_change_that_the_relay_does_not_make_is_undone() {
    let Some(scene) = Scene::new("undone") else { return };
    scene.whoami("web", ["-p", "8080:80,via=relay"]);
    scene.whoami("green", []);
    let relay = *scene.wharf.pids_of("relay").first().unwrap();
    let send = |signal| kill_process(Pid::from_raw(relay).unwrap(), signal).unwrap();
    send(Signal::STOP);
    let failed = scene.wharf.publish_fails("green", &["8080:80"], &["--replace", "web"]);
    send(Signal::CONT);
    assert!(failed.stderr.contains("relay"), "{failed:?}");
    let owner = || scene.wharf.ports_at("8080")[0]["target_name"].as_str().unwrap().to_owned();
    assert_eq!(owner(), "web");
    // The relay may make the change after all, now that it goes on; then it is changed back.
    std::thread::sleep(LIMIT / 4);
    let leads = || {
        let told = scene.remote.told("tcp", "10.1.0.2:8080");
        told.is_ok_and(|told| told.hostname == "web").then_some(())
    };
    wait::until(LIMIT, "the old target", leads).unwrap();
    scene.wharf.ok(["restart", "web"]);
    wait::until(LIMIT, "the port after a restart", leads).unwrap();
}
