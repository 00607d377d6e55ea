//! Targets in a network namespace that has loopback only.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use tempfile::TempDir;
use wharf_host::netns::Netns;
use wharf_host::opener::Opener;
use wharf_host::process::{Pid, Signal};
use wharf_host::reserve::Transport;
use wharf_host::transparent::lay_way_back_inside;
use wharf_relay::{Limits, Source};

use super::super::bench::*;
use super::super::process::program;

/// A namespace with a server at port 80 of loopback that tells whom it sees.
fn tellers() -> Netns {
    let netns = Netns::create().unwrap();
    for at in ["127.0.0.1:80", "[::1]:80"] {
        let socket = netns.run(|| UdpSocket::bind(at).unwrap()).unwrap();
        std::thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                drop(socket.send_to(from.to_string().as_bytes(), from));
            }
        });
    }
    netns
}

fn publish(bench: &mut Bench, target: &str, source: Source, opener: &Opener, netns: &Netns) {
    let (mut route, held) = route(Transport::Udp, &[V4, V6], (8080, 8080), target.parse().unwrap());
    (route.inside, route.source) = (true, source);
    let sockets = held.sockets.iter().map(|bound| bound.socket.as_fd());
    let sockets: Vec<_> = sockets.chain([opener.as_fd(), netns.as_fd()]).collect();
    bench.client.add(vec![route.clone()], &sockets).unwrap();
    bench.client.open(&[route.id]).unwrap();
}

fn seen(client: &UdpSocket, asked: &str) -> String {
    client.send_to(b"who am I?", asked).unwrap();
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer).unwrap();
    let seen: SocketAddr = String::from_utf8_lossy(&buffer[..length]).parse().unwrap();
    seen.ip().to_string()
}

#[test]
fn they_see_the_client_or_their_own_loopback() {
    with_relay(Limits::default(), |bench| {
        let dir = TempDir::new().unwrap();
        let (netns, opener) = (tellers(), Opener::start(program(&dir), ["relay-opener"]).unwrap());
        let client = udp_client("192.0.2.1:0");
        publish(bench, "127.0.0.1:80", Source::Gateway, &opener, &netns);
        assert_eq!(seen(&client, "192.0.2.1:8080"), "127.0.0.1");
        lay_way_back_inside(&netns, &[(80, 80)]).unwrap();
        for (target, own) in [("127.0.0.1:80", "192.0.2.1"), ("[::1]:80", "2001:db8::1")] {
            let id = bench.listed().route.id;
            bench.client.remove(&[id], None).unwrap();
            publish(bench, target, Source::Client, &opener, &netns);
            let at = |port| SocketAddr::new(own.parse().unwrap(), port).to_string();
            assert_eq!(seen(&udp_client(&at(0)), &at(8080)), own);
        }
        let loopback = udp_client("[::1]:0");
        assert_eq!(seen(&loopback, "[::1]:8080"), "::1");
        assert_eq!(bench.listed().stats.source_fallbacks, 0);
    });
}

#[test]
fn a_lost_helper_costs_new_conversations_only() {
    with_relay(Limits::default(), |bench| {
        let dir = TempDir::new().unwrap();
        let (netns, opener) = (tellers(), Opener::start(program(&dir), ["relay-opener"]).unwrap());
        publish(bench, "127.0.0.1:80", Source::Gateway, &opener, &netns);
        let (known, unknown) = (udp_client("127.0.0.1:0"), udp_client("127.0.0.1:0"));
        assert_eq!(seen(&known, "127.0.0.1:8080"), "127.0.0.1");
        let helper = Pid::of(opener.pid().unwrap()).unwrap();
        helper.signal(Signal::KILL).unwrap();
        assert!(helper.wait_exit(PATIENCE).unwrap());
        for _ in 0..3 {
            unknown.send_to(b"anyone?", "127.0.0.1:8080").unwrap();
        }
        bench.until(|stats| (stats.target_unreachable, stats.dropped_unreachable) == (3, 3));
        assert_eq!(seen(&known, "127.0.0.1:8080"), "127.0.0.1");
    });
}
