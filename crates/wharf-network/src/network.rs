//! Networks as values: a name, a bridge, at most one subnet of each family, and the leases in it.
//!
//! A [`Network`] is made by [`NetworkRequest::resolve`], which refuses everything that cannot
//! work, and is then the caller's to store; leases change it, so it is stored again afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::endpoint::{self, Endpoint};
use crate::error::{Error, Result};
use crate::ipam::Leases;
use crate::mode::GatewayMode;

mod request;
#[cfg(test)]
mod tests;

pub use self::request::NetworkRequest;

/// The network of containers that name none.
pub const DEFAULT_NETWORK: &str = "wharf";
const DEFAULT_BRIDGE: &str = "wharf0";

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its identity, 64 hexadecimal digits.
    pub id: String,
    /// Its name, unique among networks.
    pub name: String,
    /// The name of its bridge interface.
    pub bridge: String,
    /// What carries it.
    pub driver: Driver,
    /// Its IPv4 side.
    pub ipv4: Option<Subnet>,
    /// Its IPv6 side.
    pub ipv6: Option<Subnet>,
    /// Nothing is forwarded into or out of it.
    pub internal: bool,
    /// The MTU of the bridge and of containers' interfaces; none is the kernel's default.
    pub mtu: Option<u32>,
    /// Host interfaces from which container addresses may be reached directly.
    pub trusted_interfaces: BTreeSet<String>,
    /// What people have noted on it.
    pub labels: BTreeMap<String, String>,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// What carries a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on this host.
    #[default]
    Bridge,
}

/// One family's side of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// How it meets the outside.
    pub gateway_mode: GatewayMode,
    /// Its addresses and who holds them.
    pub leases: Leases,
}

/// The addresses a container asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// An IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// An IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

// === impl Network ===

impl Network {
    /// The sides it has, IPv4 first.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// The side an address lies in.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets().find(|subnet| subnet.subnet().contains(&address))
    }

    /// The addresses of the bridge itself; an isolated side has none.
    pub fn bridge_addresses(&self) -> Vec<IpNet> {
        self.subnets().filter_map(Subnet::bridge_address).collect()
    }

    /// Whether anyone holds an address.
    pub fn is_in_use(&self) -> bool {
        self.subnets().any(|subnet| subnet.leases.count() > 0)
    }

    /// The containers that hold an address.
    pub fn containers(&self) -> BTreeSet<&str> {
        self.subnets().flat_map(|subnet| subnet.leases.held()).map(|(_, owner)| owner).collect()
    }

    /// Leases an address of each family to `container`, for which this is network number `index`
    /// (0 is its first, whose interface is `eth0`); the same again if it has them already.
    ///
    /// # Errors
    /// Nothing is leased then.
    pub fn attach(
        &mut self,
        container: &str,
        index: usize,
        requested: Requested,
    ) -> Result<Endpoint> {
        let host_veth = endpoint::host_veth(container, index)?;
        let ipv4 = lease(&mut self.ipv4, requested.ipv4.map(IpAddr::V4), container, &self.name)?;
        let ipv6 = lease(&mut self.ipv6, requested.ipv6.map(IpAddr::V6), container, &self.name)
            .inspect_err(|_| give_back(&mut self.ipv4, ipv4, container))?;
        Ok(Endpoint::new(self, container, index, host_veth, [ipv4, ipv6]))
    }

    /// Takes back what `container` holds; `false` when it held nothing.
    pub fn detach(&mut self, container: &str) -> bool {
        let sides = [&mut self.ipv4, &mut self.ipv6];
        let released =
            sides.into_iter().flatten().filter_map(|subnet| subnet.leases.release(container));
        released.count() > 0
    }
}

/// An address, and whether it was leased just now.
pub(crate) type Lease = Option<(IpAddr, bool)>;

fn lease(
    side: &mut Option<Subnet>,
    requested: Option<IpAddr>,
    owner: &str,
    network: &str,
) -> Result<Lease> {
    match (side, requested) {
        (None, None) => Ok(None),
        (None, Some(address)) => Err(Error::FamilyMissing { address, network: network.to_owned() }),
        (Some(subnet), requested) => {
            let before = subnet.leases.count();
            let address = subnet.leases.lease(requested, owner)?;
            Ok(Some((address, subnet.leases.count() > before)))
        }
    }
}

fn give_back(side: &mut Option<Subnet>, lease: Lease, owner: &str) {
    if let (Some(subnet), Some((_, true))) = (side, lease) {
        subnet.leases.release(owner);
    }
}

// === impl Subnet ===

impl Subnet {
    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.leases.subnet()
    }

    /// The gateway's address.
    pub fn gateway(&self) -> IpAddr {
        self.leases.gateway()
    }

    /// Whether what leaves by another interface gets that interface's address.
    pub fn masquerades(&self) -> bool {
        matches!(self.gateway_mode, GatewayMode::Nat | GatewayMode::NatUnprotected)
    }

    /// Whether container addresses are reachable from outside on every port.
    pub fn is_unprotected(&self) -> bool {
        self.gateway_mode == GatewayMode::NatUnprotected
    }

    /// Whether published ports are opened on the container's address and ICMP may come in.
    pub fn is_routed(&self) -> bool {
        self.gateway_mode == GatewayMode::Routed
    }

    fn bridge_address(&self) -> Option<IpNet> {
        (self.gateway_mode != GatewayMode::Isolated)
            .then(|| IpNet::new(self.gateway(), self.subnet().prefix_len()).ok())
            .flatten()
    }
}
