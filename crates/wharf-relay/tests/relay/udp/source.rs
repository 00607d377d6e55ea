//! The address that targets see: the client's or the gateway's, never any other.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use wharf_host::link::{Links, Veth};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::netns::Netns;
use wharf_host::nftables::{BaseHook, Batch, Chain, ChainKind, HookPoint, Ownership, Policy, Rule};
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
        target.run(|| TARGET.map(serve)).unwrap();
        Some(Self { client, host, _target: target })
    }

    fn client(&self, own: &str) -> UdpSocket {
        self.client
            .run(|| udp_client(&SocketAddr::new(own.parse().unwrap(), 0).to_string()))
            .unwrap()
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
    // A wait with a limit is cut short by a stop of the process, too, and is not taken up again by
    // the kernel (signal(7)).
    let (length, from) = loop {
        match client.recv_from(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => break received.unwrap(),
        }
    };
    assert_eq!(from, asked);
    String::from_utf8_lossy(&buffer[..length]).parse().unwrap()
}

fn sees(client: &UdpSocket, asked: &str, wanted: &str) {
    let wanted: IpAddr = wanted.parse().unwrap();
    assert_eq!(seen(client, asked, 8080).ip(), wanted, "asked {asked}");
}

/// Runs `test` beside a relay on the stage's host.
fn on_stage(limits: Limits, test: impl FnOnce(&Stage, &mut Bench) + Send) {
    let Some(stage) = Stage::new() else { return };
    stage.host.run(|| with_relay_here(limits, |bench| test(&stage, bench))).unwrap();
}

#[test]
fn the_clients_wherever_it_can_be_kept() {
    on_stage(Limits::default(), |stage, bench| {
        for target in TARGET {
            publish(bench, target, 8080, &[]);
            let kept = usize::from(target.contains(':'));
            sees(&stage.client(CLIENT[kept]), HOST[kept], CLIENT[kept]);
            // Of the other family.
            sees(&stage.client(CLIENT[1 - kept]), HOST[1 - kept], GATEWAY[kept]);
            // The host itself, by its address and by loopback.
            sees(&udp_client(&format!("{}:0", bracketed(HOST[kept]))), HOST[kept], HOST[kept]);
            let loopback = ["127.0.0.1", "::1"][kept];
            sees(&udp_client(&format!("{}:0", bracketed(loopback))), loopback, GATEWAY[kept]);
            assert_eq!(bench.listed().stats.source_fallbacks, 0);
            let id = bench.listed().route.id;
            bench.client.remove(&[id], None).unwrap();
        }
    });
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[test]
fn the_gateways_where_that_is_asked_for_and_for_neighbours() {
    on_stage(Limits::default(), |stage, bench| {
        publish(bench, TARGET[0], 8080, &["192.0.2.0/24"]);
        sees(&stage.client(CLIENT[0]), HOST[0], GATEWAY[0]);
        let target = SocketAddr::new(TARGET[0].parse().unwrap(), PORT);
        // Source::Gateway.
        bench.publish(route(Transport::Udp, &[V4], (8081, 8081), target));
        let client = stage.client(CLIENT[0]);
        assert_eq!(seen(&client, HOST[0], 8081).ip().to_string(), GATEWAY[0]);
    });
}

#[test]
fn one_client_port_may_ask_one_target_in_several_ways() {
    on_stage(Limits::default(), |stage, bench| {
        for port in [8080, 8081] {
            publish(bench, TARGET[0], port, &[]);
        }
        let client = stage.client(CLIENT[0]);
        let before = [8080, 8081].map(|port| seen(&client, HOST[0], port));
        assert_ne!(before[0], before[1]);
        for _ in 0..3 {
            // Each answer comes from the port that was asked.
            assert_eq!([8080, 8081].map(|port| seen(&client, HOST[0], port)), before);
        }
        assert!(before.iter().all(|seen| seen.ip().to_string() == CLIENT[0]));
    });
}

#[test]
fn a_clients_port_stays_free_for_the_host() {
    on_stage(Limits::default(), |stage, bench| {
        publish(bench, TARGET[0], 8080, &[]);
        let client = stage.client(CLIENT[0]);
        sees(&client, HOST[0], CLIENT[0]);
        let port = client.local_addr().unwrap().port();
        drop(reserve(Transport::Udp, &[V4, V6], (port, port)).unwrap());
    });
}

#[test]
fn a_relay_without_the_right_uses_the_gateways() {
    let Some(stage) = Stage::new() else { return };
    let unprivileged = || {
        let mut sets = capabilities(None).unwrap();
        for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
            set.remove(CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN);
        }
        set_capabilities(None, sets).unwrap();
        with_relay_here(Limits::default(), |bench| {
            publish(bench, TARGET[0], 8080, &[]);
            sees(&udp_client("192.0.2.1:0"), HOST[0], GATEWAY[0]);
        });
    };
    stage.host.run(unprivileged).unwrap();
}

#[test]
fn the_gateways_when_tcp_shows_that_no_answer_comes_back() {
    let limits = Limits { transparent: Duration::from_millis(200), ..Limits::default() };
    on_stage(limits, |stage, bench| {
        publish(bench, TARGET[0], 8080, &[]);
        let heard = stage.client(CLIENT[0]);
        sees(&heard, HOST[0], CLIENT[0]);
        take_up_way_back().unwrap();
        let unheard = stage.client(CLIENT[0]);
        let asked = SocketAddr::new(HOST[0].parse().unwrap(), 8080);
        unheard.send_to(b"who am I?", asked).unwrap();
        // Silence alone says nothing: a target need not answer.
        unheard.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        unheard.recv(&mut [0; 64]).unwrap_err();
        unheard.set_read_timeout(Some(PATIENCE)).unwrap();

        let target = SocketAddr::new(TARGET[0].parse().unwrap(), PORT);
        let (mut tcp, held) = route(Transport::Tcp, &[V4], (8080, 8080), target);
        tcp.source = Source::Client;
        bench.publish((tcp, held));
        let netns = &stage.client;
        let refused = || {
            std::net::TcpStream::connect((HOST[0], 8080))
                .and_then(|mut stream| std::io::Read::read(&mut stream, &mut [0]))
                .unwrap_err()
        };
        netns.run(refused).unwrap();
        sees(&unheard, HOST[0], GATEWAY[0]);
        sees(&stage.client(CLIENT[0]), HOST[0], GATEWAY[0]);
        lay_way_back().unwrap();
        // A conversation keeps the address it has.
        sees(&heard, HOST[0], CLIENT[0]);
        sees(&unheard, HOST[0], GATEWAY[0]);
    });
}

#[test]
fn a_successor_keeps_the_address_and_the_port() {
    on_stage(Limits::default(), |stage, bench| {
        for (target, port) in TARGET.into_iter().zip([8080, 8081]) {
            publish(bench, target, port, &[]);
        }
        let clients = CLIENT.map(|own| stage.client(own));
        let all =
            || [0, 1].map(|family| seen(&clients[family], HOST[family], [8080, 8081][family]));
        let before = all();
        for _ in 0..2 {
            bench.replace();
            assert_eq!(all(), before);
        }
        assert_eq!(bench.client.stats().unwrap().flows_open, 2);
        let fresh = stage.client(CLIENT[0]);
        sees(&fresh, HOST[0], CLIENT[0]);
    });
}
