//! `run -d` and the verbs for containers that exist.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::site::{LIMIT, Site};

/// The daemon's connections, by their inodes, and the socket that it listens on.
fn connections(site: &Site) -> BTreeSet<String> {
    let path = site.wharf.run_dir().join("wharf.sock").display().to_string();
    let table = || std::fs::read_to_string("/proc/thread-self/net/unix");
    let table = site.wharf.host().run(table).unwrap().unwrap();
    let lines = table.lines().filter(|line| line.ends_with(&path));
    let inodes = lines.filter_map(|line| line.split_whitespace().nth(6));
    // One that nobody has accepted yet has none.
    inodes.filter(|inode| *inode != "0").map(str::to_owned).collect()
}

#[test]
fn run_d_prints_the_id_and_nothing_else() {
    let Some(site) = Site::new("detached") else { return };
    let id = site.detached("web", "sleep 1000");
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    assert_eq!(site.wharf.state("web").as_deref(), Some("running"));
    // By name, by id, and by the beginning of an id.
    for name in ["web", &id, &id[..12], &id[..4]] {
        assert_eq!(site.wharf.inspect(name)["Id"], id.as_str());
    }
}

#[test]
fn a_container_is_made_started_stopped_and_started_again() {
    let Some(site) = Site::new("start stop") else { return };
    let script = "trap 'exit 5' TERM; echo begun; while :; do sleep 0.05; done";
    let id = site.wharf.ok(["create", "--name", "box", &site.image(), "sh", "-c", script]);
    assert_eq!(id.len(), 64);
    assert_eq!(site.wharf.state("box").as_deref(), Some("created"));
    assert_eq!(site.wharf.ok(["ps", "-q"]), "");

    assert_eq!(site.wharf.ok(["start", "box"]), "box");
    site.said("box", "begun");
    assert_eq!(site.wharf.ok(["start", "box"]), "box", "starting twice does nothing");
    let before = Instant::now();
    assert_eq!(site.wharf.ok(["stop", "box"]), "box");
    assert!(before.elapsed() < Duration::from_secs(5), "it ended by itself");
    assert_eq!(site.wharf.inspect("box")["State"]["ExitCode"], 5);
    assert_eq!(site.wharf.ok(["stop", "box"]), "box", "stopping twice does nothing");

    // Its files are its own and stay over a restart.
    site.wharf.ok(["start", "box"]);
    site.exec("box", "echo kept > /kept");
    let first = site.wharf.inspect("box")["State"]["Pid"].clone();
    assert_eq!(site.wharf.ok(["restart", "box"]), "box");
    let second = site.wharf.inspect("box")["State"]["Pid"].clone();
    assert_ne!(first, second);
    assert_eq!(site.exec("box", "cat /kept"), "kept");
    assert!(!site.rootfs.join("kept").exists(), "the image was written to");
}

#[test]
fn start_a_shows_the_output_of_this_start_only() {
    let Some(site) = Site::new("start attached") else { return };
    let script = "echo here; echo $$; exit 4";
    site.wharf.ok(["create", "--name", "box", &site.image(), "sh", "-c", script]);
    for _ in 0..2 {
        let output = site.wharf.run(["start", "-a", "box"]).unwrap();
        assert_eq!((output.code(), output.stdout.as_str()), (4, "here\n1\n"));
    }
    assert_eq!(site.wharf.ok(["logs", "box"]), "here\n1\nhere\n1");
}

#[test]
fn stop_kills_what_does_not_want_to_end() {
    let Some(site) = Site::new("stubborn") else { return };
    site.detached("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done");
    site.said("deaf", "ready");
    let before = Instant::now();
    site.wharf.ok(["stop", "-t", "1", "deaf"]);
    let took = before.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(6), "{took:?}");
    assert_eq!(site.wharf.inspect("deaf")["State"]["ExitCode"], 137);
}

#[test]
fn kill_sends_signals_by_name_and_by_number() {
    let Some(site) = Site::new("signals") else { return };
    let script = "trap 'echo one' USR1; trap 'echo two' USR2; echo ready; \
                  while :; do sleep 0.05; done";
    site.detached("box", script);
    site.said("box", "ready");
    assert_eq!(site.wharf.ok(["kill", "-s", "USR1", "box"]), "box");
    site.said("box", "one");
    site.wharf.ok(["kill", "--signal", "SIGUSR2", "box"]);
    site.said("box", "two");
    site.refused(&["kill", "-s", "NOSUCH", "box"], 1, "NOSUCH");
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
    site.wharf.ok(["kill", "-s", "9", "box"]);
    assert_eq!(site.wharf.state("box").as_deref(), Some("exited"));
    assert_eq!(site.wharf.inspect("box")["State"]["ExitCode"], 137);
    site.refused(&["kill", "box"], 1, "is not running");
}

