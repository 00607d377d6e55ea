//! The daemon's process.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use super::site::{LIMIT, Site};

#[test]
fn the_socket_is_for_root_and_a_group_only() {
    let Some(site) = Site::new("socket") else { return };
    let _daemon = site.wharf.daemon().unwrap();
    let found = fs::metadata(site.wharf.run_dir().join("wharf.sock")).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    let state = fs::metadata(site.wharf.state_dir().join("wharf.redb")).unwrap();
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
    let stat = fs::read_to_string(format!("/proc/{}/stat", pids[0])).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let own = fs::read_to_string("/proc/self/stat").unwrap();
    let own = own.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_ne!(fields[3], own, "it is in a session of its own");
    let directory = fs::read_link(format!("/proc/{}/cwd", pids[0])).unwrap();
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
    fs::write(site.wharf.state_dir().join("wharf.redb"), "this is no ledger").unwrap();
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
    let run = ["run", "-d", "-p", "8080:80", site.image(), "sh", "-c", "echo begun; sleep 1000"];
    let id = site.wharf.ok(run);
    let mut following = site.wharf.spawn(["logs", "-f", &id]).unwrap();
    following.wait_for("begun", LIMIT).unwrap();
    assert!(following.is_running());
    let before = std::time::Instant::now();
    daemon.stop().unwrap();
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    following.output(LIMIT).unwrap();
    assert_eq!(site.wharf.pids_of("shim").len(), 1);
}

#[test]
fn a_socket_that_systemd_made_is_used_and_left_in_place() {
    let Some(site) = Site::new("activation") else { return };
    let path = site.wharf.run_dir().join("wharf.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let notify = site.wharf.directory().join("notify");
    let notified = UnixDatagram::bind(&notify).unwrap();
    notified.set_read_timeout(Some(LIMIT)).unwrap();

    // As systemd does it: descriptor 3, and the process id that it is for.
    let daemon = site.wharf.command(["daemon"]);
    let script = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" daemon";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(daemon.get_program());
    command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("NOTIFY_SOCKET", &notify);
    command.stdin(OwnedFd::from(listener.try_clone().unwrap()));
    let mut process = site.host.spawn(command).unwrap();
    let mut word = [0; 64];
    let length = notified.recv(&mut word).unwrap();
    assert_eq!(std::str::from_utf8(&word[..length]).unwrap().trim(), "READY=1");

    site.run("web");
    let pids = site.wharf.pids_of("daemon");
    assert_eq!(pids, [i32::try_from(process.pid()).unwrap()], "the verb found this one");
    let given = fs::read_link(format!("/proc/{}/fd/3", pids[0])).unwrap();
    for verb in ["relay", "shim"] {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", site.wharf.pids_of(verb)[0]));
        let held = descriptors.unwrap().flatten().filter_map(|it| fs::read_link(it.path()).ok());
        assert!(held.into_iter().all(|it| it != given), "the {verb} holds the socket, too");
    }
    site.wharf.ok(["shutdown"]);
    process.wait(LIMIT).unwrap();
    assert!(path.exists(), "the next connection would start the next daemon");
    assert!(UnixStream::connect(&path).is_ok());
    drop(listener);
    assert!(UnixStream::connect(&path).is_err(), "nobody else holds it");
}
