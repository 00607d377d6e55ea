//! The path matrix: client × family × host address × ports × protocol × plane.

use std::net::IpAddr;

use wharf_lab::{Host, Teller};

use super::offer::{Offer, On, Shape, Via};
use super::scene::{HOST, REMOTE, Scene, ask, at};

/// Past this many wrong cells the rest says nothing new, and each costs seconds.
const ENOUGH: usize = 6;

/// Bytes for a cell that carries data: more than any buffer on the way.
const DATA: usize = 300_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Remote,
    HostLoopback,
    HostAddress,
    OtherNetwork,
    Neighbour,
    Itself,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// What the gateway is called in `inspect`.
    fn gateway(self) -> &'static str {
        if self == Self::V4 { "Gateway" } else { "IPv6Gateway" }
    }
}

/// A container behind every offer, and the clients around it.
struct Matrix {
    scene: Scene,
    _teller: Teller,
    gateway: IpAddr,
}

impl Matrix {
    /// `network`: options that put the target on a network; its gateway's field in `inspect`.
    fn new(name: &str, network: &[&str], gateway: &str) -> Option<Self> {
        Some(Self::on(Scene::new(name)?, network, gateway))
    }

    fn on(scene: Scene, network: &[&str], gateway: &str) -> Self {
        if let [_, network] = network {
            scene.wharf.ok(["network", "create", network]);
        }
        let specs: Vec<String> = Offer::all().into_iter().flat_map(Offer::specs).collect();
        let mut options: Vec<&str> = specs.iter().flat_map(|spec| ["-p", spec]).collect();
        options.extend(network);
        scene.whoami("target", options);
        let inside = scene.wharf.container("target").unwrap();
        let teller = inside.tell(&Offer::served_by_a_teller()).unwrap();
        let gateway = scene.address("target", gateway);
        Self { scene, _teller: teller, gateway }
    }

    fn for_family(name: &str, family: Family) -> Option<Self> {
        Self::new(name, &[], family.gateway())
    }

    fn client(&self, client: Client) -> Host {
        let wharf_lab::Scene { wharf, host, remote, .. } = &*self.scene;
        match client {
            Client::Remote => remote.clone(),
            Client::HostLoopback | Client::HostAddress => host.clone(),
            Client::Itself => wharf.container("target").unwrap(),
            Client::Neighbour => {
                self.scene.whoami("client", []);
                wharf.container("client").unwrap()
            }
            Client::OtherNetwork => {
                wharf.ok(["network", "create", "--ipv6", "elsewhere"]);
                self.scene.whoami("client", ["--network", "elsewhere"]);
                wharf.container("client").unwrap()
            }
        }
    }

    /// Every source address that would be right.
    fn sources(&self, client: Client, family: Family, via: Via) -> Vec<IpAddr> {
        let other_family = self.gateway.is_ipv4() != (family == Family::V4);
        match client {
            _ if via == Via::Gateway || other_family => vec![self.gateway],
            Client::HostLoopback | Client::Neighbour | Client::Itself => vec![self.gateway],
            Client::Remote | Client::HostAddress | Client::OtherNetwork => {
                self.own_addresses(client, family)
            }
        }
    }

    /// The addresses of a client itself.
    fn own_addresses(&self, client: Client, family: Family) -> Vec<IpAddr> {
        let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let v4 = family == Family::V4;
        let field = if v4 { "IPAddress" } else { "GlobalIPv6Address" };
        match client {
            Client::HostLoopback => parsed(if v4 { &["127.0.0.1"] } else { &["::1"] }),
            Client::Remote => parsed(if v4 { &REMOTE[..1] } else { &REMOTE[1..] }),
            // Any of its own: the kernel prefers the first of a subnet.
            Client::HostAddress => parsed(if v4 { &HOST[..2] } else { &HOST[2..] }),
            Client::Itself => vec![self.scene.address("target", field)],
            Client::Neighbour | Client::OtherNetwork => vec![self.scene.address("client", field)],
        }
    }

    /// Asks every offer from one client; lists what was not as promised.
    fn run(&self, client: Client, family: Family) -> Vec<String> {
        let from = self.client(client);
        let mut wrong = Vec::new();
        let own = self.own_addresses(client, family);
        for offer in Offer::all() {
            let sources = self.sources(client, family, offer.via);
            for address in asked(client, offer.on, family) {
                for (host_port, port) in offer.ports() {
                    for proto in ["tcp", "udp"] {
                        let at = at(address, host_port);
                        let fault = match ask(&from, proto, at) {
                            Err(error) => Some(format!("{error:#}")),
                            // Whatever else goes wrong, this must not.
                            Ok(told)
                                if told.source != self.gateway && !own.contains(&told.source) =>
                            {
                                Some(format!("NEITHER CLIENT NOR GATEWAY: {told:?}"))
                            }
                            Ok(told) => {
                                let right = sources.contains(&told.source)
                                    && told.hostname == "target"
                                    && told.port.is_none_or(|told| told == port);
                                (!right).then(|| format!("{told:?}, not from {sources:?}"))
                            }
                        };
                        wrong.extend(fault.map(|fault| {
                            format!("{client:?} {family:?} {proto} {offer:?} {at}: {fault}")
                        }));
                    }
                }
                if offer.shape == Shape::Single {
                    wrong.extend(self.carry(&from, address, offer));
                }
                if wrong.len() >= ENOUGH {
                    return wrong;
                }
            }
        }
        wrong
    }

