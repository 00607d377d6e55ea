//! Addresses as numbers, so that both families are searched by the same code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The numbers of a run of addresses of one family, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) v6: bool,
    pub(crate) first: u128,
    pub(crate) last: u128,
}

// === impl Span ===

impl Span {
    pub(crate) fn of(net: IpNet) -> Self {
        Self {
            v6: net.addr().is_ipv6(),
            first: number(net.network()),
            last: number(net.broadcast()),
        }
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.v6 == other.v6 && self.first <= other.last && other.first <= self.last
    }

    /// The number after `number`, going round from the last to the first.
    pub(crate) fn after(self, number: u128) -> u128 {
        if (self.first..self.last).contains(&number) { number + 1 } else { self.first }
    }

    pub(crate) fn contains(self, number: u128) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// The number of an address within its family.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of a number; IPv4 numbers are below 2^32.
pub(crate) fn address(v6: bool, number: u128) -> IpAddr {
    match u32::try_from(number) {
        Ok(small) if !v6 => Ipv4Addr::from(small).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

/// Whether the two networks share an address.
pub(crate) fn overlap(one: IpNet, other: IpNet) -> bool {
    Span::of(one).overlaps(Span::of(other))
}
