//! The address that targets see: the client's or the gateway's, never any other.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use wharf_host::link::{Links, Veth};
use wharf_host::netns::Netns;
use wharf_host::nftables::{
    BaseHook, Batch, Chain, ChainKind, HookPoint, Ownership, Policy, Rule,
};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::reserve::{Transport, reserve};
use wharf_host::route::{Route, Routes};
use wharf_host::sysctl;
use wharf_host::transparent::{MARK, is_possible, lay_way_back, take_up_way_back};
use wharf_relay::{Limits, Source};

use super::super::bench::*;

const CLIENT: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
const HOST: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const GATEWAY: [&str; 2] = ["10.9.0.1", "fd00:9::1"];
const TARGET: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const PORT: u16 = 80;

const WAY_BACK: Chain = Chain {
    name: "way_back",
    base: Some(BaseHook {
        kind: ChainKind::Filter,
        hook: HookPoint::Prerouting,
        priority: -150,
        policy: Policy::Accept,
    }),
};

/// A client, the relay's host, and a target that answers everyone with the address it sees.
struct Stage {
    client: Netns,
    host: Netns,
    _target: Netns,
}

// === impl Stage ===

impl Stage {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root for a network namespace");
            return None;
        }
        let [client, host, target] = [(); 3].map(|()| Netns::create().unwrap());
        for netns in [&client, &host, &target] {
            // Addresses are usable at once.
            let at_once = || sysctl::set("net/ipv6/conf/default/accept_dad", "0").unwrap();
            netns.run(at_once).unwrap();
        }
        join((&client, "lan", CLIENT), (&host, "lan", HOST));
        join((&host, "br", GATEWAY), (&target, "eth0", TARGET));
        for (netns, link, gateways) in [(&client, "lan", HOST), (&target, "eth0", GATEWAY)] {
            let link = Links::open_in(netns).unwrap().index(link).unwrap();
            let mut routes = Routes::open_in(netns).unwrap();
            for gateway in gateways {
                routes.add(&Route::default_via(gateway.parse().unwrap(), link)).unwrap();
            }
        }
        if !host.run(is_possible).unwrap() {
            println!("skipped: this kernel cannot lay a way back");
            return None;
        }
        host.run(lay).unwrap();
        target.run(|| TARGET.map(|own| serve(own))).unwrap();
        Some(Self { client, host, _target: target })
    }

    fn client(&self, own: &str) -> UdpSocket {
        self.client.run(|| udp_client(&SocketAddr::new(own.parse().unwrap(), 0).to_string())).unwrap()
    }
}

fn join(one: (&Netns, &str, [&str; 2]), other: (&Netns, &str, [&str; 2])) {
    let mut links = Links::open_in(one.0).unwrap();
    let veth = Veth {
        name: one.1,
        peer_name: other.1,
        peer_netns: other.0,
        peer_mac: None,
        mtu: None,
        master: None,
    };
    links.add_veth(veth).unwrap();
    for (netns, name, addresses) in [one, other] {
        let mut links = Links::open_in(netns).unwrap();
        let link = links.index(name).unwrap();
        links.set_up(name).unwrap();
        for address in addresses {
            let length = if address.contains(':') { 64 } else { 24 };
            links.add_address(link, format!("{address}/{length}").parse().unwrap()).unwrap();
        }
    }
    assert!(links.settle(one.1).unwrap());
}

/// The way back, with a rule that looks at everything.
fn lay() {
    lay_way_back().unwrap();
    let mut batch = Batch::new("test");
    batch.add_table(Ownership::Shared);
    batch.add_chain(&WAY_BACK);
    batch.add_rule(&WAY_BACK, &Rule::new().reply().to_transparent_socket().set_mark(MARK));
    batch.commit(&mut Netlink::open(Family::Netfilter).unwrap()).unwrap();
}

/// Answers each datagram with the address and port it came from.
fn serve(own: &str) {
    let socket = UdpSocket::bind(SocketAddr::new(own.parse().unwrap(), PORT)).unwrap();
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            drop(socket.send_to(from.to_string().as_bytes(), from));
        }
    });
}

/// Publishes port 8080 to the target of a family.
fn publish(bench: &mut Bench, target: &str, port: u16, neighbours: &[&str]) {
    let target = SocketAddr::new(target.parse().unwrap(), PORT);
    let (mut route, held) = route(Transport::Udp, &[V4, V6], (port, port), target);
    route.source = Source::Client;
    route.neighbours = neighbours.iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
    bench.publish((route, held));
}

/// The address and port the target sees.
fn seen(client: &UdpSocket, asked: &str, port: u16) -> SocketAddr {
    let asked = SocketAddr::new(asked.parse().unwrap(), port);
    client.send_to(b"who am I?", asked).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(from, asked);
    String::from_utf8_lossy(&buffer[..length]).parse().unwrap()
}

fn sees(client: &UdpSocket, asked: &str, wanted: &str) {
    let wanted: IpAddr = wanted.parse().unwrap();
    assert_eq!(seen(client, asked, 8080).ip(), wanted, "asked {asked}");
}
