//! One relay takes the place of another.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_host::netns::Netns;
use wharf_host::process::{Pid, Signal};
use wharf_host::reserve::Transport;
use wharf_relay::{Listed, RelayClient, Source, ensure, socket_path, upgrade};

use super::bench::*;
use super::process::program;
use super::tcp::answer;

/// Publishes 8080 of both wildcards in a relay of its own process.
fn published(dir: &TempDir, transport: Transport, target: SocketAddr) -> RelayClient {
    let mut client = ensure(dir.path(), &program(dir)).unwrap();
    let (route, held) = route(transport, &[V4, V6], (8080, 8080), target);
    add(&mut client, &route, &held);
    client.open(std::slice::from_ref(&route.id)).unwrap();
    client
}

/// The same with an echo behind it and a connection to that, which has said something.
fn carrying(dir: &TempDir) -> (RelayClient, TcpStream) {
    let relay = published(dir, Transport::Tcp, tcp_target("127.0.0.1:0", echo));
    let lasting = connect("127.0.0.1:8080");
    answer(&lasting, b"before");
    (relay, lasting)
}

fn replace(dir: &TempDir, drain_seconds: u32) -> RelayClient {
    upgrade(dir.path(), Some(&dir.path().join("wharf")), drain_seconds).unwrap()
}

fn process(client: &RelayClient) -> Pid {
    Pid::of(client.pid()).unwrap()
}

/// Whether it ends, and not by itself.
fn is_reset(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

fn only(client: &mut RelayClient) -> Listed {
    client.list().unwrap().remove(0)
}

/// Connects again and again until `stop`; answers how often, and panics at the first failure.
fn hammer(stop: &AtomicBool, tries: &AtomicUsize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        let stream = connect("127.0.0.1:8080");
        answer(&stream, b"still there?");
        // Ports of the client's side must not run out.
        reset(stream);
        tries.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_connection_is_refused_while_a_relay_is_replaced_five_times() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        let mut client = published(&dir, Transport::Tcp, target);
        let (stop, tries) = (AtomicBool::new(false), AtomicUsize::new(0));
        let here = Netns::current().unwrap();
        std::thread::scope(|scope| {
            let hammers: Vec<_> =
                (0..2).map(|_| scope.spawn(|| here.run(|| hammer(&stop, &tries)))).collect();
            for _ in 0..5 {
                let before = tries.load(Ordering::Relaxed);
                let next = replace(&dir, 60);
                assert_ne!(next.pid(), client.pid());
                client = next;
                eventually(|| tries.load(Ordering::Relaxed) > before + 20);
            }
            stop.store(true, Ordering::Relaxed);
            for hammer in hammers {
                hammer.join().unwrap().unwrap();
            }
        });
        let tries = u64::try_from(tries.load(Ordering::Relaxed)).unwrap();
        eventually(|| only(&mut client).stats.connections_total == tries);
        client.shutdown().unwrap();
    });
}

#[test]
fn what_a_relay_had_counted_before_it_left_is_known_though_it_is_killed() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        let old = published(&dir, Transport::Tcp, target);
        answer(&connect("127.0.0.1:8080"), b"before");
        let process = process(&old);
        let mut new = replace(&dir, 60);
        // Whether the new one has come to ask or not, and whether it has ended already.
        drop(process.signal(Signal::KILL));
        let stats = only(&mut new).stats;
        assert_eq!((stats.connections_total, stats.bytes_in), (1, 6));
        new.shutdown().unwrap();
    });
}

#[test]
fn what_is_open_goes_on_in_the_old_relay_until_it_ends() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (old, lasting) = carrying(&dir);
        let process = process(&old);
        let mut new = replace(&dir, 60);
        answer(&lasting, b"after");
        answer(&connect("127.0.0.1:8080"), b"another");
        // What the old one counts is counted in the new one.
        eventually(|| {
            let stats = only(&mut new).stats;
            (stats.connections_total, stats.connections_open) == (2, 1) && stats.bytes_in == 18
        });
        assert!(process.is_alive());
        drop(lasting);
        assert!(process.wait_exit(PATIENCE).unwrap());
        eventually(|| only(&mut new).stats.connections_open == 0);
        assert_eq!(only(&mut new).stats.connections_total, 2);
        assert!(socket_path(dir.path()).exists());
        // A client of the old relay finds the new one by itself.
        let mut faithful = old;
        assert_eq!(faithful.list().unwrap().len(), 1);
        assert_eq!(faithful.pid(), new.pid());
        new.shutdown().unwrap();
    });
}

