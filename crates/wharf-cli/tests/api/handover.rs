//! One daemon after another: while one is leaving, and when one cannot start.

use std::time::{Duration, Instant};

use super::site::{LIMIT, Site};

/// A verb that learns at once why no daemon starts takes much less than it would wait for one.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_verb_that_meets_a_leaving_daemon_gets_the_next_one() {
    let Some(site) = Site::new("leaving daemon") else { return };
    site.run("web");
    // A reader that follows keeps the daemon from leaving at once.
    let mut follower = site.wharf.spawn(["logs", "-f", "web"]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let mut leaving = site.wharf.spawn(["shutdown"]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let listed = site.wharf.ok(["ps"]);
    assert!(listed.contains("web"), "{listed}");
    assert!(leaving.wait(LIMIT).unwrap().success());
    follower.kill9().unwrap();
}

#[test]
fn a_daemon_that_cannot_start_says_why_at_once() {
    let Some(site) = Site::new("bad pools") else { return };
    let wharf = site.host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
    let wharf = wharf.with_env("WHARF_POOLS", "banana");
    let began = Instant::now();
    let refused = wharf.fails(["ps"]);
    assert!(refused.stderr.contains("banana"), "{}", refused.stderr);
    assert!(began.elapsed() < SOON);
    let wharf = wharf.with_env("WHARF_POOLS", "");
    wharf.ok(["ps"]);
}

#[test]
fn a_second_run_directory_for_the_same_state_is_refused_with_the_holder() {
    let Some(site) = Site::new("two run directories") else { return };
    site.run("web");
    let other = site.wharf.directory().join("other-run");
    let mut command = site.wharf.command(["daemon"]);
    command.env("WHARF_RUN_DIR", &other);
    let output = site.host.output(command, LIMIT).unwrap();
    assert_eq!(output.code(), 1);
    let pid = site.wharf.pids_of("daemon")[0].to_string();
    assert!(output.stderr.contains("already serves"), "{}", output.stderr);
    assert!(output.stderr.contains(&pid), "{}", output.stderr);
}
