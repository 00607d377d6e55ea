//! Processes that die: the relay, the daemon, the container behind a client that never stops.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_lab::{Host, wait};

use super::scene::{LIMIT, Scene, answered_by};

/// Every path a person would try.
fn paths(scene: &Scene) -> [(&Host, &'static str); 4] {
    let (remote, host) = (&scene.remote, &scene.host);
    [
        (remote, "10.1.0.2:8080"),
        (remote, "[fd01::2]:8080"),
        (host, "127.0.0.1:8080"),
        (host, "[::1]:8080"),
    ]
}

fn assert_all_answer(scene: &Scene, who: &str) {
    for (client, address) in paths(scene) {
        for proto in ["tcp", "udp"] {
            assert_eq!(answered_by(client, proto, address).unwrap(), who, "{proto} {address}");
        }
    }
}

fn published(name: &str) -> Option<Scene> {
    let scene = Scene::new(name)?;
    scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    assert_all_answer(&scene, "web");
    Some(scene)
}

#[test]
fn no_connection_is_refused_while_a_killed_relay_is_replaced() {
    let Some(scene) = published("relay killed") else { return };
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let back = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if scene.host.tcp("127.0.0.1:8080").is_err() {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let killed = scene.wharf.pids_of("relay");
        assert_eq!(scene.wharf.kill9("relay").unwrap(), 1);
        let began = Instant::now();
        let answers = || answered_by(&scene.host, "tcp", "127.0.0.1:8080").is_ok();
        wait::until(LIMIT, "an answer through a new relay", || answers().then_some(())).unwrap();
        let back = began.elapsed();
        assert_ne!(scene.wharf.pids_of("relay"), killed);
        stop.store(true, Ordering::Relaxed);
        back
    });
    eprintln!("a killed relay answered again after {back:?}");
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    assert!(back < Duration::from_secs(3), "{back:?}");
    assert_all_answer(&scene, "web");
}

#[test]
fn kernel_paths_go_on_while_there_is_no_relay() {
    let Some(scene) = published("no relay") else { return };
    // Without a daemon nobody starts another one.
    scene.wharf.kill9("daemon").unwrap();
    scene.wharf.kill9("relay").unwrap();
    for proto in ["tcp", "udp"] {
        assert_eq!(answered_by(&scene.remote, proto, "10.1.0.2:8080").unwrap(), "web");
    }
    // The next daemon binds the ports anew.
    scene.wharf.ok(["ps"]);
    assert_all_answer(&scene, "web");
}

#[test]
fn ports_answer_while_the_daemon_is_dead_and_the_next_one_knows_everything() {
    let Some(scene) = published("daemon killed") else { return };
    scene.wharf.ok(["network", "create", "--ipv6", "blue"]);
    scene.whoami("second", ["--network", "blue", "-p", "9000-9003:80-83", "-p", "80"]);
    scene.wharf.ok(["create", "--name", "idle", "-p", "8080:80", "wharf/whoami"]);
    let listings = || {
        ["ps -a", "ports", "network ls", "images"]
            .map(|verb| plain(scene.wharf.json(verb.split(' '))))
    };
    let (known, inspected) = (listings(), scene.wharf.inspect("second"));
    let relay = scene.wharf.pids_of("relay");
    let open = scene.host.tcp("127.0.0.1:8080").unwrap();

    assert_eq!(scene.wharf.kill9("daemon").unwrap(), 1);
    assert_all_answer(&scene, "web");
    assert_eq!(scene.wharf.pids_of("daemon"), [0; 0]);

    assert_eq!(listings(), known);
    assert_eq!(scene.wharf.inspect("second"), inspected);
    assert_all_answer(&scene, "web");
    assert_eq!(answered_by(&scene.remote, "tcp", "10.1.0.2:9000").unwrap(), "second");
    assert_eq!(scene.wharf.pids_of("relay"), relay, "the relay was adopted");
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(wharf_lab::http::exchange(open, request).unwrap().status, 200);

    // What is held is still held, and what goes is really gone.
    let failed = scene.wharf.fails(["start", "idle"]);
    assert!(failed.stderr.contains("port is already allocated (container web)"), "{failed:?}");
    scene.wharf.ok(["rm", "-f", "web"]);
    assert!(
        !scene.host.can_connect("127.0.0.1:8080") && !scene.remote.can_connect("10.1.0.2:8080")
    );
    scene.again(&["start"], "idle");
    assert!(scene.remote.can_connect("10.1.0.2:8080"));
    scene.wharf.ok(["rm", "-f", "second", "idle"]);
    scene.wharf.ok(["network", "rm", "blue"]);
}

