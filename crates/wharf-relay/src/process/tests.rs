use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

use wharf_spec::PortRange;

use super::*;
use crate::client::RelayClient;
use crate::protocol::{Place, Route, example};
use crate::stats::RouteStats;

/// How long the end of a relay that waits for nobody may take, on a machine that is busy.
const AT_ONCE: Duration = LAST_WORDS.checked_div(2).unwrap();

/// Tells a relay that it has a successor; the successor's connection.
fn succeed(dir: &Path, drain_seconds: u32) -> RelayClient {
    let mut successor = RelayClient::connect_to_old(&socket_path(dir)).unwrap();
    // One before it has left says nothing of the last connections.
    successor.list().unwrap();
    successor.hand_over().unwrap();
    successor.leave(drain_seconds).unwrap();
    successor
}

/// Of a relay that has left, and its successor's connection; how long it takes to end once `then`
/// happens, which it does until the end.
fn takes_to_end(mut then: impl FnMut(&mut Option<RelayClient>)) -> Duration {
    let dir = tempfile::TempDir::new().unwrap();
    let mut relay = Relay::start(RelayConfig::new(dir.path())).unwrap();
    let mut successor = Some(succeed(dir.path(), 60));
    let End::Drained(limit) = relay.wait() else { panic!("it was to be drained") };
    let took = thread::scope(|scope| {
        let drained = scope.spawn(|| relay.drain(limit));
        thread::sleep(3 * DRAIN_POLL);
        assert!(!drained.is_finished(), "nobody has read what it counted");
        let began = Instant::now();
        while !drained.is_finished() {
            then(&mut successor);
            thread::sleep(DRAIN_POLL);
        }
        drained.join().unwrap();
        began.elapsed()
    });
    relay.stop();
    took
}

#[test]
fn a_relay_that_leaves_stays_until_its_successor_has_read_what_it_counted() {
    let took = takes_to_end(|successor| drop(successor.as_mut().unwrap().list().unwrap()));
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn a_relay_whose_successor_is_gone_waits_for_nobody() {
    let took = takes_to_end(|successor| drop(successor.take()));
    assert!(took < AT_ONCE, "{took:?}");
}

/// A connection through the relay of `dir`, which has carried five bytes; both of its ends.
fn carried(dir: &Path) -> (TcpStream, TcpStream) {
    let target = TcpListener::bind("127.0.0.1:9000").unwrap();
    let listener = TcpListener::bind("127.0.0.1:8000").unwrap();
    let route = Route {
        listeners: vec![Place { address: [127, 0, 0, 1].into(), dual: false }],
        host_ports: PortRange::single(8000),
        target_ports: PortRange::single(9000),
        allow: Vec::new(),
        ..example()
    };
    let mut daemon = RelayClient::connect(&socket_path(dir)).unwrap();
    let ids = [route.id.clone()];
    daemon.add(vec![route], &[listener.as_fd()]).unwrap();
    daemon.open(&ids).unwrap();
    let mut client = TcpStream::connect("127.0.0.1:8000").unwrap();
    client.write_all(b"hello").unwrap();
    let (mut served, _) = target.accept().unwrap();
    served.read_exact(&mut [0; 5]).unwrap();
    (client, served)
}

/// What the successor reads while the relay ends, without a pause.
fn read_to_the_end(mut successor: RelayClient) -> Vec<RouteStats> {
    let mut read = Vec::new();
    let deadline = Instant::now() + AT_ONCE;
    while let Ok(listed) = successor.list() {
        assert!(Instant::now() < deadline, "it goes on");
        let [listed] = &listed[..] else { panic!("one route, not {listed:?}") };
        read.push(listed.stats);
    }
    read
}

#[test]
fn what_a_relay_cut_when_its_time_was_over_is_told_and_never_less_than_that() {
    let test = || {
        let dir = tempfile::TempDir::new().unwrap();
        let mut relay = Relay::start(RelayConfig::new(dir.path())).unwrap();
        let (mut client, _served) = carried(dir.path());
        let mut successor = succeed(dir.path(), 60);
        // Before it has heard that there are sixty seconds.
        successor.leave(0).unwrap();
        let End::Drained(limit) = relay.wait() else { panic!("it was to be drained") };
        let read = thread::scope(|scope| {
            let reader = scope.spawn(|| read_to_the_end(successor));
            relay.drain(limit);
            relay.stop();
            reader.join().unwrap()
        });
        assert!(client.read(&mut [0]).is_err(), "a reset");
        let last = read.last().unwrap();
        assert_eq!((last.connections_open, last.connections_total), (0, 1));
        assert!(read.iter().all(|stats| stats.bytes_in == 5), "{read:?}");
    };
    Netns::create().unwrap().run(test).unwrap();
}

#[test]
fn a_signal_that_comes_while_nobody_waits_for_it_is_not_lost() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut relay = Relay::start(RelayConfig::new(dir.path())).unwrap();
    let _successor = succeed(dir.path(), 60);
    let End::Drained(limit) = relay.wait() else { panic!("it was to be drained") };
    let own = wharf_host::process::Pid::current().unwrap();
    own.signal(wharf_host::process::Signal::TERM).unwrap();
    let began = Instant::now();
    relay.drain(limit);
    assert!(began.elapsed() < AT_ONCE, "nobody reads what it counted");
    relay.stop();
}
