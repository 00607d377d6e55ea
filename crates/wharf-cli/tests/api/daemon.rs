//! The daemon's process.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;

use super::site::{LIMIT, Site};

#[test]
fn the_socket_is_for_root_and_a_group_only() {
    let Some(site) = Site::new("socket") else { return };
    let _daemon = site.wharf.daemon().unwrap();
    let found = std::fs::metadata(site.wharf.run_dir().join("wharf.sock")).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    let state = std::fs::metadata(site.wharf.state_dir().join("wharf.redb")).unwrap();
    assert_eq!(state.permissions().mode() & 0o077, 0, "the ledger is root's");
}

#[test]
fn a_verb_starts_the_daemon_and_leaves_it_running() {
    let Some(site) = Site::new("on demand") else { return };
    assert_eq!(site.wharf.processes(), []);
    let version = site.wharf.json(["version"]);
    assert!(version[0]["daemon"].is_null(), "this verb does not need one: {version}");
    // `ok` also fails when the daemon keeps the verb's output open.
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
    let pids = site.wharf.pids_of("daemon");
    assert_eq!(pids.len(), 1);
    assert_eq!(site.wharf.json(["version"])[0]["daemon"]["pid"], pids[0]);
    // It is nobody's child and nobody's job.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pids[0])).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own = own.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_ne!(fields[3], own, "it is in a session of its own");
    let directory = std::fs::read_link(format!("/proc/{}/cwd", pids[0])).unwrap();
    assert_eq!(directory.to_str(), Some("/"), "it keeps nobody's file system busy");
    site.wharf.ok(["shutdown"]);
    assert_eq!(site.wharf.processes(), []);
    assert!(!site.wharf.run_dir().join("wharf.sock").exists());
}

#[test]
fn a_second_daemon_refuses_and_names_the_first() {
    let Some(site) = Site::new("second daemon") else { return };
    let first = site.wharf.daemon().unwrap();
    let refused = site.wharf.fails(["daemon"]);
    assert_eq!(refused.code(), 1);
    let pid = format!("pid {}", first.pid());
    assert!(
        refused.stderr.contains("another daemon") && refused.stderr.contains(&pid),
        "{refused:?}"
    );
    assert_eq!(site.wharf.ok(["ps", "-q"]), "", "the first does not mind");
    first.kill9().unwrap();
    // What a killed one leaves does not keep the next from starting.
    let next = site.wharf.daemon().unwrap();
    next.stop().unwrap();
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let Some(site) = Site::new("cannot start") else { return };
    let refused = site.wharf.fails(["daemon", "--pool", "nonsense"]);
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr.contains("nonsense"), "{refused:?}");
    std::fs::write(site.wharf.state_dir().join("wharf.redb"), "this is no ledger").unwrap();
    let refused = site.wharf.fails(["ps"]);
    assert_eq!(refused.code(), 1);
    assert!(
        refused.stderr.contains("wharf.redb"),
        "the verb tells the daemon's reason: {refused:?}"
    );
    assert!(refused.took < Duration::from_secs(10), "and at once: {refused:?}");
}

#[test]
fn a_daemon_told_to_stop_does_not_wait_for_those_who_only_listen() {
    let Some(site) = Site::new("drain") else { return };
    let daemon = site.wharf.daemon().unwrap();
    let id = site.run("web");
    let mut following = site.wharf.spawn(["logs", "-f", &id]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(following.is_running());
    let before = std::time::Instant::now();
    daemon.stop().unwrap();
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    following.output(LIMIT).unwrap();
    assert_eq!(site.wharf.pids_of("shim").len(), 1);
}