#[test]
fn a_running_container_is_removed_by_force_only() {
    let Some(site) = Site::new("rm") else { return };
    site.detached("box", "sleep 1000");
    site.refused(&["rm", "box"], 1, "container is running");
    assert_eq!(site.wharf.ok(["rm", "-f", "box"]), "box");
    assert_eq!(site.wharf.state("box"), None);
    site.refused(&["rm", "box"], 1, "no such container: box");
    assert!(site.wharf.run(["rm", "-f", "box"]).unwrap().is_success(), "as Docker's");

    site.detached("one", "sleep 1000");
    site.detached("two", "exit 0");
    site.becomes("two", "exited");
    let output = site.wharf.fails(["rm", "missing", "two", "one"]);
    assert_eq!((output.code(), output.stdout.as_str()), (1, "two\n"));
    assert_eq!(site.wharf.state("one").as_deref(), Some("running"));
    // The name is free again.
    site.detached("two", "exit 0");
}

#[test]
fn ps_lists_what_runs_and_with_a_everything() {
    let Some(site) = Site::new("ps") else { return };
    assert_eq!(site.wharf.json(["ps"]), serde_json::json!([]));
    let running = site.ok(&["-d", "--name", "up", "-p", "8080:80"], &["sleep", "1000"]);
    let ended = site.detached("down", "exit 3");
    site.becomes("down", "exited");

    let quiet = site.wharf.ok(["ps", "-q"]);
    assert_eq!(quiet, running[..12]);
    assert_eq!(site.wharf.ok(["ps", "-q", "--no-trunc"]), running);
    assert_eq!(site.wharf.ok(["ps", "-aq", "--no-trunc"]), format!("{ended}\n{running}"));

    let table = site.wharf.ok(["ps", "-a"]);
    let lines: Vec<&str> = table.lines().collect();
    for column in ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"] {
        assert!(lines[0].contains(column), "{table}");
    }
    assert!(lines[1].contains("Exited (3)") && lines[1].ends_with("down"), "{table}");
    assert!(lines[2].contains("Up ") && lines[2].contains("0.0.0.0:8080->80/tcp"), "{table}");

    let json = site.wharf.json(["ps", "-a"]);
    let (down, up) = (&json[0], &json[1]);
    assert_eq!((&down["state"], &down["exit_code"]), (&"exited".into(), &3.into()));
    assert_eq!((&up["state"], &up["exit_code"]), (&"running".into(), &serde_json::Value::Null));
    assert_eq!(up["command"], "sleep 1000");
    assert_eq!(up["image"], site.image());
    assert_eq!(up["ports"][0]["host"]["ports"], "8080");
    assert_eq!(up["ports"][0]["container_ports"], "80");
    assert!(up["created"].as_str().unwrap().ends_with('Z'), "{up:#}");
}

#[test]
fn wait_prints_the_exit_code_as_soon_as_there_is_one() {
    let Some(site) = Site::new("wait") else { return };
    site.detached("soon", "sleep 0.5; exit 9");
    site.detached("later", "while ! [ -e /go ]; do sleep 0.05; done; exit 8");
    assert_eq!(site.wharf.ok(["wait", "soon"]), "9");
    assert_eq!(site.wharf.ok(["wait", "soon"]), "9", "it has ended already");
    let waiting = site.wharf.spawn(["wait", "later", "soon"]).unwrap();
    site.wharf.lets_go("later", "/go");
    assert_eq!(waiting.output(LIMIT).unwrap().stdout, "8\n9\n");

    site.detached("gone", "sleep 1000");
    let before = connections(&site);
    let waiting = site.wharf.spawn(["wait", "gone"]).unwrap();
    wharf_lab::wait::until(LIMIT, "the verb at the daemon", || {
        (!connections(&site).is_subset(&before)).then_some(())
    })
    .unwrap();
    site.wharf.ok(["rm", "-f", "gone"]);
    assert_eq!(waiting.output(LIMIT).unwrap().stdout, "137\n");
    site.refused(&["wait", "gone"], 1, "no such container: gone");
}

#[test]
fn a_container_that_is_removed_at_its_end_can_be_restarted() {
    let Some(site) = Site::new("restart rm") else { return };
    site.ok(&["-d", "--rm", "--name", "box"], &["sleep", "1000"]);
    let first = site.wharf.inspect("box")["State"]["Pid"].clone();
    assert_eq!(site.wharf.ok(["restart", "-t", "0", "box"]), "box");
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
    assert_ne!(site.wharf.inspect("box")["State"]["Pid"], first);
    site.wharf.ok(["stop", "-t", "0", "box"]);
    assert_eq!(site.wharf.state("box"), None);
}
