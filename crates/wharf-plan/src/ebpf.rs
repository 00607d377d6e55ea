//! What the eBPF plane is to hold: plain values, ordered, so that two plans can be compared.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use wharf_spec::{PortRange, Proto, PublicationId};

/// Everything the eBPF programs of one network namespace are to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EbpfPlan {
    /// Host ports whose clients on the host are led straight to a target.
    pub connects: BTreeSet<Connect>,
    /// Host ports that one socket per protocol and family listens on.
    pub steers: BTreeSet<Steer>,
}

/// Host ports and the target that processes of the host reach there; a range is one entry, and a
/// publication has one for each family and address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connect {
    /// The publication it is for.
    pub publication: PublicationId,
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
    /// The networks, of the same family, that may; everyone if there are none. Two entries with
    /// the same networks in another order are different ones: see [`Connect::canonical`].
    pub from: Vec<IpNet>,
    /// A client that asks for an address of the host that is not loopback is seen by the target
    /// as that address, and not as the gateway.
    pub keeps_host: bool,
}

/// Host ports that have no socket of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Steer {
    /// The publication it is for.
    pub publication: PublicationId,
    /// The protocol.
    pub proto: Proto,
    /// The host address; the unspecified one means every address of its family.
    pub host: IpAddr,
    /// The host ports.
    pub ports: PortRange,
}

// === impl EbpfPlan ===

impl EbpfPlan {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.connects.is_empty() && self.steers.is_empty()
    }

    /// Puts the entries of `more` to these, at a cost that grows with `more` alone.
    pub fn add(&mut self, more: Self) {
        self.connects.extend(more.connects);
        self.steers.extend(more.steers);
    }

    /// The same with every entry in its canonical form.
    pub fn canonical(&self) -> Cow<'_, Self> {
        if self.connects.iter().all(Connect::is_canonical) {
            return Cow::Borrowed(self);
        }
        let connects = self.connects.iter().cloned().map(Connect::canonical).collect();
        Cow::Owned(Self { connects, steers: self.steers.clone() })
    }

    /// Takes the entries of `gone` out, at a cost that grows with `gone` alone.
    pub fn subtract(&mut self, gone: &Self) {
        gone.connects.iter().for_each(|entry| {
            self.connects.remove(entry);
        });
        gone.steers.iter().for_each(|entry| {
            self.steers.remove(entry);
        });
    }

    /// What is in here and not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        Self {
            connects: self.connects.difference(&other.connects).cloned().collect(),
            steers: self.steers.difference(&other.steers).cloned().collect(),
        }
    }
}

// === impl Connect ===

impl Connect {
    /// The same with networks in ascending order, without the bits of hosts, each once.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.from.iter_mut().for_each(|net| *net = net.trunc());
        self.from.sort_unstable();
        self.from.dedup();
        self
    }

    fn is_canonical(&self) -> bool {
        self.from.is_sorted_by(|one, next| one < next)
            && self.from.iter().all(|net| *net == net.trunc())
    }

    /// The host address, with the wildcard of the target's family for every one.
    pub fn host_address(&self) -> IpAddr {
        self.host.unwrap_or(match self.target {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_say_the_same_are_the_same() {
        let list = |nets: &[&str]| Connect {
            publication: PublicationId("web".into()),
            proto: Proto::Tcp,
            host: None,
            ports: PortRange::single(80),
            target: Ipv4Addr::LOCALHOST.into(),
            target_ports: PortRange::single(80),
            from: nets.iter().map(|net| net.parse().unwrap()).collect(),
            keeps_host: false,
        };
        let canonical = list(&["10.0.0.0/8", "192.0.2.0/24"]);
        let plan =
            |entry: &Connect| EbpfPlan { connects: [entry.clone()].into(), ..EbpfPlan::default() };
        let odd = list(&["192.0.2.7/24", "10.0.0.0/8", "192.0.2.0/24"]);
        assert_eq!(*plan(&odd).canonical(), plan(&canonical));
        assert!(matches!(plan(&canonical).canonical(), Cow::Borrowed(_)));
    }
}
