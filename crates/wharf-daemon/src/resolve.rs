//! From port specs to what is wanted of the host: addresses, families, an order.
//!
//! Docker's order is kept, because it decides who gets a port that two specs could take: exact
//! ports before ranges to choose from before ephemeral ones, then by container port and protocol.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wharf_network::GatewayMode;
use wharf_spec::{
    Expose, HostPorts, HostSide, PortRange, PortSpec, Proto, Publication, PublicationId,
    PublishOptions, Target,
};

use crate::error::{Error, Result};

/// One publication to be, whose host ports may still have to be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The protocol.
    pub proto: Proto,
    /// The host addresses; empty when the container's own address is routed.
    pub addresses: Vec<IpAddr>,
    /// The host ports asked for.
    pub host_ports: HostPorts,
    /// The container's ports.
    pub container_ports: PortRange,
    /// How it is to be served.
    pub options: PublishOptions,
    /// What was written; nothing when exposed ports were all to be published.
    pub specs: Vec<String>,
    /// Whether it was asked for while its container ran, and is to come back with it.
    pub lasting: bool,
}

/// What there is to know of a container and its network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// The name of the network.
    pub network: &'a str,
    /// Its gateway mode for IPv4, if it has IPv4.
    pub mode_v4: Option<GatewayMode>,
    /// Its gateway mode for IPv6, if it has IPv6.
    pub mode_v6: Option<GatewayMode>,
    /// The host has IPv6.
    pub host_ipv6: bool,
}

/// Resolves a container's own `specs`, those that were added to them while it ran, and, for `publish_all`, the exposed ports no spec covers.
///
/// # Errors
/// The first spec that cannot be parsed or cannot be had on this network.
pub(crate) fn resolve(
    specs: &[String],
    lasting: &[String],
    publish_all: &[Expose],
    circumstances: Circumstances<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    let own = specs.iter().map(|text| (text, false));
    for (text, lasting) in own.chain(lasting.iter().map(|text| (text, true))) {
        let spec: PortSpec =
            text.parse().map_err(|e: wharf_spec::SpecError| Error::Invalid(e.to_string()))?;
        let mut one = circumstances.place(&spec, warnings)?;
        one.specs.push(text.clone());
        one.lasting = lasting;
        wanted.push(one);
    }
    let explicit = wanted.clone();
    for exposed in publish_all {
        let covered = |port| {
            explicit.iter().any(|w| w.proto == exposed.proto && w.container_ports.contains(port))
        };
        for container_ports in uncovered(exposed.ports, covered) {
            let spec = PortSpec {
                host_ip: None,
                host_ports: HostPorts::Ephemeral,
                container_ports,
                proto: exposed.proto,
                options: PublishOptions::default(),
            };
            wanted.push(circumstances.place(&spec, warnings)?);
        }
    }
    Ok(in_order(wanted))
}

/// The stretches of `ports` that `covered` says no to.
fn uncovered(ports: PortRange, covered: impl Fn(u16) -> bool) -> Vec<PortRange> {
    let mut found: Vec<PortRange> = Vec::new();
    for port in ports.iter().filter(|port| !covered(*port)) {
        let joined = found
            .last()
            .filter(|r| port > 0 && r.last() == port - 1)
            .and_then(|r| PortRange::new(r.first(), port));
        match joined {
            Some(longer) => {
                found.pop();
                found.push(longer);
            }
            None => found.push(PortRange::single(port)),
        }
    }
    found
}

/// Sorts, and joins specs that differ only in their host address and leave the port to us: they
/// get one number (moby#47871).
fn in_order(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let rank = |ports: HostPorts| match ports {
        HostPorts::Exact(_) => 0,
        HostPorts::AnyOf(_) => 1,
        HostPorts::Ephemeral => 2,
    };
    let mut joined: BTreeMap<(u8, PortRange, Proto, usize), Wanted> = BTreeMap::new();
    for (place, one) in wanted.into_iter().enumerate() {
        let chosen_by_us = !matches!(one.host_ports, HostPorts::Exact(_));
        // Thousands of exact ones are not compared with each other.
        let candidates = if chosen_by_us { Some(joined.values_mut()) } else { None };
        let partner = candidates.into_iter().flatten().find(|other| {
            other.host_ports == one.host_ports
                && other.container_ports == one.container_ports
                && other.proto == one.proto
                && other.options == one.options
                && other.lasting == one.lasting
                && !overlap(&other.addresses, &one.addresses)
        });
        match partner {
            Some(other) => {
                other.addresses.extend(one.addresses);
                other.specs.extend(one.specs);
                other.addresses.sort_unstable();
                other.addresses.dedup();
            }
            None => {
                let key = (rank(one.host_ports), one.container_ports, one.proto, place);
                joined.insert(key, one);
            }
        }
    }
    joined.into_values().collect()
}

