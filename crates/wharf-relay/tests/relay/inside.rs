//! Targets in a network namespace that has nothing but its loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

use tempfile::TempDir;
use wharf_host::netns::Netns;
use wharf_host::opener::Opener;
use wharf_host::reserve::Transport;
use wharf_host::transparent::{lay_way_back_inside, take_up_way_back_inside};
use wharf_relay::{RelayClient, Source, ensure, upgrade};

use super::bench::*;
use super::process::{example, program};

/// A server in `inside` that tells each client the address it sees.
pub(super) fn who_is_there(inside: &Netns, at: &str) -> SocketAddr {
    let listener = inside.run(|| TcpListener::bind(at).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            drop(stream.write_all(peer.ip().to_string().as_bytes()));
        }
    });
    address
}

pub(super) fn ask(address: &str) -> String {
    std::io::read_to_string(connect(address)).unwrap()
}

/// Publishes `port` of both wildcards with a target in `inside`.
pub(super) fn publish(
    client: &mut RelayClient,
    opener: &Opener,
    inside: &Netns,
    port: u16,
    target: SocketAddr,
    source: Source,
    both: bool,
) {
    let (mut route, held) = route(Transport::Tcp, &[V4, V6], (port, port), target);
    (route.inside, route.source) = (true, source);
    let other = route.target_v4.is_none().then_some(Ipv4Addr::LOCALHOST);
    route.target_v4 = route.target_v4.or(other.filter(|_| both));
    let other = (both && route.target_v6.is_none()).then_some(Ipv6Addr::LOCALHOST);
    route.target_v6 = route.target_v6.or(other);
    let mut sockets: Vec<BorrowedFd<'_>> = held.sockets.iter().map(|b| b.socket.as_fd()).collect();
    sockets.extend([opener.as_fd(), inside.as_fd()]);
    client.add(vec![route.clone()], &sockets).unwrap();
    client.open(&[route.id]).unwrap();
}

#[test]
fn a_program_that_listens_on_loopback_alone_is_reached_and_sees_its_clients() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let inside = Netns::create().unwrap();
        let v4 = who_is_there(&inside, "127.0.0.1:0");
        let v6 = who_is_there(&inside, "[::1]:0");
        let changed = lay_way_back_inside(&inside, &[]).unwrap();
        let opener = Opener::start(example(), ["relay-opener"]).unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        publish(&mut client, &opener, &inside, 8084, v4, Source::Client, false);
        publish(&mut client, &opener, &inside, 8086, v6, Source::Client, false);
        publish(&mut client, &opener, &inside, 8080, v4, Source::Gateway, false);
        // The helper lives as long as the relay needs it.
        drop(opener);
        let see = || {
            assert_eq!(ask("192.0.2.1:8084"), "192.0.2.1");
            assert_eq!(ask("[2001:db8::1]:8086"), "2001:db8::1");
            // What cannot be kept is the gateway's: here the loopback address.
            assert_eq!(ask("127.0.0.1:8084"), "127.0.0.1");
            assert_eq!(ask("[2001:db8::1]:8084"), "127.0.0.1");
            assert_eq!(ask("192.0.2.1:8080"), "127.0.0.1");
        };
        see();
        // A successor can do it, too.
        let next = upgrade(dir.path(), Some(&dir.path().join("wharf")), 5).unwrap();
        see();
        next.shutdown().unwrap();
        take_up_way_back_inside(&inside, &changed).unwrap();
    });
}

#[test]
fn without_a_way_back_the_gateway_is_seen_after_a_moment() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let inside = Netns::create().unwrap();
        let target = who_is_there(&inside, "127.0.0.1:0");
        let opener = Opener::start(example(), ["relay-opener"]).unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        publish(&mut client, &opener, &inside, 8084, target, Source::Client, false);
        for _ in 0..3 {
            assert_eq!(ask("192.0.2.1:8084"), "127.0.0.1");
        }
        let stats = client.list().unwrap().remove(0).stats;
        assert_eq!((stats.source_fallbacks, stats.target_timeouts), (1, 0));
        // Who was promised the client's address sees it, or nobody.
        publish(&mut client, &opener, &inside, 8085, target, Source::ClientOnly, false);
        let mut told = String::new();
        connect("192.0.2.1:8085").read_to_string(&mut told).unwrap_err();
        assert_eq!(told, "");
        client.shutdown().unwrap();
    });
}

#[test]
fn a_program_that_listens_on_one_family_serves_clients_of_both() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let inside = Netns::create().unwrap();
        let (v4, v6) = (who_is_there(&inside, "127.0.0.1:0"), who_is_there(&inside, "[::1]:0"));
        let changed = lay_way_back_inside(&inside, &[]).unwrap();
        let opener = Opener::start(example(), ["relay-opener"]).unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        publish(&mut client, &opener, &inside, 8084, v4, Source::Client, true);
        publish(&mut client, &opener, &inside, 8086, v6, Source::Client, true);
        for _ in 0..3 {
            assert_eq!(ask("192.0.2.1:8084"), "192.0.2.1");
            assert_eq!(ask("[2001:db8::1]:8084"), "127.0.0.1");
            assert_eq!(ask("[2001:db8::1]:8086"), "2001:db8::1");
            assert_eq!(ask("192.0.2.1:8086"), "::1");
        }
        for listed in client.list().unwrap() {
            let stats = listed.stats;
            assert_eq!((stats.source_fallbacks, stats.target_refused), (0, 0));
        }
        client.shutdown().unwrap();
        take_up_way_back_inside(&inside, &changed).unwrap();
    });
}
