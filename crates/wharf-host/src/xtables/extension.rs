//! Matches and targets of iptables, which `iptables-nft` uses as well.
//!
//! Their options are the structures of `linux/netfilter/xt_*.h`, as the kernel keeps them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::MaskedAddress;
use crate::nftables::IpFamily;

/// A match or target by name, with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The name: `tcp`, `conntrack`, `REJECT`.
    pub name: String,
    /// The revision of its options.
    pub revision: u8,
    /// The options.
    pub data: Vec<u8>,
}

/// Something a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The source address; `true`: must not be.
    Source(MaskedAddress, bool),
    /// The destination address; `true`: must not be.
    Destination(MaskedAddress, bool),
    /// The interface it came in by, as 16 bytes with the bits that count.
    InInterface {
        /// The name.
        name: u128,
        /// The bits that count.
        mask: u128,
        /// Whether it must be another.
        negated: bool,
    },
    /// The interface it goes out by.
    OutInterface {
        /// The name.
        name: u128,
        /// The bits that count.
        mask: u128,
        /// Whether it must be another.
        negated: bool,
    },
    /// The protocol; `true`: must not be.
    Protocol(u8, bool),
    /// Source ports, from and to, any of them; `true`: none of them.
    SourcePorts(Vec<(u16, u16)>, bool),
    /// Destination ports.
    DestinationPorts(Vec<(u16, u16)>, bool),
    /// The port the flow began with, before any rewriting.
    AskedPorts(Vec<(u16, u16)>, bool),
    /// The address the flow began with, before any rewriting.
    AskedAddress(MaskedAddress, bool),
    /// Source addresses, from and to.
    SourceBetween(IpAddr, IpAddr, bool),
    /// Destination addresses, from and to.
    DestinationBetween(IpAddr, IpAddr, bool),
    /// The flow's state has one of these bits (as `NFT_CT_STATE`, and 0x80 for a rewritten
    /// destination); `true`: none of them.
    State(u32, bool),
    /// The flow's status has one of these bits (`IPS_*`).
    Status(u32, bool),
    /// The direction: 0 the beginner's, 1 the answers'.
    Direction(u8),
    /// The kind of the source address (`RTN_*`), any of them.
    SourceKinds(Vec<u32>, bool),
    /// The kind of the destination address.
    DestinationKinds(Vec<u32>, bool),
    /// The packet's mark with the bits that count.
    Mark(u32, u32, bool),
    /// The flow's mark with the bits that count.
    FlowMark(u32, u32, bool),
    /// The kind of hardware address it came to: 0 this host's.
    PacketType(u32, bool),
    /// The flags of TCP with the bits that count.
    TcpFlags(u8, u8, bool),
    /// Anything else, by its name.
    Unknown(String),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that decides.
    Continue,
    /// The packet is through with the base chain.
    Accept,
    /// The packet ends.
    Drop,
    /// The packet ends, and its sender is told.
    Reject,
    /// Back to the caller; in a built-in chain, the policy.
    Return,
    /// On with a chain, then back.
    Jump(String),
    /// On with a chain, not back.
    Goto(String),
    /// The mark becomes `(mark & keep) ^ flip`.
    Mark {
        /// The bits that stay.
        keep: u32,
        /// The bits that are turned over then.
        flip: u32,
    },
}

/// Reads words of options one after the other.
struct Words<'a> {
    bytes: &'a [u8],
}

// === impl Extension ===

impl Extension {
    /// The text of a `comment` match.
    pub fn comment(&self) -> Option<String> {
        (self.name == "comment").then(|| {
            let end = self.data.iter().position(|b| *b == 0).unwrap_or(self.data.len());
            String::from_utf8_lossy(self.data.get(..end).unwrap_or_default()).into_owned()
        })
    }

    /// What this match asks for; one unknown condition if it is not understood.
    pub fn conditions(&self, family: IpFamily) -> Vec<Condition> {
        let known = match (self.name.as_str(), self.revision) {
            ("tcp", 0) => tcp(&self.data),
            ("udp", 0) => udp(&self.data),
            ("multiport", 1) => multiport(&self.data),
            ("conntrack", 2 | 3) => conntrack(&self.data, family, self.revision),
            ("state", 0) => word(&self.data, 0).map(|mask| vec![Condition::State(mask, false)]),
            ("addrtype", 1) => addrtype(&self.data),
            ("mark", 1) => mark(&self.data).map(|(v, m, not)| vec![Condition::Mark(v, m, not)]),
            ("connmark", 1) => {
                mark(&self.data).map(|(v, m, not)| vec![Condition::FlowMark(v, m, not)])
            }
            ("pkttype", 0) => pkttype(&self.data),
            ("iprange", 1) => iprange(&self.data, family),
            ("comment", _) => Some(Vec::new()),
            _ => None,
        };
        known.unwrap_or_else(|| vec![Condition::Unknown(self.name.clone())])
    }

