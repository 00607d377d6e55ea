//! Processes of Wharf are killed.

use std::io::{Read, Write};
use std::time::Duration;

use wharf_lab::wait;

use super::site::{LIMIT, Site};

#[test]
fn a_container_whose_shim_is_killed_is_settled_as_137_and_leaks_nothing() {
    let Some(site) = Site::new("shim killed") else { return };
    let untouched = site.untouched();
    site.run("other", 9090);
    site.answers(9090);
    let quiet = site.wharf.snapshot().unwrap();
    let known = site.wharf.pids_of("shim");
    site.run("web", 8080);
    site.answers(8080);
    let shim = site.wharf.pids_of("shim").into_iter().find(|pid| !known.contains(pid)).unwrap();
    kill(shim);

    wait::until(LIMIT, "the end of web", || {
        (site.wharf.state("web").as_deref() == Some("exited")).then_some(())
    })
    .unwrap();
    assert_eq!(site.wharf.ok(["wait", "web"]), "137");
    assert!(!site.host.can_connect("127.0.0.1:8080"), "its port is free again");
    site.still_answers(9090);
    // It can run again.
    site.wharf.ok(["start", "web"]);
    site.answers(8080);
    site.wharf.ok(["rm", "-f", "web"]);
    site.settles_to(&quiet);
    site.wharf.ok(["rm", "-f", "other"]);
    site.wharf.ok(["shutdown"]);
    site.left_nothing(&untouched);
}

#[test]
fn a_shim_killed_while_no_daemon_was_there_is_settled_by_the_next() {
    let Some(site) = Site::new("shim and daemon") else { return };
    let untouched = site.untouched();
    site.run("web", 8080);
    site.answers(8080);
    site.wharf.kill9("daemon").unwrap();
    assert_eq!(site.wharf.kill9("shim").unwrap(), 1);
    assert_eq!(site.wharf.state("web").as_deref(), Some("exited"));
    assert_eq!(site.wharf.ok(["wait", "web"]), "137");
    assert_eq!(site.wharf.json(["ports"]), serde_json::json!([]));
    site.wharf.ok(["start", "web"]);
    site.answers(8080);
    site.wharf.ok(["rm", "-f", "web"]);
    site.wharf.ok(["shutdown"]);
    site.left_nothing(&untouched);
}

#[test]
fn a_verb_right_after_the_daemon_was_killed_finds_the_next_one() {
    let Some(site) = Site::new("right after") else { return };
    let untouched = site.untouched();
    site.wharf.ok(["ps"]);
    for _ in 0..30 {
        let daemon = site.wharf.pids_of("daemon");
        kill(*daemon.first().unwrap());
        // Its socket and its lock may still be there.
        site.wharf.ok(["ps"]);
    }
    site.wharf.ok(["shutdown"]);
    site.left_nothing(&untouched);
}

#[test]
fn every_port_is_served_again_after_daemon_and_relay_are_killed_together() {
    let Some(site) = Site::new("daemon and relay") else { return };
    let untouched = site.untouched();
    site.run("web", 8080);
    let range = [
        "run",
        "-d",
        "-p",
        "9000-9009:9000-9009",
        "-p",
        "127.0.0.1:7000:80/udp",
        "-p",
        "9010:80",
        "--name",
        "range",
        "wharf/whoami",
    ];
    site.wharf.ok(range);
    site.answers(8080);
    site.answers(9010);
    let before = site.wharf.json(["ports"]);
    let sockets = site.wharf.snapshot().unwrap().section("sockets").to_vec();

    assert_eq!(site.wharf.kill9("daemon").unwrap(), 1);
    assert_eq!(site.wharf.kill9("relay").unwrap(), 1);
    // The kernel's path needs neither.
    let answer = site.remote.http_get("10.1.0.2:8080", "/health").unwrap();
    assert_eq!(answer.status, 200);

    let daemon = site.wharf.daemon().unwrap();
    site.still_answers(8080);
    site.still_answers(9010);
    assert!(site.host.udp_ask("127.0.0.1:7000", b"hello").is_ok());
    let after = site.wharf.json(["ports"]);
    for (old, new) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        for key in ["id", "container", "host", "target", "planes", "state"] {
            assert_eq!(old[key], new[key], "{key}");
        }
    }
    assert_eq!(site.wharf.snapshot().unwrap().section("sockets"), sockets);
    assert_eq!(site.wharf.pids_of("relay").len(), 1);
    site.wharf.ok(["rm", "-f", "web", "range"]);
    site.wharf.ok(["shutdown"]);
    daemon.wait(LIMIT).unwrap();
    site.left_nothing(&untouched);
}

