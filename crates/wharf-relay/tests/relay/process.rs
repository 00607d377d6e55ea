//! The relay as a process: detached, hard to end by accident, and able to run out of descriptors.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use tempfile::TempDir;
use wharf_host::process::{Pid, Signal};
use wharf_host::reserve::Transport;
use wharf_relay::{Error, Refusal, RelayClient, ensure, socket_path};

use super::bench::*;
use super::tcp::{answer, is_turned_away};

/// A program that takes the arguments of `wharf relay`.
pub(super) fn program(dir: &TempDir) -> PathBuf {
    limited(dir, 20_000)
}

/// The same with a limit of open files.
fn limited(dir: &TempDir, descriptors: u32) -> PathBuf {
    let path = dir.path().join("wharf");
    let script =
        format!("#!/bin/sh\nulimit -n {descriptors}\nexec {} \"$@\"\n", example().display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The example `relay`, which cargo builds beside the tests.
pub(super) fn example() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let built = me.ancestors().nth(2).unwrap().join("examples/relay");
    assert!(built.exists(), "{} is missing: build the examples, too", built.display());
    built
}

#[test]
fn it_is_started_once_and_ends_when_told() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let program = program(&dir);
        let first = ensure(dir.path(), &program).unwrap();
        let process = Pid::of(first.pid()).unwrap();
        assert_ne!(process.pid, std::process::id());
        assert_eq!(ensure(dir.path(), &program).unwrap().pid(), first.pid());
        let mode = std::fs::metadata(socket_path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        first.shutdown().unwrap();
        assert!(process.wait_exit(PATIENCE).unwrap());
        assert!(!socket_path(dir.path()).exists());

        let again = ensure(dir.path(), &program).unwrap();
        let process = Pid::of(again.pid()).unwrap();
        process.signal(Signal::HUP).unwrap();
        assert!(!process.wait_exit(Duration::from_millis(200)).unwrap());
        process.signal(Signal::TERM).unwrap();
        assert!(process.wait_exit(PATIENCE).unwrap());
        assert!(!socket_path(dir.path()).exists());
    });
}

#[test]
fn a_killed_relay_is_replaced_and_leaves_its_ports_free() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let program = program(&dir);
        let mut client = ensure(dir.path(), &program).unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        let (route, held) = route(Transport::Tcp, &[V4, V6], (8080, 8080), target);
        add(&mut client, &route, &held);
        client.open(std::slice::from_ref(&route.id)).unwrap();
        drop(held);
        let process = Pid::of(client.pid()).unwrap();
        process.signal(Signal::KILL).unwrap();
        assert!(process.wait_exit(PATIENCE).unwrap());
        assert!(matches!(client.stats().unwrap_err(), Error::Closed));
        let next = ensure(dir.path(), &program).unwrap();
        assert_ne!(next.pid(), process.pid);
        super::bench::route(Transport::Tcp, &[V4, V6], (8080, 8080), target);
        next.shutdown().unwrap();
    });
}

#[test]
fn a_program_that_fails_is_quoted() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("wharf");
    std::fs::write(&path, "#!/bin/sh\necho no relay today >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = ensure(dir.path(), &path).unwrap_err().to_string();
    assert!(error.ends_with("no relay today"), "{error}");
}

#[test]
fn accepting_recovers_when_descriptors_run_out() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let mut client: RelayClient = ensure(dir.path(), &program(&dir)).unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        let (route, held) = route(Transport::Tcp, &[V4], (8080, 8080), target);
        add(&mut client, &route, &held);
        client.open(std::slice::from_ref(&route.id)).unwrap();
        let pid = i32::try_from(client.pid()).ok().and_then(rustix::process::Pid::from_raw);
        let used = std::fs::read_dir(format!("/proc/{}/fd", client.pid())).unwrap().count();
        let tight = Some(u64::try_from(used).unwrap());
        let limit = Rlimit { current: tight, maximum: Some(20_000) };
        let before = rustix::process::prlimit(pid, Resource::Nofile, limit).unwrap();
        let mut waiting = connect("127.0.0.1:8080");
        waiting.write_all(b"patience").unwrap();
        eventually(|| client.stats().unwrap().accept_pauses > 1);
        rustix::process::prlimit(pid, Resource::Nofile, before).unwrap();
        let mut answer = [0; 8];
        waiting.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"patience");
        assert!(client.list().unwrap()[0].stats.accept_errors > 1);
        client.shutdown().unwrap();
    });
}

#[test]
fn a_flooded_port_leaves_room_for_the_others() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        // 40 descriptors for sockets and connections: 10 connections for each port.
        let mut client = ensure(dir.path(), &limited(&dir, 296)).unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        for port in [8080, 8081] {
            let (route, held) = route(Transport::Tcp, &[V4], (port, port), target);
            add(&mut client, &route, &held);
            client.open(&[route.id]).unwrap();
        }
        let mut streams = Vec::new();
        let mut fill = |asked: &str, count: usize| {
            for _ in 0..count {
                let stream = connect(asked);
                answer(&stream, b"in");
                streams.push(stream);
            }
            is_turned_away(asked);
        };
        fill("127.0.0.1:8080", 10);
        fill("127.0.0.1:8081", 9);
        let listed = client.list().unwrap();
        let refused = |port: usize| {
            let stats = listed[port].stats;
            (stats.refused_port_limit, stats.refused_total_limit)
        };
        assert_eq!((refused(0), refused(1)), ((1, 0), (0, 1)));
        let (route, held) = route(Transport::Tcp, &[V4], (9000, 9009), target);
        let sockets: Vec<_> =
            held.sockets.iter().map(|b| std::os::fd::AsFd::as_fd(&b.socket)).collect();
        let error = client.add(vec![route], &sockets).unwrap_err();
        let wanted = Refusal::Descriptors { needed: 10, left: 0 };
        assert!(matches!(error, Error::Refused(refusal) if refusal == wanted));
        drop(streams);
        eventually(|| client.stats().unwrap().connections_open == 0);
        answer(&connect("127.0.0.1:8080"), b"again");
        client.shutdown().unwrap();
    });
}

#[test]
fn ten_thousand_ports_take_less_than_forty_megabytes() {
    in_netns(|| {
        wharf_host::process::raise_descriptor_limit().unwrap();
        let dir = TempDir::new().unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        for first in (10_000..20_000).step_by(1000) {
            // A route for each: more than a range takes.
            let published: Vec<_> = (first..first + 1000)
                .map(|port| route(Transport::Tcp, &[V4], (port, port), target))
                .collect();
            let sockets: Vec<_> = published
                .iter()
                .flat_map(|(_, held)| &held.sockets)
                .map(|bound| std::os::fd::AsFd::as_fd(&bound.socket))
                .collect();
            let routes: Vec<_> = published.iter().map(|(route, _)| route.clone()).collect();
            let ids: Vec<_> = routes.iter().map(|route| route.id.clone()).collect();
            client.add(routes, &sockets).unwrap();
            client.open(&ids).unwrap();
        }
        answer(&connect("127.0.0.1:19999"), b"the last of them");
        assert_eq!(client.stats().unwrap().sockets, 10_000);
        let status = std::fs::read_to_string(format!("/proc/{}/status", client.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u32 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        println!("{kilobytes} kB");
        assert!(kilobytes < 40_000, "{kilobytes} kB");
        client.shutdown().unwrap();
    });
}