/// Whether one number could not be held on both: a wildcard address takes all of its family.
fn overlap(some: &[IpAddr], others: &[IpAddr]) -> bool {
    let clash = |a: &IpAddr, b: &IpAddr| {
        let wildcard = a.is_unspecified() || b.is_unspecified();
        a == b || (wildcard && a.is_ipv4() == b.is_ipv4())
    };
    some.iter().any(|a| others.iter().any(|b| clash(a, b)))
}

// === impl Wanted ===

impl Wanted {
    /// The publication this would become, for asking whether it can be served; host ports still to
    /// be chosen are stood in for by the container's.
    pub(crate) fn sketch(&self, target: Target) -> Publication {
        let ports = match self.host_ports {
            HostPorts::Exact(ports) => ports,
            HostPorts::AnyOf(_) | HostPorts::Ephemeral => self.container_ports,
        };
        Publication {
            id: PublicationId(String::new()),
            proto: self.proto,
            host: HostSide { addresses: self.addresses.clone(), ports },
            target,
            target_ports: self.container_ports,
            options: self.options.clone(),
        }
    }
}

// === impl Circumstances ===

impl Circumstances<'_> {
    fn place(self, spec: &PortSpec, warnings: &mut Vec<String>) -> Result<Wanted> {
        let isolated = [self.mode_v4, self.mode_v6].contains(&Some(GatewayMode::Isolated));
        if isolated {
            return Err(Error::Invalid(format!(
                "cannot publish {spec}: network {:?} is isolated, the host has no address on it; \
                 use a network of another gateway mode",
                self.network
            )));
        }
        if let Some(address) = spec.host_ip.filter(|address| !can_be_ours(*address)) {
            return Err(Error::Invalid(format!(
                "cannot publish {spec}: {address} is a multicast or broadcast address, which no \
                 host can listen on for itself: use one of this host's addresses"
            )));
        }
        let asked = self.asked(spec);
        let routed = |address: &IpAddr| self.mode(*address) == Some(GatewayMode::Routed);
        let (ignored, addresses): (Vec<IpAddr>, Vec<IpAddr>) = asked.into_iter().partition(routed);
        let said_something = spec.host_ip.is_some() || spec.host_ports != HostPorts::Ephemeral;
        if !ignored.is_empty() && said_something {
            warnings.push(format!(
                "host address and port of {spec} are not used for {}: network {:?} routes the \
                 container's own address, where port {} is open",
                families(&ignored),
                self.network,
                spec.container_ports
            ));
        }
        Ok(Wanted {
            proto: spec.proto,
            addresses,
            host_ports: spec.host_ports,
            container_ports: spec.container_ports,
            options: spec.options.clone(),
            specs: Vec::new(),
            lasting: false,
        })
    }

    fn asked(self, spec: &PortSpec) -> Vec<IpAddr> {
        match spec.host_ip {
            Some(address) => vec![address],
            None if self.host_ipv6 => {
                vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
            }
            None => vec![Ipv4Addr::UNSPECIFIED.into()],
        }
    }

    fn mode(self, address: IpAddr) -> Option<GatewayMode> {
        if address.is_ipv4() { self.mode_v4 } else { self.mode_v6 }
    }
}

fn can_be_ours(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !broadcast && !address.is_multicast()
}

fn families(addresses: &[IpAddr]) -> &'static str {
    match (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6)) {
        (true, true) => "IPv4 and IPv6",
        (true, false) => "IPv4",
        _ => "IPv6",
    }
}

#[cfg(test)]
mod tests;
