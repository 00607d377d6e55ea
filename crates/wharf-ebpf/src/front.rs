//! The host's side of an entry, and the prefixes that a range of ports is.

use std::net::{IpAddr, Ipv6Addr};

use wharf_plan::ebpf::{Connect, Steer};
use wharf_spec::{PortRange, Proto};

/// The bits of a port.
pub(crate) const PORT_BITS: u32 = 16;

/// Host ports at an address. No two entries that are in force have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Front {
    pub(crate) proto: Proto,
    /// IPv4 as `::ffff:a.b.c.d`, so that the wildcards of the families are two addresses.
    pub(crate) address: Ipv6Addr,
    pub(crate) ports: PortRange,
}

/// Ports that have their first `bits` bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortPrefix {
    pub(crate) first: u16,
    pub(crate) bits: u32,
}

/// An address in the form the maps have it.
pub(crate) fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The fewest prefixes that make up `ports`, in ascending order; at most 30.
pub(crate) fn prefixes(ports: PortRange) -> Vec<PortPrefix> {
    let (mut next, end) = (u32::from(ports.first()), u32::from(ports.last()) + 1);
    let mut found = Vec::new();
    while next < end {
        let free = next.trailing_zeros().min((end - next).ilog2()).min(PORT_BITS);
        let first = u16::try_from(next).unwrap_or(u16::MAX);
        found.push(PortPrefix { first, bits: PORT_BITS - free });
        next += 1 << free;
    }
    found
}

/// The range that `pieces` make up, if they are the prefixes of one.
pub(crate) fn range(mut pieces: Vec<PortPrefix>) -> Option<PortRange> {
    pieces.sort_unstable();
    let ports = PortRange::new(pieces.first()?.first, pieces.last()?.last())?;
    (prefixes(ports) == pieces).then_some(ports)
}

// === impl Front ===

impl Front {
    pub(crate) fn of_connect(connect: &Connect) -> Self {
        let address = mapped(connect.host_address());
        Self { proto: connect.proto, address, ports: connect.ports }
    }

    pub(crate) fn of_steer(steer: &Steer) -> Self {
        Self { proto: steer.proto, address: mapped(steer.host), ports: steer.ports }
    }

    /// Whether some port is of both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        (self.proto, self.address) == (other.proto, other.address)
            && self.ports.overlaps(other.ports)
    }
}

// === impl PortPrefix ===

impl PortPrefix {
    /// The last port with these bits.
    fn last(self) -> u16 {
        let rest = PORT_BITS.saturating_sub(self.bits);
        let others = u16::try_from((1_u32 << rest) - 1).unwrap_or(u16::MAX);
        self.first | others
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_range() -> impl Strategy<Value = PortRange> {
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap())
    }

    proptest! {
        #[test]
        fn prefixes_hold_every_port_of_the_range_and_no_other(ports in any_range()) {
            let mut next = u32::from(ports.first());
            for piece in prefixes(ports) {
                prop_assert_eq!(u32::from(piece.first), next);
                prop_assert_eq!(piece.first.trailing_zeros().max(16 - piece.bits), piece.first.trailing_zeros());
                next = u32::from(piece.last()) + 1;
            }
            prop_assert_eq!(next, u32::from(ports.last()) + 1);
        }

        #[test]
        fn a_range_comes_back_from_its_prefixes(ports in any_range()) {
            let mut pieces = prefixes(ports);
            prop_assert!(pieces.len() <= 30);
            pieces.reverse();
            prop_assert_eq!(range(pieces), Some(ports));
        }
    }

    #[test]
    fn every_port_is_one_prefix_and_most_of_them_are_few() {
        let whole = prefixes(PortRange::new(0, u16::MAX).unwrap());
        assert_eq!(whole, [PortPrefix { first: 0, bits: 0 }]);
        assert_eq!(prefixes(PortRange::new(1, 65_534).unwrap()).len(), 30);
        assert_eq!(prefixes(PortRange::single(80)), [PortPrefix { first: 80, bits: 16 }]);
    }

    #[test]
    fn a_range_with_a_hole_is_none() {
        let mut pieces = prefixes(PortRange::new(1000, 1999).unwrap());
        pieces.remove(2);
        assert_eq!(range(pieces), None);
        assert_eq!(range(Vec::new()), None);
    }
}
