//! The helper that opens sockets in other namespaces: who keeps it alive, and what is without it.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::fstat;
use tempfile::TempDir;
use wharf_host::netns::Netns;
use wharf_host::process::{Pid, Signal};
use wharf_host::reserve::Transport;
use wharf_relay::{
    Limits, Opener, RelayClient, Route, Source, ensure, socket_path, start_opener, upgrade,
};

use super::bench::*;
use super::inside::{ask, publish, who_is_there};
use super::process::{example, program};
use super::tcp::{answer, is_turned_away};

/// A daemon that has published port 8080 with a target in `inside`, and its helper.
fn daemon(dir: &TempDir, inside: &Netns, target: &str) -> (Child, Pid) {
    let namespace = format!("/proc/{}/fd/{}", std::process::id(), inside.as_fd().as_raw_fd());
    let mut daemon = Command::new(example())
        .args(["publish", dir.path().to_str().unwrap(), &namespace, target])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let helper = Pid::of(line.trim().parse().unwrap()).unwrap();
    (daemon, helper)
}

/// What a new daemon adopts: the route, the connection to the helper, and the namespace.
fn adopt(dir: &TempDir) -> (RelayClient, Route, Opener, OwnedFd) {
    let mut client = RelayClient::connect(&socket_path(dir.path())).unwrap();
    let (listed, mut descriptors) = client.list_with_sockets().unwrap().remove(0);
    assert_eq!(descriptors.len(), listed.route.descriptors());
    let namespace = descriptors.pop().unwrap();
    let opener = Opener::over(descriptors.pop().unwrap());
    (client, listed.route, opener, namespace)
}

fn kill(process: Pid) {
    process.signal(Signal::KILL).unwrap();
    assert!(process.wait_exit(PATIENCE).unwrap());
}

#[test]
fn it_outlives_the_daemon_and_is_replaced_when_it_is_killed() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let inside = Netns::create().unwrap();
        let target = who_is_there(&inside, "127.0.0.1:0");
        let (mut daemon, helper) = daemon(&dir, &inside, &target.to_string());
        assert_eq!(ask("127.0.0.1:8080"), "127.0.0.1");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert_eq!(ask("127.0.0.1:8080"), "127.0.0.1");
        assert!(helper.is_alive());

        let (mut client, route, adopted, namespace) = adopt(&dir);
        let (found, wanted) = (fstat(&namespace).unwrap(), fstat(inside.as_fd()).unwrap());
        assert_eq!((found.st_dev, found.st_ino), (wanted.st_dev, wanted.st_ino));
        assert!(adopted.is_alive());
        kill(helper);
        eventually(|| !adopted.is_alive());
        is_turned_away("127.0.0.1:8080");
        assert_eq!(client.list().unwrap()[0].stats.target_unreachable, 1);

        let next = start_opener(dir.path(), &example()).unwrap();
        client.change(vec![route], &[next.as_fd(), namespace.as_fd()]).unwrap();
        assert_eq!(ask("127.0.0.1:8080"), "127.0.0.1");
        let helper = Pid::of(next.pid().unwrap()).unwrap();
        drop(next);
        // Who takes the relay's place has the second one, too.
        let last = upgrade(dir.path(), Some(&program(&dir)), 5).unwrap();
        assert_eq!(ask("127.0.0.1:8080"), "127.0.0.1");
        assert!(helper.is_alive());
        last.shutdown().unwrap();
        assert!(helper.wait_exit(PATIENCE).unwrap());
    });
}

