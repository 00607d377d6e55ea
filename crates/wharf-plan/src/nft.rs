//! What the kernel NAT plane is to hold: plain values, ordered, so that two plans can be compared.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use wharf_spec::{PortRange, Proto, PublicationId};

/// Everything our nftables table is to contain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NftPlan {
    /// The bridges of our networks and what may pass them.
    pub bridges: BTreeSet<BridgePolicy>,
    /// Addresses and ports to rewrite.
    pub dnat: BTreeSet<Dnat>,
    /// Loopback publications that only the loopback interface may reach.
    pub loopback: BTreeSet<LoopbackGuard>,
    /// Ports of containers on routed networks that may be reached on the container's own address.
    pub open: BTreeSet<OpenPort>,
    /// Published ports that not everyone may reach, whichever plane serves them.
    pub allow: BTreeSet<AllowList>,
    /// Answers of our networks to sockets with a client's address are marked for the way back.
    pub way_back: bool,
    /// Interfaces of others' networks whose answers are marked, too.
    pub answering: BTreeSet<String>,
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

/// Ports open on a container's own address. Two publications may open the same ones, because no
/// socket of the host is bound for either.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenPort {
    /// The protocol.
    pub proto: Proto,
    /// The container's address.
    pub address: IpAddr,
    /// The ports.
    pub ports: PortRange,
    /// The networks they are open to, of the address's family.
    pub from: Vec<IpNet>,
    /// The publication that asks for it.
    pub publication: PublicationId,
}

/// The networks that may reach ports of the host; everyone else is turned away there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowList {
    /// The protocol.
    pub proto: Proto,
    /// The host address asked for, as a network of one, or `0.0.0.0/0` or `::/0` for every
    /// address the host has in that family.
    pub host: IpNet,
    /// The host ports.
    pub ports: PortRange,
    /// The networks, of the host address's family, none within another; without any, nobody of
    /// that family is let in.
    pub from: Vec<IpNet>,
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

// === impl NftPlan ===

impl NftPlan {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is anything to be held for networks or publications.
    pub fn has_work(&self) -> bool {
        let entries = [self.dnat.len(), self.loopback.len(), self.open.len(), self.allow.len()];
        !self.bridges.is_empty() || entries.iter().any(|count| *count > 0)
    }

    /// Puts the entries of `more` to these, at a cost that grows with `more` alone: `append` would
    /// rebuild the whole set.
    pub fn add(&mut self, more: Self) {
        self.dnat.extend(more.dnat);
        self.loopback.extend(more.loopback);
        self.open.extend(more.open);
        self.allow.extend(more.allow);
    }

    /// Takes the entries of `gone` out.
    pub fn subtract(&mut self, gone: &Self) {
        self.dnat.retain_all_but(&gone.dnat);
        self.loopback.retain_all_but(&gone.loopback);
        self.open.retain_all_but(&gone.open);
        self.allow.retain_all_but(&gone.allow);
    }
}

trait Subtract {
    /// Costs as much as `gone` has entries, whatever is left.
    fn retain_all_but(&mut self, gone: &Self);
}

impl<T: Ord> Subtract for BTreeSet<T> {
    fn retain_all_but(&mut self, gone: &Self) {
        gone.iter().for_each(|entry| {
            self.remove(entry);
        });
    }
}