#[test]
fn a_killed_relay_is_replaced_within_a_second_and_the_kernels_path_does_not_notice() {
    let Some(site) = Site::new("relay killed") else { return };
    site.run("web", 8080);
    site.answers(8080);
    let old = site.wharf.pids_of("relay");
    kill(old[0]);
    let answer = site.remote.http_get("10.1.0.2:8080", "/health").unwrap();
    assert_eq!(answer.status, 200);
    // Loopback is served by the eBPF plane, where there is one, without any relay.
    wait::until(Duration::from_secs(1), "another relay that serves", || {
        let new = site.wharf.pids_of("relay");
        let replaced = new.len() == 1 && new != old;
        replaced.then(|| site.host.http_get("127.0.0.1:8080", "/health").ok()).flatten()
    })
    .unwrap();
    site.still_answers(8080);
}

#[test]
fn a_connection_through_the_relay_outlives_the_daemon_and_its_successor() {
    let Some(site) = Site::new("open connection") else { return };
    site.run("web", 8080);
    site.answers(8080);
    // Longer than what fits into the buffers on the way.
    let size: usize = 64 << 20;
    let mut stream = site.host.tcp("127.0.0.1:8080").unwrap();
    write!(stream, "GET /data?size={size} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut first = vec![0; 4096];
    stream.read_exact(&mut first).unwrap();
    site.wharf.kill9("daemon").unwrap();
    let _daemon = site.wharf.daemon().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let head = first.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(first.len() - head + rest.len(), size);
}

/// Not a named step but any moment, with many verbs under way.
#[test]
fn a_daemon_killed_in_the_middle_of_many_verbs_leaves_nothing_half_done() {
    let Some(site) = Site::new("any moment") else { return };
    let untouched = site.untouched();
    site.run("other", 9090);
    site.answers(9090);
    let quiet = site.wharf.snapshot().unwrap();
    let process = site.pid("other");
    // No name may be the beginning of a number, as `c1` is: what has no such name is looked for
    // among the numbers, and the one of `other` is any.
    let name = |number: u16| format!("web{number}");
    for pause in [20, 120, 250, 400] {
        let started: Vec<_> = (0..8u16)
            .map(|number| {
                let (name, port) = (name(number), format!("{}:80", 8000 + number));
                let line = ["run", "-d", "--name", &name, "-p", &port, "wharf/whoami"];
                site.wharf.spawn(line).unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(pause));
        site.wharf.kill9("daemon").unwrap();
        site.still_answers(9090);
        for process in started {
            // Some have come in time, some have not, and some have started another daemon.
            process.output(LIMIT).unwrap();
        }
        let all = site.wharf.json(["ps", "-a"]);
        for container in all.as_array().unwrap() {
            let running = container["state"] == "running";
            let published = container["ports"][0]["host"]["ports"].as_str();
            assert_eq!(running, published.is_some(), "{container:#}");
            assert!(["running", "created"].contains(&container["state"].as_str().unwrap()));
            if let Some(port) = published {
                site.answers(port.parse().unwrap());
            }
        }
        let mut removing = vec!["rm".to_owned(), "-f".to_owned()];
        removing.extend((0..8).map(name));
        let half = site.wharf.spawn(&removing).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        site.wharf.kill9("daemon").unwrap();
        half.output(LIMIT).unwrap();
        site.wharf.ok(&removing);
        site.settles_to(&quiet);
        assert_eq!(site.pid("other"), process);
    }
    site.wharf.ok(["rm", "-f", "other"]);
    site.wharf.ok(["shutdown"]);
    site.left_nothing(&untouched);
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