#[test]
fn a_route_is_led_from_one_namespace_to_another_and_out() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (first, second) = (Netns::create().unwrap(), Netns::create().unwrap());
        let target = who_is_there(&first, "127.0.0.1:80");
        let listener = second.run(|| std::net::TcpListener::bind("127.0.0.1:80").unwrap()).unwrap();
        let opener = start_opener(dir.path(), &example()).unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        publish(&mut client, &opener, &first, 8080, target, Source::Gateway, false);
        assert_eq!(ask("127.0.0.1:8080"), "127.0.0.1");
        // The relay closes its sides a little later.
        eventually(|| client.stats().unwrap().connections_open == 0);
        let route = client.list().unwrap().remove(0).route;
        let used = client.stats().unwrap().descriptors_used;
        client.change(vec![route.clone()], &[opener.as_fd(), second.as_fd()]).unwrap();
        let led = connect("127.0.0.1:8080");
        listener.accept().unwrap();
        let echo = tcp_target("127.0.0.1:0", echo);
        let out = Route { inside: false, ..super::change::led_to(&route, echo) };
        client.change(vec![out], &[]).unwrap();
        answer(&connect("127.0.0.1:8080"), b"out here");
        assert_eq!(client.list_with_sockets().unwrap()[0].1.len(), 1);
        drop(led);
        eventually(|| client.stats().unwrap().descriptors_used == used - 2);
        client.change(vec![route], &[opener.as_fd(), first.as_fd()]).unwrap();
        assert_eq!(ask("127.0.0.1:8080"), "127.0.0.1");
        client.shutdown().unwrap();
    });
}

#[test]
fn one_that_is_stopped_holds_the_others_up_for_a_moment_only() {
    with_relay(Limits { loops: Some(1), ..Limits::default() }, |bench| {
        let inside = Netns::create().unwrap();
        let target = who_is_there(&inside, "127.0.0.1:80");
        let opener = start_opener(bench.path(), &example()).unwrap();
        let (source, port) = (Source::Gateway, 8081);
        publish(&mut bench.client, &opener, &inside, port, target, source, false);
        let id = bench.publish_8080(Transport::Tcp, tcp_target("127.0.0.1:0", echo));
        assert_eq!(ask("127.0.0.1:8081"), "127.0.0.1");
        let helper = Pid::of(opener.pid().unwrap()).unwrap();
        helper.signal(Signal::STOP).unwrap();
        let other = connect("127.0.0.1:8080");
        answer(&other, b"before");
        let began = Instant::now();
        for _ in 0..20 {
            is_turned_away("127.0.0.1:8081");
            answer(&other, b"meanwhile");
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        helper.signal(Signal::CONT).unwrap();
        eventually(|| {
            TcpStream::connect("127.0.0.1:8081")
                .and_then(std::io::read_to_string)
                .is_ok_and(|seen| seen == "127.0.0.1")
        });
        bench.client.remove(&[id], None).unwrap();
        assert!(bench.listed().stats.target_unreachable >= 20);
    });
}

#[test]
fn routes_that_share_one_get_what_they_asked_for() {
    with_relay(Limits { loops: Some(4), ..Limits::default() }, |bench| {
        let insides = [Netns::create().unwrap(), Netns::create().unwrap()];
        let opener = start_opener(bench.path(), &example()).unwrap();
        for (place, port) in insides.iter().zip([8081, 8082]) {
            let name: fn(TcpStream) = match port {
                8081 => |mut s| drop(std::io::Write::write_all(&mut s, b"8081")),
                _ => |mut s| drop(std::io::Write::write_all(&mut s, b"8082")),
            };
            let target = place.run(|| tcp_target("127.0.0.1:80", name)).unwrap();
            publish(&mut bench.client, &opener, place, port, target, Source::Gateway, false);
        }
        let here = Netns::current().unwrap();
        std::thread::scope(|scope| {
            for port in ["8081", "8082", "8081", "8082"] {
                let asked = format!("127.0.0.1:{port}");
                let client = move || (0..100).for_each(|_| assert_eq!(ask(&asked), port));
                let here = &here;
                scope.spawn(move || here.run(client).unwrap());
            }
        });
        let refusals = bench
            .client
            .list()
            .unwrap()
            .into_iter()
            .map(|listed| listed.stats.refusals().iter().map(|(_, count)| count).sum::<u64>());
        assert_eq!(refusals.sum::<u64>(), 0);
    });
}