/// A listing without what changes by itself.
fn plain(mut listing: Value) -> Value {
    for entry in listing.as_array_mut().into_iter().flatten() {
        for field in ["status", "connections", "relayed", "bytes_in", "bytes_out"] {
            entry.as_object_mut().unwrap().remove(field);
        }
    }
    listing
}

#[test]
fn a_port_taken_while_nobody_held_it_is_listed_as_down() {
    let Some(scene) = published("lost") else { return };
    scene.wharf.kill9("daemon").unwrap();
    scene.wharf.kill9("relay").unwrap();
    let taken = scene.host.tcp_listen("127.0.0.1:8080").unwrap();
    let listed = scene.wharf.json(["ports"]);
    let state = |protocol: &str| {
        let entries = listed.as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["protocol"] == protocol).unwrap();
        (entry["state"].as_str().unwrap().to_owned(), entry["notes"].to_string())
    };
    assert_eq!(state("udp").0, "active");
    let (state, notes) = state("tcp");
    assert!(state == "down" && notes.contains("8080"), "{state} {notes}");
    drop(taken);
    scene.wharf.ok(["restart", "-t", "0", "web"]);
    scene.wharf.serving("web", 80).unwrap();
    assert_all_answer(&scene, "web");
}

#[test]
fn a_container_that_ends_while_the_daemon_is_dead_is_found_ended() {
    let Some(scene) = published("ended") else { return };
    scene.wharf.kill9("daemon").unwrap();
    assert_eq!(scene.wharf.kill9("shim").unwrap(), 1);
    scene.wharf.ok(["ps"]);
    let listed = wait::until(LIMIT, "an exited container", || {
        let listed = scene.listed("web");
        (listed["state"] == "exited").then_some(listed)
    });
    assert_eq!(listed.unwrap()["exit_code"], 137);
    assert!(!scene.host.can_connect("127.0.0.1:8080"), "the port was given back");
    scene.again(&["start"], "web");
    assert_all_answer(&scene, "web");
}

#[test]
fn a_container_that_ends_gives_its_ports_back() {
    let Some(scene) = published("ends") else { return };
    let shim = scene.wharf.kill9("shim").unwrap();
    assert_eq!(shim, 1);
    wait::until(LIMIT, "the end of the ports", || {
        (scene.wharf.json(["ports"]) == serde_json::json!([])).then_some(())
    })
    .unwrap();
    assert!(
        !scene.host.can_connect("127.0.0.1:8080") && !scene.remote.can_connect("10.1.0.2:8080")
    );
}

/// Sends a datagram every few milliseconds, without a pause long enough for a flow to be
/// forgotten, until `wanted` answers.
fn keep_asking(socket: &UdpSocket, wanted: &str, stop: &AtomicBool) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut buffer = [0; 2048];
    let deadline = Instant::now() + LIMIT;
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        // Nobody may be there for a moment; the client minds neither that nor the ICMP about it.
        let _sent = socket.send(b"still there?");
        if let Ok(length) = socket.recv(&mut buffer)
            && serde_json::from_slice::<Value>(&buffer[..length])
                .is_ok_and(|it| it["hostname"] == wanted)
        {
            return true;
        }
    }
    false
}

fn a_restless_client_finds_the_next_container(name: &str, by: fn(&Scene) -> (&Host, &'static str)) {
    let Some(scene) = published(name) else { return };
    let (client, address) = by(&scene);
    let socket = client.udp(address).unwrap();
    assert!(keep_asking(&socket, "web", &AtomicBool::new(false)));
    let stop = AtomicBool::new(false);
    let found = thread::scope(|scope| {
        let asking = scope.spawn(|| keep_asking(&socket, "next", &stop));
        scene.wharf.ok(["rm", "-f", "web"]);
        scene.whoami("next", ["-p", "8080:80", "-p", "8080:80/udp"]);
        asking.join().unwrap()
    });
    assert!(found, "the client goes on talking to a container that is gone");
}

#[test]
fn a_remote_udp_client_that_never_stops_reaches_the_next_container() {
    a_restless_client_finds_the_next_container("udp remote", |scene| {
        (&scene.remote, "10.1.0.2:8080")
    });
}

#[test]
fn a_remote_ipv6_udp_client_that_never_stops_reaches_the_next_container() {
    a_restless_client_finds_the_next_container("udp remote 6", |scene| {
        (&scene.remote, "[fd01::2]:8080")
    });
}

#[test]
fn a_local_udp_client_that_never_stops_reaches_the_next_container() {
    a_restless_client_finds_the_next_container("udp local", |scene| {
        (&scene.host, "127.0.0.1:8080")
    });
}