    /// Fetches data, which has to come whole.
    fn carry(&self, from: &Host, address: &str, offer: Offer) -> Option<String> {
        let at = at(address, offer.ports().first()?.0).to_string();
        let path = format!("/data?size={DATA}");
        match from.http_get(&at, &path) {
            Ok(answer) if answer.body.len() == DATA => None,
            Ok(answer) => Some(format!("{offer:?} {at}: {} bytes of {DATA}", answer.body.len())),
            Err(error) => Some(format!("{offer:?} {at}: {error:#}")),
        }
    }
}

/// The addresses at which a client of this kind tries an offer; none where there is no such path.
fn asked(client: Client, on: On, family: Family) -> &'static [&'static str] {
    let v4 = family == Family::V4;
    match (client, on) {
        (Client::HostLoopback, On::Specific) => &[],
        (Client::HostLoopback, _) => {
            if v4 {
                &["127.0.0.1"]
            } else {
                &["::1"]
            }
        }
        (_, On::Loopback) => &[],
        (_, On::Wildcard) => {
            if v4 {
                &HOST[..2]
            } else {
                &HOST[2..]
            }
        }
        (_, On::Specific) => {
            if v4 {
                &HOST[1..2]
            } else {
                &HOST[3..]
            }
        }
    }
}

fn check(name: &str, client: Client, family: Family) {
    let Some(matrix) = Matrix::for_family(name, family) else { return };
    let wrong = matrix.run(client, family);
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), matrix.scene.wharf.ok(["ports"]));
}

/// The host's own ways, by the slower planes.
fn check_without_ebpf(name: &str, family: Family) {
    let Some(scene) = Scene::new(name) else { return };
    let matrix = Matrix::on(scene.without_ebpf(), &[], family.gateway());
    let clients = [Client::HostLoopback, Client::HostAddress];
    let wrong: Vec<String> =
        clients.into_iter().flat_map(|client| matrix.run(client, family)).collect();
    let ports = matrix.scene.wharf.ok(["ports"]);
    assert!(!ports.contains("ebpf+") && !ports.contains("+ebpf"), "{ports}");
    assert!(wrong.is_empty(), "{}\n{ports}", wrong.join("\n"));
}

#[test]
fn the_host_reaches_every_port_over_ipv4_without_ebpf() {
    check_without_ebpf("no ebpf v4", Family::V4);
}

#[test]
fn the_host_reaches_every_port_over_ipv6_without_ebpf() {
    check_without_ebpf("no ebpf v6", Family::V6);
}

#[test]
fn a_remote_host_is_seen_with_its_own_ipv4_address() {
    check("remote v4", Client::Remote, Family::V4);
}

#[test]
fn a_remote_host_is_seen_with_its_own_ipv6_address() {
    check("remote v6", Client::Remote, Family::V6);
}

#[test]
fn the_host_reaches_every_port_by_its_ipv4_loopback_address() {
    check("loopback v4", Client::HostLoopback, Family::V4);
}

#[test]
fn the_host_reaches_every_port_by_its_ipv6_loopback_address() {
    check("loopback v6", Client::HostLoopback, Family::V6);
}

#[test]
fn the_host_reaches_every_port_by_its_own_ipv4_addresses() {
    check("host v4", Client::HostAddress, Family::V4);
}

#[test]
fn the_host_reaches_every_port_by_its_own_ipv6_addresses() {
    check("host v6", Client::HostAddress, Family::V6);
}

#[test]
fn a_container_of_another_network_is_seen_with_its_own_ipv4_address() {
    check("other v4", Client::OtherNetwork, Family::V4);
}

#[test]
fn a_container_of_another_network_is_seen_with_its_own_ipv6_address() {
    check("other v6", Client::OtherNetwork, Family::V6);
}

#[test]
fn a_neighbour_on_the_bridge_reaches_every_port_over_ipv4() {
    check("neighbour v4", Client::Neighbour, Family::V4);
}

#[test]
fn a_neighbour_on_the_bridge_reaches_every_port_over_ipv6() {
    check("neighbour v6", Client::Neighbour, Family::V6);
}

#[test]
fn a_container_reaches_its_own_published_ports_over_ipv4() {
    check("itself v4", Client::Itself, Family::V4);
}

#[test]
fn a_container_reaches_its_own_published_ports_over_ipv6() {
    check("itself v6", Client::Itself, Family::V6);
}

#[test]
fn ipv6_clients_reach_a_container_that_has_ipv4_only() {
    let network = ["--network", "narrow"];
    let Some(matrix) = Matrix::new("v6 to v4", &network, "Gateway") else { return };
    let clients = [Client::Remote, Client::HostLoopback, Client::HostAddress, Client::OtherNetwork];
    let wrong: Vec<String> =
        clients.into_iter().flat_map(|client| matrix.run(client, Family::V6)).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), matrix.scene.wharf.ok(["ports"]));
}

#[test]
fn a_port_published_on_some_addresses_is_closed_on_the_others() {
    let Some(matrix) = Matrix::for_family("closed", Family::V4) else { return };
    let wharf_lab::Scene { host, remote, .. } = &*matrix.scene;
    let mut open = Vec::new();
    for offer in Offer::all().into_iter().filter(|offer| offer.on != On::Wildcard) {
        for (port, _) in offer.ports() {
            let elsewhere: Vec<(&Host, &str)> = match offer.on {
                On::Specific => vec![(remote, HOST[0]), (remote, HOST[2]), (host, "127.0.0.1")],
                _ => {
                    HOST.iter().flat_map(|address| [(remote, *address), (host, *address)]).collect()
                }
            };
            let reached = elsewhere
                .into_iter()
                .filter(|(from, it)| from.can_connect(&at(it, port).to_string()));
            open.extend(
                reached.map(|(from, address)| format!("{offer:?} {address} from {from:?}")),
            );
        }
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
}
