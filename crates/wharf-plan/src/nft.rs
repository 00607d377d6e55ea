//! What the kernel NAT plane is to hold: plain values, ordered, so that two plans can be compared.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use wharf_spec::{PortRange, Proto};

/// Everything our nftables table is to contain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NftPlan {
    /// The bridges of our networks and what may pass them.
    pub bridges: BTreeSet<BridgePolicy>,
    /// Addresses and ports to rewrite.
    pub dnat: BTreeSet<Dnat>,
    /// Loopback publications that only the loopback interface may reach.
    pub loopback: BTreeSet<LoopbackGuard>,
    /// Ports of containers on routed networks that anyone may reach on the container's own
    /// address.
    pub open: BTreeSet<OpenPort>,
    /// Answers of our networks to sockets with a client's address are marked for the way back.
    pub way_back: bool,
}

/// One destination rewrite; a range is one entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dnat {
    /// The protocol.
    pub proto: Proto,
    /// The host address asked for; `None` means every local address of the target's family.
    pub host: Option<IpAddr>,
    /// The host ports.
    pub ports: PortRange,
    /// The target's address, of the same family as `host`.
    pub target: IpAddr,
    /// The target's ports; as many as the host's.
    pub target_ports: PortRange,
}

/// A loopback address and ports that must not be reached from another interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoopbackGuard {
    /// The protocol.
    pub proto: Proto,
    /// An address of 127.0.0.0/8. (The kernel itself drops ::1 from other interfaces.)
    pub address: Ipv4Addr,
    /// The ports.
    pub ports: PortRange,
}

/// Ports open on a container's own address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenPort {
    /// The protocol.
    pub proto: Proto,
    /// The container's address.
    pub address: IpAddr,
    /// The ports.
    pub ports: PortRange,
}

/// One bridge and what may pass it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgePolicy {
    /// The bridge's interface name, at most 15 bytes.
    pub name: String,
    /// The network's subnets, at most one of each family.
    pub subnets: Vec<SubnetPolicy>,
    /// Nothing is forwarded in or out of this bridge, published or not.
    pub internal: bool,
    /// Interfaces from which container addresses may be reached directly.
    pub trusted_interfaces: BTreeSet<String>,
}

/// How one subnet of a bridge is treated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubnetPolicy {
    /// The subnet.
    pub subnet: IpNet,
    /// Traffic leaving by another interface gets that interface's address.
    pub masquerade: bool,
    /// Container addresses are reachable from outside on every port.
    pub unprotected: bool,
    /// ICMP (v4 or v6) may come in from outside (routed networks).
    pub icmp: bool,
}
