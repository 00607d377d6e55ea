//! A hundred thousand connections, ended in every way there is: nothing may be left of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use wharf_host::netns::Netns;
use wharf_host::reserve::Transport;
use wharf_relay::{RelayClient, RouteStats, ensure};

use super::bench::*;
use super::process::program;

const CONNECTIONS: u64 = 100_000;
const CLIENTS: u64 = 8;
/// Connections of one client to one port leave their ports behind for a minute.
const PORTS: u16 = 20;

#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    resets: AtomicU64,
}

/// Echoes; an `R` is answered with a reset.
fn moody(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if buffer[..read].contains(&b'R') {
            return reset(stream);
        }
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn one(turn: u64, seen: &Seen) {
    let port = 8000 + u16::try_from(turn % u64::from(PORTS)).unwrap();
    if turn.is_multiple_of(10) {
        // Nobody listens behind 9000.
        return turned_away(9000, seen);
    }
    let mut stream = connect(("127.0.0.1", port));
    match turn % 5 {
        0 => {}
        1 => reset(stream),
        2 => {
            exchange(&mut stream, seen);
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
        }
        3 => {
            exchange(&mut stream, seen);
            reset(stream);
        }
        _ => {
            stream.write_all(b"R").unwrap();
            seen.bytes.fetch_add(1, Ordering::Relaxed);
            assert!(stream.read(&mut [0; 16]).is_err());
            seen.resets.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn turned_away(port: u16, seen: &Seen) {
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        assert!(stream.read(&mut [0; 16]).is_err());
    }
    seen.resets.fetch_add(1, Ordering::Relaxed);
}

fn exchange(stream: &mut TcpStream, seen: &Seen) {
    let mut answer = [0; 5];
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    seen.bytes.fetch_add(5, Ordering::Relaxed);
}

fn descriptors(pid: u32) -> Vec<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect()
}

fn total(client: &mut RelayClient) -> RouteStats {
    let mut sum = RouteStats::default();
    for listed in client.list().unwrap() {
        sum.connections_total += listed.stats.connections_total;
        sum.connections_open += listed.stats.connections_open;
        sum.bytes_in += listed.stats.bytes_in;
        sum.target_refused += listed.stats.target_refused;
    }
    sum
}

#[test]
fn nothing_is_left_of_a_hundred_thousand_connections() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        let target = tcp_target("127.0.0.1:0", moody);
        for port in (8000..8000 + PORTS).chain([9000]) {
            // Port 1 of this namespace is nobody's.
            let target = if port == 9000 { "127.0.0.1:1".parse().unwrap() } else { target };
            let (route, held) = route(Transport::Tcp, &[V4], (port, port), target);
            add(&mut client, &route, &held);
            client.open(&[route.id]).unwrap();
        }
        let before = descriptors(client.pid()).len();
        let seen = Seen::default();
        let here = Netns::current().unwrap();
        let work = |first: u64| {
            for turn in (first..CONNECTIONS).step_by(usize::try_from(CLIENTS).unwrap()) {
                one(turn, &seen);
            }
        };
        std::thread::scope(|scope| {
            let (work, here) = (&work, &here);
            for first in 0..CLIENTS {
                // A panic of any of them ends the scope with one.
                scope.spawn(move || here.run(|| work(first)).unwrap());
            }
        });
        eventually(|| total(&mut client).connections_open == 0);
        let sum = total(&mut client);
        assert_eq!(sum.connections_total, CONNECTIONS);
        assert_eq!(sum.target_refused, CONNECTIONS / 10);
        assert_eq!(sum.bytes_in, seen.bytes.load(Ordering::Relaxed));
        eventually(|| descriptors(client.pid()).len() <= before);
        let stats = client.stats().unwrap();
        assert_eq!(stats.descriptors_used, u64::from(PORTS) + 1);
        let pipes = descriptors(client.pid());
        assert!(!pipes.iter().any(|link| link.to_string_lossy().starts_with("pipe:")), "{pipes:?}");
        client.shutdown().unwrap();
    });
}