    /// What this target does.
    pub fn outcome(&self) -> Outcome {
        match self.name.as_str() {
            "REJECT" => Outcome::Reject,
            "TARPIT" | "DELUDE" | "CHAOS" => Outcome::Drop,
            // Rewriting ends the way through a table; a program behind a queue decides by itself.
            "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" | "NFQUEUE" => Outcome::Accept,
            "MARK" if self.revision == 2 => self.mark().unwrap_or(Outcome::Continue),
            _ => Outcome::Continue,
        }
    }

    fn mark(&self) -> Option<Outcome> {
        let (value, mask) = (word(&self.data, 0)?, word(&self.data, 4)?);
        Some(Outcome::Mark { keep: !mask, flip: value })
    }
}

// === impl Words ===

impl<'a> Words<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// In the host's order.
    fn short(&mut self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.take(2)?.try_into().ok()?))
    }

    /// In network order, as ports of flows are.
    fn port(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    /// `union nf_inet_addr`.
    fn address(&mut self, family: IpFamily) -> Option<IpAddr> {
        let bytes = self.take(16)?;
        address(family, bytes.get(..if family == IpFamily::V4 { 4 } else { 16 })?)
    }

    fn masked(&mut self, family: IpFamily) -> Option<MaskedAddress> {
        Some(MaskedAddress { address: self.address(family)?, mask: self.address(family)? })
    }
}

