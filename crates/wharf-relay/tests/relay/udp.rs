use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use wharf_host::reserve::Transport;
use wharf_relay::Limits;

use super::bench::*;

mod change;
mod header;
mod inside;
mod room;
mod source;
mod trains;

fn short() -> Limits {
    Limits {
        flow_idle: Duration::from_millis(1000),
        stream_idle: Duration::from_millis(4000),
        stream_after: Duration::from_millis(100),
        ..Limits::default()
    }
}

fn ask(client: &UdpSocket, asked: &str, payload: &[u8]) {
    client.send_to(payload, asked).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let (length, from) = client.recv_from(&mut buffer).unwrap_or_else(|e| panic!("{asked}: {e}"));
    assert_eq!((&buffer[..length], from), (payload, asked.parse().unwrap()));
}

#[test]
fn datagrams_of_every_size_keep_their_boundaries() {
    with_relay(Limits::default(), |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        for (at, asked) in [("127.0.0.1:0", "127.0.0.1:8080"), ("[::1]:0", "[::1]:8080")] {
            let client = udp_client(at);
            for size in [0, 1, 1400, 65_507] {
                ask(&client, asked, &vec![7; size]);
            }
            client.send_to(b"", asked).unwrap();
            client.send_to(b"ab", asked).unwrap();
            let mut buffer = [0; 8];
            assert_eq!(client.recv(&mut buffer).unwrap(), 0);
            assert_eq!(client.recv(&mut buffer).unwrap(), 2);
        }
        bench.until(|stats| stats.datagrams_out == 12);
        let stats = bench.listed().stats;
        assert_eq!((stats.flows_total, stats.flows_open, stats.datagrams_dropped), (2, 2, 0));
        assert_eq!((stats.bytes_in, stats.bytes_out), (133_820, 133_820));
    });
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    with_relay(Limits::default(), |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        // One client port asks several addresses: each is a flow of its own.
        let client = udp_client("0.0.0.0:0");
        for asked in ["127.0.0.1:8080", "127.0.0.77:8080", "192.0.2.1:8080"] {
            ask(&client, asked, asked.as_bytes());
        }
        let client = udp_client("[::]:0");
        for asked in ["[::1]:8080", "[2001:db8::1]:8080", "[2001:db8::2]:8080"] {
            ask(&client, asked, asked.as_bytes());
        }
        assert_eq!(bench.listed().stats.flows_total, 6);
    });
}

#[test]
fn separate_sockets_per_family_work_the_same() {
    with_relay(Limits::default(), |bench| {
        let places = ["192.0.2.1".parse().unwrap(), V6];
        let target = udp_echo("[::1]:0");
        bench.publish(route(Transport::Udp, &places, (8080, 8080), target));
        ask(&udp_client("192.0.2.1:0"), "192.0.2.1:8080", b"four");
        ask(&udp_client("[2001:db8::1]:0"), "[2001:db8::2]:8080", b"six");
    });
}

#[test]
fn flows_expire_and_streams_live_longer() {
    let (flow_idle, stream_idle) = (Duration::from_secs(2), Duration::from_secs(6));
    with_relay(Limits { flow_idle, stream_idle, ..short() }, |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let (brief, lasting) = (udp_client("127.0.0.1:0"), udp_client("127.0.0.1:0"));
        ask(&brief, "127.0.0.1:8080", b"question");
        ask(&lasting, "127.0.0.1:8080", b"one");
        std::thread::sleep(Duration::from_millis(150));
        ask(&lasting, "127.0.0.1:8080", b"two");
        bench.until(|stats| stats.flows_open == 1);
        ask(&lasting, "127.0.0.1:8080", b"three");
        assert_eq!(bench.listed().stats.flows_total, 2);
        bench.until(|stats| stats.flows_open == 0);
        eventually(|| bench.client.stats().unwrap().descriptors_used == 1);
        ask(&lasting, "127.0.0.1:8080", b"again");
        assert_eq!(bench.listed().stats.flows_total, 3);
    });
}

#[test]
fn traffic_of_either_side_keeps_a_flow() {
    let idle = Duration::from_secs(4);
    with_relay(Limits { flow_idle: idle, stream_idle: idle, ..short() }, |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let client = udp_client("127.0.0.1:0");
        for _ in 0..5 {
            ask(&client, "127.0.0.1:8080", b"tick");
            std::thread::sleep(idle / 4);
        }
        assert_eq!(bench.listed().stats.flows_total, 1);
    });
}

#[test]
fn a_target_that_comes_late_finds_its_flow() {
    with_relay(Limits::default(), |bench| {
        // No port that the kernel might give to one of the others.
        let target: SocketAddr = "127.0.0.1:80".parse().unwrap();
        bench.publish_8080(Transport::Udp, target);
        let client = udp_client("127.0.0.1:0");
        for sent in 1..=3 {
            client.send_to(b"anyone?", "127.0.0.1:8080").unwrap();
            // Of those that travel together one is refused.
            bench.until(|stats| stats.target_refused >= sent);
        }
        udp_echo(&target.to_string());
        ask(&client, "127.0.0.1:8080", b"there you are");
        assert_eq!(bench.listed().stats.flows_total, 1);
    });
}

#[test]
fn a_target_that_does_not_read_holds_nobody_up() {
    with_relay(Limits::default(), |bench| {
        let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
        bench.publish(route(Transport::Udp, &[V4], (8081, 8081), deaf.local_addr().unwrap()));
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let client = udp_client("127.0.0.1:0");
        for _ in 0..2000 {
            client.send_to(&[0; 1400], "127.0.0.1:8081").unwrap();
        }
        ask(&client, "127.0.0.1:8080", b"in time");
    });
}

#[test]
fn strangers_and_removed_routes_get_nothing() {
    with_relay(Limits::default(), |bench| {
        let target = udp_echo("127.0.0.1:0");
        let (mut route, held) = route(Transport::Udp, &[V4], (8080, 8080), target);
        route.allow = vec!["192.0.2.0/24".parse().unwrap()];
        let id = bench.publish((route, held));
        let friend = udp_client("192.0.2.1:0");
        let stranger = udp_client("127.0.0.1:0");
        stranger.send_to(b"hello", "127.0.0.1:8080").unwrap();
        ask(&friend, "192.0.2.1:8080", b"hello");
        let stats = bench.listed().stats;
        assert_eq!((stats.refused_not_allowed, stats.flows_total), (1, 1));
        bench.client.remove(&[id], None).unwrap();
        eventually(|| bench.client.stats().unwrap().flows_open == 0);
        eventually(|| bench.client.stats().unwrap().descriptors_used == 0);
    });
}
