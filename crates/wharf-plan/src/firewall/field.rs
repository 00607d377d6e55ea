//! What rules look at, and the values they compare it with.

use std::net::IpAddr;

/// Something of a packet that a rule can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The family: 2 for IPv4, 10 for IPv6 (`NFPROTO_*`).
    Family,
    /// The transport protocol's number.
    Protocol,
    /// The name of the interface it came in by, as 16 bytes.
    InInterface,
    /// The name of the interface it goes out by, as 16 bytes.
    OutInterface,
    /// The source address of an IPv4 packet.
    Source4,
    /// The source address of an IPv6 packet.
    Source6,
    /// The destination address of an IPv4 packet.
    Destination4,
    /// The destination address of an IPv6 packet.
    Destination6,
    /// The source port.
    SourcePort,
    /// The destination port.
    DestinationPort,
    /// The address the flow's first packet was sent to, before any rewriting, of an IPv4 flow.
    AskedAddress4,
    /// The same of an IPv6 flow.
    AskedAddress6,
    /// The port the flow's first packet was sent to, before any rewriting.
    AskedPort,
    /// The flow's state, as bits: invalid 1, established 2, related 4, new 8 (`NFT_CT_STATE`).
    State,
    /// The flow's state as iptables asks for it: as above, with 0x80 for a rewritten destination.
    StateOrRewritten,
    /// The flow's status: 0x20 for a rewritten destination (`IPS_DST_NAT`).
    Status,
    /// 0 for packets of the flow's beginner, 1 for answers.
    Direction,
    /// What kind of address the source is (`RTN_*`): 1 somebody's, 2 one of this host.
    SourceKind,
    /// What kind of address the destination is (`RTN_*`).
    DestinationKind,
    /// The packet's mark.
    Mark,
    /// The flow's mark.
    FlowMark,
    /// 0 for packets addressed to this host's hardware, 1 broadcast, 2 multicast.
    PacketType,
    /// The flags of a TCP header.
    TcpFlags,
    /// The type of an ICMP message; the packets judged here have none.
    IcmpType,
}

/// The values from `first` to `last`, both included, of those bits that are in `mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The bits that count.
    pub mask: u128,
    /// The lowest value.
    pub first: u128,
    /// The highest value.
    pub last: u128,
}

/// An answer of somebody who may not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Unknown,
}

/// What a packet has for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Packets of this kind have no such field, so nothing said of it holds.
    Absent,
    /// It is not known.
    Unknown,
    /// One of these, the same for all that is asked if first and last are equal.
    Between(u128, u128),
}

// === impl Span ===

impl Span {
    /// Every value there is.
    pub const ANY: Self = Self { mask: u128::MAX, first: 0, last: u128::MAX };

    /// One value.
    pub fn one(value: impl Into<u128>) -> Self {
        let value = value.into();
        Self::range(value, value)
    }

    /// The values from `first` to `last`, both included.
    pub fn range(first: impl Into<u128>, last: impl Into<u128>) -> Self {
        Self { mask: u128::MAX, first: first.into(), last: last.into() }
    }

    /// Values whose bits in `mask` are those of `value`.
    pub fn masked(value: impl Into<u128>, mask: impl Into<u128>) -> Self {
        let (value, mask) = (value.into(), mask.into());
        Self { mask, first: value, last: value }
    }

    /// Values that have at least one of `bits`.
    pub fn any_bit(bits: impl Into<u128>) -> Self {
        Self { mask: bits.into(), first: 1, last: u128::MAX }
    }

    /// The interface called `name`.
    pub fn interface(name: &str) -> Self {
        Self::one(name_value(name))
    }

    /// Every interface whose name begins with `prefix`.
    pub fn interfaces(prefix: &str) -> Self {
        let length = u32::try_from(prefix.len().min(16)).unwrap_or(16);
        let mask = u128::MAX.checked_shl(128 - 8 * length).unwrap_or(0);
        Self::masked(name_value(prefix) & mask, mask)
    }

    pub(super) fn covers(self, value: Value) -> Answer {
        let Value::Between(low, high) = value else { return Answer::Unknown };
        let holds = |value: u128| (self.first..=self.last).contains(&(value & self.mask));
        if low == high {
            return if holds(low) { Answer::Yes } else { Answer::No };
        }
        if self.mask != u128::MAX {
            return Answer::Unknown;
        }
        if high < self.first || low > self.last {
            return Answer::No;
        }
        if holds(low) && holds(high) { Answer::Yes } else { Answer::Unknown }
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

// === impl Value ===

impl Value {
    pub(super) fn one(value: impl Into<u128>) -> Self {
        let value = value.into();
        Self::Between(value, value)
    }

    pub(super) fn maybe<T: Into<u128>>(value: Option<T>) -> Self {
        value.map_or(Self::Unknown, Self::one)
    }

    pub(super) fn interface(name: Option<&str>) -> Self {
        Self::maybe(name.map(name_value))
    }

    /// An address, for a field of one family.
    pub(super) fn address(address: Option<IpAddr>, v4: bool) -> Self {
        match address {
            Some(IpAddr::V4(address)) if v4 => Self::one(u32::from(address)),
            Some(IpAddr::V6(address)) if !v4 => Self::one(u128::from(address)),
            Some(_) => Self::Absent,
            None => Self::Unknown,
        }
    }
}

/// An interface's name as the kernel compares it: 16 bytes, padded with zeros.
fn name_value(name: &str) -> u128 {
    let mut bytes = [0; 16];
    for (slot, byte) in bytes.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    u128::from_be_bytes(bytes)
}

/// The name behind such a number.
pub(super) fn name_of(value: u128) -> String {
    let bytes = value.to_be_bytes();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