/// An address of `family` from exactly as many bytes.
pub(super) fn address(family: IpFamily, bytes: &[u8]) -> Option<IpAddr> {
    Some(match family {
        IpFamily::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        IpFamily::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Words::new(bytes.get(at..)?).word()
}

/// Every port is no condition.
fn unless_all(ports: (u16, u16), negated: bool) -> Option<Vec<(u16, u16)>> {
    (ports != (0, u16::MAX) || negated).then(|| vec![ports])
}

/// `struct xt_tcp`.
fn tcp(data: &[u8]) -> Option<Vec<Condition>> {
    let mut words = Words::new(data);
    let source = (words.short()?, words.short()?);
    let destination = (words.short()?, words.short()?);
    let [option, mask, flags, inverted] =
        [words.byte()?, words.byte()?, words.byte()?, words.byte()?];
    let mut found = port_conditions(source, destination, inverted);
    if mask != 0 {
        found.push(Condition::TcpFlags(flags, mask, inverted & 4 != 0));
    }
    if option != 0 {
        found.push(Condition::Unknown("tcp option".to_owned()));
    }
    Some(found)
}

/// `struct xt_udp`.
fn udp(data: &[u8]) -> Option<Vec<Condition>> {
    let mut words = Words::new(data);
    let source = (words.short()?, words.short()?);
    let destination = (words.short()?, words.short()?);
    Some(port_conditions(source, destination, words.byte()?))
}

fn port_conditions(source: (u16, u16), destination: (u16, u16), inverted: u8) -> Vec<Condition> {
    let (not_source, not_destination) = (inverted & 1 != 0, inverted & 2 != 0);
    let source = unless_all(source, not_source).map(|p| Condition::SourcePorts(p, not_source));
    let destination = unless_all(destination, not_destination)
        .map(|p| Condition::DestinationPorts(p, not_destination));
    source.into_iter().chain(destination).collect()
}

/// `struct xt_multiport_v1`.
fn multiport(data: &[u8]) -> Option<Vec<Condition>> {
    let mut words = Words::new(data);
    let (kind, count) = (words.byte()?, usize::from(words.byte()?));
    let numbers = (0..15).map(|_| words.short()).collect::<Option<Vec<_>>>()?;
    let begins = (0..15).map(|_| words.byte()).collect::<Option<Vec<_>>>()?;
    let negated = words.byte()? != 0;
    let mut ports = Vec::new();
    let mut listed = numbers.into_iter().zip(begins).take(count);
    while let Some((first, begins_a_range)) = listed.next() {
        let last = if begins_a_range != 0 { listed.next()?.0 } else { first };
        ports.push((first, last));
    }
    Some(vec![match kind {
        0 => Condition::SourcePorts(ports, negated),
        1 => Condition::DestinationPorts(ports, negated),
        _ => Condition::Unknown("multiport".to_owned()),
    }])
}

/// `struct xt_conntrack_mtinfo3`; revision 2 lacks the upper ends of port ranges, and has ports in
/// network order.
fn conntrack(data: &[u8], family: IpFamily, revision: u8) -> Option<Vec<Condition>> {
    const STATE: u16 = 1;
    const PROTOCOL: u16 = 2;
    const ASKED_ADDRESS: u16 = 8;
    const STATUS: u16 = 0x40;
    const ASKED_PORT: u16 = 0x200;
    const DIRECTION: u16 = 0x1000;
    /// Written as `-m state`; for those who list it.
    const ALIAS: u16 = 0x2000;
    const KNOWN: u16 = STATE | PROTOCOL | ASKED_ADDRESS | STATUS | ASKED_PORT | DIRECTION | ALIAS;

    let mut words = Words::new(data);
    let _from = words.masked(family)?;
    let asked = words.masked(family)?;
    // Addresses of the answers, and how long the flow is kept.
    words.take(4 * 16 + 8)?;
    let (protocol, _from_port) = (words.short()?, words.short()?);
    let asked_port = if revision == 3 { words.short()? } else { words.port()? };
    words.take(4)?;
    let (flags, inverted) = (words.short()?, words.short()?);
    let (state, status) = (words.short()?, words.short()?);
    let last_port =
        if revision == 3 { words.take(2).and_then(|_| words.short())? } else { asked_port };
    let not = |flag: u16| inverted & flag != 0;
    let protocol = u8::try_from(protocol).ok()?;
    let offers = [
        (STATE, Condition::State(state.into(), not(STATE))),
        (PROTOCOL, Condition::Protocol(protocol, not(PROTOCOL))),
        (ASKED_ADDRESS, Condition::AskedAddress(asked, not(ASKED_ADDRESS))),
        (STATUS, Condition::Status(status.into(), not(STATUS))),
        (ASKED_PORT, Condition::AskedPorts(vec![(asked_port, last_port)], not(ASKED_PORT))),
        (DIRECTION, Condition::Direction(u8::from(not(DIRECTION)))),
        (!KNOWN, Condition::Unknown("conntrack".to_owned())),
    ];
    let asked_for = offers.into_iter().filter(|(flag, _)| flags & flag != 0);
    Some(asked_for.map(|(_, condition)| condition).collect())
}

/// `struct xt_addrtype_info_v1`.
fn addrtype(data: &[u8]) -> Option<Vec<Condition>> {
    let mut words = Words::new(data);
    let (source, destination) = (words.short()?, words.short()?);
    let flags = words.word()?;
    let kinds = |bits: u16| (0..16).filter(|kind| bits & 1 << kind != 0).collect::<Vec<u32>>();
    let mut found = Vec::new();
    if source != 0 {
        found.push(Condition::SourceKinds(kinds(source), flags & 1 != 0));
    }
    if destination != 0 {
        found.push(Condition::DestinationKinds(kinds(destination), flags & 2 != 0));
    }
    Some(found)
}

/// `struct xt_mark_mtinfo1` and `struct xt_connmark_mtinfo1`.
fn mark(data: &[u8]) -> Option<(u32, u32, bool)> {
    let mut words = Words::new(data);
    Some((words.word()?, words.word()?, words.byte()? != 0))
}

/// `struct xt_pkttype_info`.
fn pkttype(data: &[u8]) -> Option<Vec<Condition>> {
    let mut words = Words::new(data);
    Some(vec![Condition::PacketType(words.word()?, words.word()? != 0)])
}

/// `struct xt_iprange_mtinfo`.
fn iprange(data: &[u8], family: IpFamily) -> Option<Vec<Condition>> {
    let mut words = Words::new(data);
    let source = (words.address(family)?, words.address(family)?);
    let destination = (words.address(family)?, words.address(family)?);
    let flags = words.byte()?;
    let mut found = Vec::new();
    if flags & 1 != 0 {
        found.push(Condition::SourceBetween(source.0, source.1, flags & 0x10 != 0));
    }
    if flags & 2 != 0 {
        found.push(Condition::DestinationBetween(destination.0, destination.1, flags & 0x20 != 0));
    }
    Some(found)
}
