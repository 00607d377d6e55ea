//! Endpoints: a container's place on a network.
//!
//! Everything the kernel is to be told is in the value, so that plugging in, repairing and
//! unplugging need neither the network nor the container at hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use wharf_host::link::Mac;

use crate::error::{Error, Result};
use crate::network::{Lease, Network, Subnet};

/// The number of a container's networks is one digit of base 36 in its interfaces' names.
const NETWORK_LIMIT: usize = 36;

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's identity.
    pub network: String,
    /// The network's bridge.
    pub bridge: String,
    /// The container's identity.
    pub container: String,
    /// The interface's name inside the container.
    pub interface: String,
    /// The name of the veth's end on the host.
    pub host_veth: String,
    /// The hardware address inside the container.
    pub mac: Mac,
    /// The MTU; none is the kernel's default.
    pub mtu: Option<u32>,
    /// The IPv4 address, with the length of the subnet's prefix.
    pub ipv4: Option<Ipv4Net>,
    /// The IPv6 address, with the length of the subnet's prefix.
    pub ipv6: Option<Ipv6Net>,
    /// Where IPv4 leaves the network; none on internal networks.
    pub gateway4: Option<Ipv4Addr>,
    /// Where IPv6 leaves the network; none on internal networks.
    pub gateway6: Option<Ipv6Addr>,
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn new(
        network: &Network,
        container: &str,
        index: usize,
        host_veth: String,
        leases: [Lease; 2],
    ) -> Self {
        let [ipv4, ipv6] = leases.map(|lease| lease.map(|(address, _)| address));
        let gateway = |side: &Option<Subnet>| {
            side.as_ref().filter(|_| !network.internal).map(Subnet::gateway)
        };
        Self {
            network: network.id.clone(),
            bridge: network.bridge.clone(),
            container: container.to_owned(),
            interface: format!("eth{index}"),
            host_veth,
            mac: mac_of(ipv4.or(ipv6)),
            mtu: network.mtu,
            ipv4: with_prefix(ipv4, network.ipv4.as_ref()).and_then(v4_net),
            ipv6: with_prefix(ipv6, network.ipv6.as_ref()).and_then(v6_net),
            gateway4: gateway(&network.ipv4).and_then(v4),
            gateway6: gateway(&network.ipv6).and_then(v6),
        }
    }

    /// Leaves the default routes to another of the container's networks.
    pub fn without_gateway(mut self) -> Self {
        self.gateway4 = None;
        self.gateway6 = None;
        self
    }

    /// Its addresses with the lengths of their prefixes, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> {
        let ipv4 = self.ipv4.map(IpNet::V4);
        ipv4.into_iter().chain(self.ipv6.map(IpNet::V6))
    }

    /// Its gateways, IPv4 first.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.gateway4.map(IpAddr::V4);
        ipv4.into_iter().chain(self.gateway6.map(IpAddr::V6))
    }
}

/// The name of the host's end: `wv`, the first twelve digits of the container's identity, and
/// which of its networks it is, so that people find it again.
pub(crate) fn host_veth(container: &str, index: usize) -> Result<String> {
    let digit = u32::try_from(index).ok().and_then(|index| char::from_digit(index, 36));
    let digit = digit.ok_or(Error::TooManyNetworks(NETWORK_LIMIT))?;
    let short = container.get(..12).filter(|s| s.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(match short {
        Some(short) => format!("wv{short}{digit}"),
        None => format!("wv{:012x}{digit}", fnv64(container.as_bytes()) >> 16),
    })
}

/// Made from the address, so that whoever gets the address later has the hardware address that
/// neighbours still remember for it.
pub(crate) fn mac_of(address: Option<IpAddr>) -> Mac {
    match address {
        Some(IpAddr::V4(v4)) => Mac::local(v4.octets()),
        Some(IpAddr::V6(v6)) => {
            let [a, b, c, d, ..] = fnv64(&v6.octets()).to_be_bytes();
            Mac::local([a, b, c, d])
        }
        None => Mac::local([0; 4]),
    }
}

/// FNV-1a: well spread, and the same in every version of this program.
fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn with_prefix(address: Option<IpAddr>, side: Option<&Subnet>) -> Option<IpNet> {
    IpNet::new(address?, side?.subnet().prefix_len()).ok()
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    }
}

fn v4_net(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(v4) => Some(v4),
        IpNet::V6(_) => None,
    }
}

fn v6_net(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V6(v6) => Some(v6),
        IpNet::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ_by_container_and_network() {
        let id = "4f5c0d6b2a1e99887766";
        assert_eq!(host_veth(id, 0).unwrap(), "wv4f5c0d6b2a1e0");
        assert_eq!(host_veth(id, 35).unwrap(), "wv4f5c0d6b2a1ez");
        assert!(matches!(host_veth(id, 36), Err(Error::TooManyNetworks(36))));
        for odd in ["web", "", "näme-with-umlaut", "zzzzzzzzzzzzzzzz"] {
            let name = host_veth(odd, 0).unwrap();
            assert_eq!(name.len(), 15, "{name}");
        }
        assert_ne!(host_veth("web", 0).unwrap(), host_veth("db", 0).unwrap());
    }

    #[test]
    fn hardware_addresses_are_unicast_local_and_follow_the_address() {
        for address in ["10.201.0.2", "fd00::2", "fd00::3"] {
            let mac = mac_of(Some(address.parse().unwrap()));
            assert_eq!(mac.0[0] & 0b11, 0b10);
        }
        assert_eq!(mac_of(Some("10.201.0.2".parse().unwrap())).to_string(), "02:42:0a:c9:00:02");
        let of = |text: &str| mac_of(Some(text.parse().unwrap()));
        assert_ne!(of("fd00::2"), of("fd00::3"));
    }
}