#[test]
fn connections_of_the_old_relay_are_cut_when_their_time_is_over() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (old, mut lasting) = carrying(&dir);
        let old = process(&old);
        let mut new = replace(&dir, 1);
        assert!(is_reset(&mut lasting));
        assert!(old.wait_exit(PATIENCE).unwrap());
        let stats = only(&mut new).stats;
        assert_eq!((stats.connections_total, stats.bytes_in), (1, 6), "its last words");
        new.shutdown().unwrap();
    });
}

/// Three relays, one after the other; the first carries the connection.
fn three(dir: &TempDir, drain_seconds: u32) -> (TcpStream, [Pid; 2], RelayClient) {
    let (first, lasting) = carrying(dir);
    let first = process(&first);
    let second = process(&replace(dir, 60));
    let third = replace(dir, drain_seconds);
    (lasting, [first, second], third)
}

#[test]
fn a_relay_whose_time_is_over_takes_along_the_one_before_it() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (mut lasting, before, mut third) = three(&dir, 0);
        assert!(is_reset(&mut lasting));
        assert!(before.iter().all(|process| process.wait_exit(PATIENCE).unwrap()));
        let stats = only(&mut third).stats;
        assert_eq!((stats.connections_total, stats.bytes_in), (1, 6));
        third.shutdown().unwrap();
    });
}

#[test]
fn a_relay_that_is_told_to_end_takes_along_the_one_before_it() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (mut lasting, [first, second], mut third) = three(&dir, 60);
        answer(&lasting, b"still");
        second.signal(Signal::TERM).unwrap();
        assert!(is_reset(&mut lasting));
        assert!(first.wait_exit(PATIENCE).unwrap() && second.wait_exit(PATIENCE).unwrap());
        assert_eq!(only(&mut third).stats.connections_total, 1);
        third.shutdown().unwrap();
    });
}

#[test]
fn a_relay_that_hangs_keeps_its_successor_from_nothing() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (old, _lasting) = carrying(&dir);
        let old = process(&old);
        let mut new = replace(&dir, 60);
        old.signal(Signal::STOP).unwrap();
        let id = only(&mut new).route.id;
        let began = Instant::now();
        let removed = new.remove(&[id], None);
        old.signal(Signal::KILL).unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "whoever asks waits ten seconds in all");
        assert!(removed.unwrap().is_empty());
        new.shutdown().unwrap();
    });
}

#[test]
fn a_route_removed_from_the_new_relay_ends_in_the_old_one_too() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (_old, mut lasting) = carrying(&dir);
        let mut new = replace(&dir, 60);
        let id = only(&mut new).route.id;
        assert!(new.remove(&[id], None).unwrap().is_empty());
        assert!(is_reset(&mut lasting));
        assert!(TcpStream::connect("127.0.0.1:8080").is_err());
        new.shutdown().unwrap();
    });
}

#[test]
fn a_udp_conversation_keeps_its_port_towards_the_target() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        // Answers with the address it sees.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                drop(socket.send_to(from.to_string().as_bytes(), from));
            }
        });
        published(&dir, Transport::Udp, target);
        let client = udp_client("127.0.0.1:0");
        let seen = || {
            let mut buffer = [0; 64];
            client.send_to(b"who am I?", "127.0.0.1:8080").unwrap();
            let length = client.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let before = seen();
        let mut new = replace(&dir, 60);
        assert_eq!(seen(), before);
        assert_eq!(only(&mut new).stats.flows_open, 1);
        new.shutdown().unwrap();
    });
}

