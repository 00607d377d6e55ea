//! What a port spec comes to on a host whose sockets are known: Docker's order, its choice of
//! ports, and who is in whose way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use wharf_spec::{HostPorts, PortRange, PortSpec, Proto, ProxyProtocol, SourceMode, Via};

use super::model::{Network, Publication};

/// An address that no host of the scene has.
pub(super) const NOBODYS: &str = "10.9.9.9";

/// A publication to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) spec: PortSpec,
    pub(super) specs: Vec<PortSpec>,
    /// Which of the specs that were resolved these are.
    pub(super) places: Vec<usize>,
}

// === impl Wanted ===

impl Wanted {
    /// Exact ports before a choice before any port; those that differ only in their address and
    /// leave the port open are one.
    pub(super) fn resolve(specs: &[PortSpec]) -> Vec<Self> {
        let rank = |ports| match ports {
            HostPorts::Exact(_) => 0,
            HostPorts::AnyOf(_) => 1,
            HostPorts::Ephemeral => 2,
        };
        let key =
            |one: &Self| (rank(one.spec.host_ports), one.spec.container_ports, one.spec.proto);
        let mut all: Vec<Self> = Vec::new();
        for (place, spec) in specs.iter().enumerate() {
            let (addresses, places) = (asked(spec), vec![place]);
            let one = Self { addresses, spec: spec.clone(), specs: vec![spec.clone()], places };
            match all.iter_mut().find(|other| other.takes_in(&one)) {
                Some(other) => {
                    other.addresses.extend(one.addresses);
                    other.specs.extend(one.specs);
                    other.places.extend(one.places);
                }
                None => {
                    all.push(one);
                    // Stable: what is equal stays in the order it was asked for.
                    all.sort_by_key(key);
                }
            }
        }
        all
    }

    fn takes_in(&self, other: &Self) -> bool {
        let same = |a: &PortSpec, b: &PortSpec| {
            (a.host_ports, a.container_ports, a.proto) == (b.host_ports, b.container_ports, b.proto)
                && a.options == b.options
        };
        !matches!(other.spec.host_ports, HostPorts::Exact(_))
            && same(&self.spec, &other.spec)
            && !contend(&self.addresses, &other.addresses)
    }

    /// Why no plane could serve this in `network`.
    pub(super) fn impossible(&self, network: &Network) -> Option<&'static str> {
        let sketch = self.publication("", PortRange::single(1));
        let options = &sketch.options;
        let families = [true, false];
        let kernel = families.iter().any(|v4| sketch.kernel_serves(network, *v4));
        let client = families.iter().any(|v4| {
            sketch.external(*v4).next().is_some()
                && (sketch.kernel_serves(network, *v4) || sketch.keeps_clients(network, *v4))
        });
        if options.via == Via::Nft && !kernel {
            return Some("the kernel cannot serve it");
        }
        if options.source == SourceMode::Client && !client {
            return Some("no path keeps the client's address");
        }
        let lets_in = |at: &IpAddr| options.allow.iter().any(|net| may_reach(*net, *at));
        if !options.allow.is_empty() && !sketch.addresses.iter().any(lets_in) {
            return Some("nobody could connect");
        }
        let v1 = options.proxy_protocol == Some(ProxyProtocol::V1) && sketch.proto == Proto::Udp;
        v1.then_some("the header of version 1 knows no udp")
    }

    /// What it becomes beside what there is.
    pub(super) fn reserve(
        &self,
        owner: &str,
        taken: &[Publication],
    ) -> Result<Publication, &'static str> {
        if self.addresses.contains(&NOBODYS.parse().unwrap()) {
            return Err("nobody has this address");
        }
        let at = |ports| self.publication(owner, ports);
        let is_free = |one: &Publication| !taken.iter().any(|other| one.clashes(other));
        match self.spec.host_ports {
            HostPorts::Exact(ports) => Some(at(ports)).filter(is_free).ok_or("it is taken"),
            // The program chooses, and there is always room.
            HostPorts::AnyOf(_) | HostPorts::Ephemeral => {
                Ok(Publication { ports: None, ..at(self.spec.container_ports) })
            }
        }
    }

    /// Whether a publication is at exactly these addresses and ports.
    pub(super) fn is_place_of(&self, publication: &Publication) -> bool {
        let HostPorts::Exact(ports) = self.spec.host_ports else { return false };
        publication.proto == self.spec.proto
            && publication.ports == Some(ports)
            && sorted(&publication.addresses) == sorted(&self.addresses)
    }

    fn publication(&self, owner: &str, ports: PortRange) -> Publication {
        Publication {
            id: None,
            owner: owner.to_owned(),
            proto: self.spec.proto,
            addresses: sorted(&self.addresses),
            ports: Some(ports),
            target_ports: self.spec.container_ports,
            options: self.spec.options.clone(),
            specs: self.specs.clone(),
            lasting: false,
            resting: false,
        }
    }
}

/// Whether somebody in `net` can ask for `address`; a loopback address only loopback ones can.
fn may_reach(net: IpNet, address: IpAddr) -> bool {
    let family = if address.is_ipv4() { "127.0.0.0/8" } else { "::1/128" };
    let loopback: IpNet = family.parse().unwrap();
    net.addr().is_ipv4() == address.is_ipv4()
        && (!address.is_loopback() || net.contains(&loopback) || loopback.contains(&net))
}

fn asked(spec: &PortSpec) -> Vec<IpAddr> {
    let everywhere = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    spec.host_ip.map_or(everywhere, |address| vec![address])
}

fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Whether one port cannot be had on both: a wildcard is in the way of its own family.
pub(super) fn contend(some: &[IpAddr], others: &[IpAddr]) -> bool {
    let wildcard = |a: &IpAddr, b: &IpAddr| a.is_unspecified() || b.is_unspecified();
    let pairs = some.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
    pairs.into_iter().any(|(a, b)| a.is_ipv4() == b.is_ipv4() && (a == b || wildcard(a, b)))
}
