use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const LOOP4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Runs `test` in a network namespace of its own with loopback up.
fn in_own_netns(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root for a network namespace");
        return;
    }
    crate::netns::Netns::create().unwrap().run(test).unwrap();
}

fn raise_limit() -> u64 {
    crate::process::raise_descriptor_limit().unwrap()
}

#[test]
fn nobody_gets_in_before_open() {
    in_own_netns(|| {
        let held = reserve(Transport::Tcp, &[V4], (8080, 8080)).unwrap();
        let target = "127.0.0.1:8080".parse().unwrap();
        let before = TcpStream::connect_timeout(&target, Duration::from_millis(300));
        assert_eq!(before.unwrap_err().kind(), ErrorKind::TimedOut);
        held.open().unwrap();
        held.open().unwrap();
        TcpStream::connect_timeout(&target, Duration::from_secs(3)).unwrap();
    });
}

#[test]
fn one_socket_serves_both_wildcards() {
    in_own_netns(|| {
        let held = reserve(Transport::Tcp, &[V4, V6], (8080, 8081)).unwrap();
        assert_eq!(held.sockets.len(), 2);
        assert_eq!(sockets_needed(&[V4, V6], (8080, 8081)), 2);
        assert_eq!(sockets_needed(&[LOOP4, V6], (1, 65535)), 131_070);
        assert!(held.sockets.iter().all(|b| b.dual && b.address == V6));
        assert_eq!(held.ports(), Some((8080, 8081)));
        held.open().unwrap();
        for target in ["127.0.0.1:8081", "[::1]:8081"] {
            let target = target.parse().unwrap();
            TcpStream::connect_timeout(&target, Duration::from_secs(3)).unwrap();
        }
    });
}

#[test]
fn a_clash_leaves_nothing_behind_and_names_the_family() {
    in_own_netns(|| {
        for transport in [Transport::Tcp, Transport::Udp] {
            let held = reserve(transport, &[LOOP4], (8085, 8085)).unwrap();
            let clash = reserve(transport, &[V4, V6], (8080, 8089)).unwrap_err();
            assert!(clash.is_in_use());
            assert_eq!((clash.address, clash.port), (V4, 8085));
            assert_eq!(clash.to_string().split(": ").next(), Some("bind 0.0.0.0:8085"));
            drop(held);
            reserve(transport, &[V4, V6], (8080, 8089)).unwrap();
        }
    });
}

#[test]
fn an_address_of_another_host_is_refused_as_such() {
    in_own_netns(|| {
        let there = "192.0.2.7".parse().unwrap();
        let clash = reserve(Transport::Tcp, &[LOOP4, there], (80, 80)).unwrap_err();
        assert_eq!(clash.source.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        assert_eq!(clash.address, there);
    });
}

#[test]
fn timed_ten_thousand_ports_are_quick() {
    in_own_netns(|| {
        if raise_limit() < 10_100 {
            println!("skipped: descriptor limit too low");
            return;
        }
        let start = Instant::now();
        let held = reserve(Transport::Tcp, &[V4, V6], (10_000, 19_999)).unwrap();
        let bound = start.elapsed();
        let last = "127.0.0.1:19999".parse().unwrap();
        let early = TcpStream::connect_timeout(&last, Duration::from_millis(100));
        assert_eq!(early.unwrap_err().kind(), ErrorKind::TimedOut);
        let start = Instant::now();
        held.open().unwrap();
        println!("10,000 ports: bound in {bound:?}, opened in {:?}", start.elapsed());
        assert!(bound < Duration::from_secs(2), "{bound:?}");
        TcpStream::connect_timeout(&last, Duration::from_secs(3)).unwrap();
        drop(held);
        reserve(Transport::Tcp, &[V4, V6], (10_000, 19_999)).unwrap();
    });
}

#[test]
fn free_ports_are_a_run_that_goes_round_and_avoids_what_is_taken() {
    in_own_netns(|| {
        let range = (40_000, 40_019);
        let _held = reserve(Transport::Tcp, &[LOOP4], (40_012, 40_012)).unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "40002-40003").unwrap();
        assert_eq!(reserved_ports().unwrap(), vec![(40_002, 40_003)]);
        let pick = |count, start| {
            pick_free(Transport::Tcp, &[V4, V6], count, range, start).map(|r| r.ports().unwrap())
        };
        assert_eq!(pick(1, 40_005).unwrap(), (40_005, 40_005));
        assert_eq!(pick(4, 40_010).unwrap(), (40_013, 40_016));
        assert_eq!(pick(3, 40_018).unwrap(), (40_004, 40_006));
        assert_eq!(pick(8, 40_006).unwrap(), (40_004, 40_011));
        assert_eq!(pick(1, 9).unwrap(), (40_000, 40_000));
        assert!(matches!(pick(9, 40_000), Err(NoFreePorts::Exhausted { .. })));
        assert!(ephemeral_range().unwrap().0 > 0);
    });
}

#[test]
fn datagrams_name_the_address_they_were_sent_to() {
    in_own_netns(|| {
        let held = reserve(Transport::Udp, &[V4, V6], (8053, 8053)).unwrap();
        held.open().unwrap();
        let socket = &held.sockets[0].socket;
        for (client, asked) in [("127.0.0.1:0", "127.0.0.9:8053"), ("[::1]:0", "[::1]:8053")] {
            let client = UdpSocket::bind(client).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let asked: SocketAddr = asked.parse().unwrap();
            client.send_to(b"", asked).unwrap();
            let mut buffer = [0; 8];
            let arrival = pktinfo::receive(socket, &mut buffer).unwrap();
            assert_eq!((arrival.length, arrival.truncated), (0, false));
            assert_eq!(arrival.from, client.local_addr().unwrap());
            assert_eq!(arrival.to.unwrap().address, asked.ip());
            pktinfo::send(socket, b"answer", arrival.from, arrival.to, true).unwrap();
            assert_eq!(client.recv_from(&mut buffer).unwrap(), (6, asked));
        }
    });
}
