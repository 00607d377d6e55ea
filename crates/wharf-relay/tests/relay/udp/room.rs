//! A full table.

use std::net::UdpSocket;
use std::time::Duration;

use wharf_host::reserve::Transport;
use wharf_relay::{Limits, RouteStats};

use super::super::bench::*;
use super::{ask, short};

const ASKED: &str = "127.0.0.1:8080";

/// One loop with room for `flows`, none of which ends by itself before the test does.
fn room_for(flows: usize) -> Limits {
    let (loops, idle) = (Some(1), Duration::from_secs(60));
    Limits { flows, loops, flow_idle: idle, stream_idle: idle, ..short() }
}

fn clients(count: usize) -> Vec<UdpSocket> {
    (0..count).map(|_| udp_client("127.0.0.1:0")).collect()
}

/// Waits until the counters of 8081 satisfy `done`.
fn until_8081(bench: &mut Bench, done: impl Fn(&RouteStats) -> bool) {
    eventually(|| done(&bench.client.list().unwrap()[1].stats));
}

#[test]
fn a_full_table_gives_up_the_oldest_short_lived_flow() {
    let limits = Limits { flows: 4, streams_per_client: 1, ..short() };
    with_relay(Limits { flow_idle: Duration::from_secs(30), ..limits }, |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let clients: Vec<UdpSocket> = (0..6).map(|_| udp_client("127.0.0.1:0")).collect();
        ask(&clients[0], "127.0.0.1:8080", b"stream");
        std::thread::sleep(Duration::from_millis(150));
        ask(&clients[0], "127.0.0.1:8080", b"stream");
        for client in &clients[1..] {
            ask(client, "127.0.0.1:8080", b"short");
        }
        let stats = bench.listed().stats;
        assert_eq!((stats.flows_total, stats.flows_open, stats.flows_evicted), (6, 4, 2));
        // The stream, oldest of all, was kept; so were the youngest.
        for kept in [&clients[0], &clients[3], &clients[5]] {
            ask(kept, "127.0.0.1:8080", b"kept");
        }
        assert_eq!(bench.listed().stats.flows_total, 6);
    });
}

#[test]
fn a_flood_of_strangers_ends_no_conversation() {
    with_relay(room_for(64), |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
        bench.publish(route(Transport::Udp, &[V4], (8081, 8081), deaf.local_addr().unwrap()));
        let known = clients(32);
        known.iter().for_each(|client| ask(client, ASKED, b"before"));
        // Each address that is asked makes another flow.
        let stranger = udp_client("127.0.0.1:0");
        for round in 0..4 {
            for last in 1..=250 {
                stranger.send_to(b"!", format!("127.0.{round}.{last}:8081")).unwrap();
            }
            until_8081(bench, |stats| stats.flows_total == 250 * (round + 1));
        }
        known.iter().for_each(|client| ask(client, ASKED, b"after"));
        let stats = bench.listed().stats;
        assert_eq!((stats.flows_total, stats.flows_open, stats.flows_evicted), (32, 32, 0));
        until_8081(bench, |stats| (stats.flows_open, stats.flows_evicted) == (32, 968));
        // A newcomer is not shut out, either.
        ask(&udp_client("127.0.0.1:0"), ASKED, b"newcomer");
    });
}

#[test]
fn a_table_full_of_streams_gives_up_the_one_that_was_quiet_for_longest() {
    with_relay(room_for(4), |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let streams = clients(4);
        streams.iter().for_each(|client| ask(client, ASKED, b"begun"));
        std::thread::sleep(Duration::from_millis(150));
        streams.iter().for_each(|client| ask(client, ASKED, b"streams"));
        ask(&streams[0], ASKED, b"streams on");
        ask(&udp_client("127.0.0.1:0"), ASKED, b"newcomer");
        for kept in [0, 2, 3] {
            ask(&streams[kept], ASKED, b"kept");
        }
        let stats = bench.listed().stats;
        assert_eq!((stats.flows_total, stats.flows_open, stats.flows_evicted), (5, 4, 1));
    });
}

#[test]
fn a_flow_that_cannot_begin_ends_no_other() {
    with_relay(room_for(4), |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let nowhere = "203.0.113.1:9".parse().unwrap();
        bench.publish(route(Transport::Udp, &[V4], (8081, 8081), nowhere));
        let known = clients(4);
        known.iter().for_each(|client| ask(client, ASKED, b"before"));
        for _ in 0..3 {
            known[0].send_to(b"lost", "127.0.0.1:8081").unwrap();
        }
        until_8081(bench, |stats| stats.dropped_unreachable == 3);
        let stats = bench.listed().stats;
        assert_eq!((stats.flows_open, stats.flows_evicted), (4, 0));
    });
}
