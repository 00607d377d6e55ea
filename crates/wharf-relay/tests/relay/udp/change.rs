//! Flows of a route that changes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wharf_host::reserve::Transport;
use wharf_relay::{Limits, Route};
use wharf_spec::ProxyProtocol;

use super::super::bench::*;
use super::super::change::led_to;

/// A server that answers every datagram with its own port and the port it sees.
fn teller() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 256]) {
            let told = format!("{} {}", address.port(), from.port());
            drop(socket.send_to(told.as_bytes(), from));
        }
    });
    address
}

/// The server that answers, and the port it sees.
fn told(client: &UdpSocket, asked: &str) -> (u16, u16) {
    client.send_to(b"who?", asked).unwrap();
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer).unwrap();
    let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let (server, seen) = told.split_once(' ').unwrap();
    (server.parse().unwrap(), seen.parse().unwrap())
}

#[test]
fn the_next_datagram_reaches_the_new_target() {
    with_relay(Limits::default(), |bench| {
        let targets = [teller(), teller()];
        bench.publish_8080(Transport::Udp, targets[0]);
        let route = bench.listed().route;
        let (v4, v6) = (udp_client("127.0.0.1:0"), udp_client("[::1]:0"));
        for round in 1..=50 {
            for (client, asked) in [(&v4, "127.0.0.1:8080"), (&v6, "[::1]:8080")] {
                assert_eq!(told(client, asked).0, targets[(round + 1) % 2].port());
            }
            bench.client.change(vec![led_to(&route, targets[round % 2])], &[]).unwrap();
            assert_eq!(bench.listed().stats.flows_open, 0);
        }
        let stats = bench.listed().stats;
        assert_eq!((stats.flows_total, stats.datagrams_dropped), (100, 0));
        assert_eq!((stats.datagrams_in, stats.datagrams_out), (100, 100));
        eventually(|| bench.client.stats().unwrap().descriptors_used == 1);
    });
}

#[test]
fn a_client_that_never_stops_sending_reaches_the_new_target_at_once() {
    with_relay(Limits::default(), |bench| {
        let targets = [teller(), teller()];
        bench.publish_8080(Transport::Udp, targets[0]);
        let route = bench.listed().route;
        let client = udp_client("127.0.0.1:0");
        let stop = AtomicBool::new(false);
        let sender = client.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + PATIENCE;
                while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
                    sender.send_to(b"who?", "127.0.0.1:8080").unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let from = |target: SocketAddr| {
                let mut buffer = [0; 64];
                let length = client.recv(&mut buffer).unwrap();
                let server = format!("{} ", target.port());
                buffer[..length].starts_with(server.as_bytes())
            };
            assert!(from(targets[0]));
            bench.client.change(vec![led_to(&route, targets[1])], &[]).unwrap();
            let changed = Instant::now();
            while !from(targets[1]) {}
            assert!(changed.elapsed() < PATIENCE, "{:?}", changed.elapsed());
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn flows_go_on_when_nothing_changes_for_them() {
    with_relay(Limits::default(), |bench| {
        let target = teller();
        bench.publish_8080(Transport::Udp, target);
        let route = bench.listed().route;
        let (near, far) = (udp_client("127.0.0.1:0"), udp_client("192.0.2.1:0"));
        let near_seen = told(&near, "127.0.0.1:8080");
        told(&far, "192.0.2.1:8080");
        let allow = vec!["127.0.0.0/8".parse().unwrap()];
        let narrow = Route { allow, target_v6: Some("::1".parse().unwrap()), ..route.clone() };
        bench.client.change(vec![narrow.clone()], &[]).unwrap();
        assert_eq!(bench.listed().stats.flows_open, 1);
        far.send_to(b"who?", "192.0.2.1:8080").unwrap();
        bench.until(|stats| stats.refused_not_allowed == 1);
        assert_eq!(told(&near, "127.0.0.1:8080"), near_seen);
        bench.client.change(vec![route.clone()], &[]).unwrap();
        told(&far, "192.0.2.1:8080");
        // That its flow is another one shows in the count: the kernel may give it the same port.
        assert_eq!(bench.listed().stats.flows_total, 3);
        assert_eq!(told(&near, "127.0.0.1:8080"), near_seen);
        let header = Route { proxy_protocol: Some(ProxyProtocol::V2), ..route };
        bench.client.change(vec![header], &[]).unwrap();
        assert_eq!(bench.listed().stats.flows_open, 0);
        told(&near, "127.0.0.1:8080");
        assert_eq!(bench.listed().stats.flows_total, 4);
    });
}