#[test]
fn a_tenant_finds_its_lease_again_and_a_lost_one_ends() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        // Not to end before the lease does, for which it says nothing.
        let target = tcp_target("127.0.0.1:0", |stream| {
            stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
            echo(stream);
        });
        let mut tenant = ensure(dir.path(), &program(&dir)).unwrap();
        let (route, held) = route(Transport::Tcp, &[V4], (8080, 8080), target);
        add(&mut tenant, &route, &held);
        let ids = [route.id];
        tenant.open_leased(&ids).unwrap();
        drop(held);
        let mut lasting = connect("127.0.0.1:8080");
        answer(&lasting, b"before");
        let mut new = replace(&dir, 60);
        assert!(only(&mut new).leased);
        tenant.open_leased(&ids).unwrap();
        assert_eq!(tenant.pid(), new.pid());
        answer(&connect("127.0.0.1:8080"), b"served");
        // The next time the tenant does not come back.
        let mut last = replace(&dir, 60);
        drop(tenant);
        answer(&connect("127.0.0.1:8080"), b"served");
        let patience = Instant::now() + Duration::from_secs(20);
        while !last.list().unwrap().is_empty() {
            assert!(Instant::now() < patience);
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(is_reset(&mut lasting), "the first one goes on with it");
        last.shutdown().unwrap();
    });
}

#[test]
fn a_successor_that_fails_half_way_changes_nothing() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        let mut client = published(&dir, Transport::Tcp, target);
        let mut raw = std::os::unix::net::UnixStream::connect(socket_path(dir.path())).unwrap();
        wharf_host::fdpass::send_frame(&raw, br#"{"request":"hand_over"}"#, &[]).unwrap();
        let answered = wharf_host::fdpass::recv_frame(&raw, 1 << 20).unwrap().unwrap();
        // One socket for both families, the listener and the lock.
        assert_eq!(answered.1.len(), 1 + 2);
        raw.flush().unwrap();
        drop((raw, answered));
        let listed = client.list().unwrap();
        assert_eq!(listed.len(), 1);
        answer(&connect("127.0.0.1:8080"), b"unmoved");
        client.shutdown().unwrap();
    });
}

#[test]
fn the_process_keeps_no_more_rights_than_it_needs() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let client = ensure(dir.path(), &program(&dir)).unwrap();
        let mut looked_at = 0;
        for thread in threads(client.pid()) {
            // One that only helped at the start may have ended.
            let Ok(status) = std::fs::read_to_string(thread.join("status")) else { continue };
            looked_at += 1;
            let line = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().nth(1).unwrap().to_owned()
            };
            // CAP_NET_BIND_SERVICE and CAP_NET_RAW.
            for set in ["CapPrm:", "CapEff:"] {
                assert_eq!(u64::from_str_radix(&line(set), 16).unwrap(), 1 << 10 | 1 << 13);
            }
            for set in ["CapInh:", "CapBnd:", "CapAmb:"] {
                assert_eq!(line(set), "0000000000000000");
            }
            assert_eq!(line("NoNewPrivs:"), "1");
            assert_eq!(line("Seccomp:"), "2");
        }
        assert!(looked_at > 1, "one for each processor, and one for control");
        process(&client).signal(Signal::TERM).unwrap();
        assert!(process(&client).wait_exit(PATIENCE).unwrap());
        assert!(!socket_path(dir.path()).exists());
    });
}

fn threads(pid: u32) -> Vec<std::path::PathBuf> {
    let threads = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).unwrap();
    let threads: Vec<_> = threads.map(|entry| entry.unwrap().path()).collect();
    assert!(threads.len() > 2);
    threads
}

#[test]
fn the_relay_says_who_it_is() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let client = ensure(dir.path(), &program(&dir)).unwrap();
        assert_eq!(client.namespace(), Netns::current().unwrap().identity().unwrap());
        assert_eq!(client.release(), env!("CARGO_PKG_VERSION"));
        assert_eq!(Source::default(), Source::Gateway);
        client.shutdown().unwrap();
    });
}

#[test]
fn another_relay_takes_the_place_of_a_successor_that_is_killed_while_the_first_still_drains() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let (first, lasting) = carrying(&dir);
        let first = process(&first);
        let second = replace(&dir, 60);
        let killed = process(&second);
        killed.signal(Signal::KILL).unwrap();
        assert!(killed.wait_exit(PATIENCE).unwrap());
        let began = Instant::now();
        let third = ensure(dir.path(), &program(&dir)).unwrap();
        assert!(began.elapsed() < PATIENCE, "nobody waits for the first one");
        assert_ne!(third.pid(), second.pid());
        answer(&lasting, b"the first still carries this");
        drop(lasting);
        assert!(first.wait_exit(PATIENCE).unwrap());
        third.shutdown().unwrap();
    });
}
