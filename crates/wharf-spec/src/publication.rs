//! A publication: one promise that traffic to these host addresses and ports reaches that target.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::options::PublishOptions;
use crate::ports::PortRange;
use crate::proto::Proto;
use crate::render::Bracketed;
use crate::target::Target;

/// The stable identity of a publication, assigned when it is resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicationId(pub String);

/// A resolved promise: every address and port is a number. A range is one publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Its identity.
    pub id: PublicationId,
    /// The transport protocol.
    pub proto: Proto,
    /// Where clients reach it.
    pub host: HostSide,
    /// Where it goes.
    pub target: Target,
    /// The target's ports; as many as the host's.
    pub target_ports: PortRange,
    /// How it is to be served.
    pub options: PublishOptions,
}

/// The host's side of a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSide {
    /// Host addresses; the unspecified address of a family means all addresses of that family.
    pub addresses: Vec<IpAddr>,
    /// The same ports on every address.
    pub ports: PortRange,
}

/// What two publications both want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    /// The address as the first of the two writes it, perhaps a wildcard.
    pub address: IpAddr,
    /// The ports both want there.
    pub ports: PortRange,
}

// === impl PublicationId ===

impl fmt::Display for PublicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

// === impl Publication ===

impl Publication {
    /// The target port that `host_port` leads to.
    pub fn target_port(&self, host_port: u16) -> Option<u16> {
        self.host.ports.map(host_port, self.target_ports)
    }

    /// Whether host and target ports are the same numbers.
    pub fn keeps_numbers(&self) -> bool {
        self.host.ports == self.target_ports
    }
}

// === impl HostSide ===

impl HostSide {
    /// Whether both wildcard addresses are held, so that one dual-stack socket per port suffices.
    pub fn is_dual_wildcard(&self) -> bool {
        self.addresses.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            && self.addresses.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }

    /// What cannot be had by both, if both are of the same protocol.
    ///
    /// A wildcard contends with every address of its family and with none of the other, because
    /// IPv6 sockets are bound with `IPV6_V6ONLY`.
    pub fn clashes(&self, other: &Self) -> Option<Clash> {
        let ports = self.ports.intersection(other.ports)?;
        let wanted_there = |ours: &&IpAddr| other.addresses.iter().any(|its| contend(**ours, *its));
        self.addresses.iter().find(wanted_there).map(|address| Clash { address: *address, ports })
    }
}

fn contend(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
        && (one == other || one.is_unspecified() || other.is_unspecified())
}

// === impl Clash ===

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(self.address), self.ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(addresses: &[&str], first: u16, last: u16) -> HostSide {
        HostSide {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ports: PortRange::new(first, last).unwrap(),
        }
    }

    fn clash(one: &HostSide, other: &HostSide) -> String {
        one.clashes(other).map(|clash| clash.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_wildcard_contends_with_its_own_family_only() {
        let all_v4 = side(&["0.0.0.0"], 8080, 8080);
        assert_eq!(clash(&all_v4, &side(&["127.0.0.1"], 8080, 8080)), "0.0.0.0:8080");
        assert_eq!(clash(&side(&["127.0.0.1"], 8080, 8080), &all_v4), "127.0.0.1:8080");
        assert_eq!(clash(&all_v4, &side(&["::"], 8080, 8080)), "");
        assert_eq!(clash(&side(&["::"], 8080, 8080), &side(&["::1"], 8080, 8080)), "[::]:8080");
    }

    #[test]
    fn different_addresses_do_not_contend() {
        let one = side(&["127.0.1.2", "::1"], 80, 80);
        assert_eq!(clash(&one, &side(&["127.0.1.3"], 80, 80)), "");
        assert_eq!(clash(&one, &side(&["127.0.1.3", "::1"], 80, 80)), "[::1]:80");
    }

    #[test]
    fn only_the_shared_ports_are_named() {
        let one = side(&["0.0.0.0"], 8000, 8010);
        assert_eq!(clash(&one, &side(&["0.0.0.0"], 8005, 8020)), "0.0.0.0:8005-8010");
        assert_eq!(clash(&one, &side(&["0.0.0.0"], 8011, 8020)), "");
    }
}
