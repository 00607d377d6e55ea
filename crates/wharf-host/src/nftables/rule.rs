//! Rules: what is looked at, in order, and what is done.
//!
//! A [`Rule`] is built left to right as `nft` would write it. A match that fails ends the rule.
//! Values are loaded into registers from the first one on, so every match may overwrite what the
//! one before it loaded; nothing is kept across two matches.

use ipnet::IpNet;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta, MetaKey,
    Operator, Payload, Register, RuleAttribute, Verdict as Code, VerdictAttribute,
};

use super::IpFamily;
use super::set::Set;
use super::wire::number;

mod mark;
mod port;

pub use self::mark::Mark;

const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_LOOKUP_F_INV: u32 = 1;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFT_CT_STATE: u32 = 0;
const NFT_CT_STATUS: u32 = 2;
const NFTA_FIB_DREG: u16 = 1;
const NFTA_FIB_RESULT: u16 = 2;
const NFTA_FIB_FLAGS: u16 = 3;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 2;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFT_NAT_DNAT: u32 = 1;
pub(super) const NFTNL_UDATA_RULE_COMMENT: u8 = 0;
const RTN_LOCAL: u32 = 2;
/// The number of `lo` in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// `NF_CT_STATE_BIT` of established and related.
const ESTABLISHED_OR_RELATED: u32 = 0b110;
/// `IPS_DST_NAT`.
const DESTINATION_REWRITTEN: u32 = 1 << 5;

const FIRST: Register = Register::Reg32_00;

/// One rule of a chain.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    expressions: Vec<Expressions>,
    family: Option<IpFamily>,
    comment: Option<&'static str>,
}

/// Something of a packet that can be part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// The source address.
    Source(IpFamily),
    /// The destination address.
    Destination(IpFamily),
    /// The transport protocol.
    Protocol,
    /// The destination port (TCP, UDP, SCTP and their like have it at the same place).
    DestinationPort,
    /// The name of the interface it came in by.
    InInterface,
    /// The name of the interface it goes out by.
    OutInterface,
}

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The packet passes this chain's hook.
    Accept,
    /// The packet ends here.
    Drop,
    /// Back to where the chain was jumped to from; in a base chain, the policy.
    Return,
    /// On with another chain, then back.
    Jump(&'static str),
}

// === impl Rule ===

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A note `nft` shows with the rule.
    #[must_use]
    pub fn comment(self, text: &'static str) -> Self {
        Self { comment: Some(text), ..self }
    }

    /// Matches packets of one IP family.
    #[must_use]
    pub fn family(mut self, family: IpFamily) -> Self {
        if self.family != Some(family) {
            self = self.meta(MetaKey::Nfproto, FIRST).equals(&[family.number()]);
            self.family = Some(family);
        }
        self
    }

    /// Matches a transport protocol.
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        self.meta(MetaKey::L4Proto, FIRST).equals(&[protocol])
    }

    /// Matches packets from `net`.
    #[must_use]
    pub fn source_in(self, net: IpNet) -> Self {
        self.address_in(Load::Source(IpFamily::of(net.addr())), net)
    }

    /// Matches packets to `net`.
    #[must_use]
    pub fn destination_in(self, net: IpNet) -> Self {
        self.address_in(Load::Destination(IpFamily::of(net.addr())), net)
    }

    /// Matches packets that came in by another interface than `lo`.
    #[must_use]
    pub fn not_in_by_loopback(self) -> Self {
        self.meta(MetaKey::Iif, FIRST).compare(Operator::NotEqual, &LOOPBACK.to_ne_bytes())
    }

    /// Matches packets that go out by `lo`.
    #[must_use]
    pub fn out_by_loopback(self) -> Self {
        self.meta(MetaKey::Oif, FIRST).equals(&LOOPBACK.to_ne_bytes())
    }

    /// Matches packets to an address of this host.
    #[must_use]
    pub fn to_this_host(self) -> Self {
        let attributes = vec![
            number(NFTA_FIB_DREG, FIRST.into()),
            number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE),
            number(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR),
        ];
        self.other("fib", attributes).equals(&RTN_LOCAL.to_ne_bytes())
    }

    /// Matches packets of a known flow, or about one.
    #[must_use]
    pub fn established_or_related(self) -> Self {
        self.conntrack(NFT_CT_STATE, ESTABLISHED_OR_RELATED)
    }

    /// Matches packets of a flow whose destination was rewritten.
    #[must_use]
    pub fn destination_rewritten(self) -> Self {
        self.conntrack(NFT_CT_STATUS, DESTINATION_REWRITTEN)
    }

    /// Matches packets whose `key` is in `set`.
    #[must_use]
    pub fn found_in(self, key: &[Load], set: &Set) -> Self {
        self.load(key).lookup(set, Vec::new())
    }

    /// Matches packets whose `key` is not in `set`.
    #[must_use]
    pub fn not_in(self, key: &[Load], set: &Set) -> Self {
        self.load(key).lookup(set, vec![Lookup::Flags(NFT_LOOKUP_F_INV)])
    }

    /// Rewrites the destination to what `map` gives for `key`: an address of `family`, and a
    /// port if the map gives one. Packets whose key is not in the map go on to the next rule.
    #[must_use]
    pub fn rewrite_destination(self, family: IpFamily, key: &[Load], map: &Set) -> Self {
        let mut nat = vec![
            number(NFTA_NAT_TYPE, NFT_NAT_DNAT),
            number(NFTA_NAT_FAMILY, u32::from(family.number())),
            number(NFTA_NAT_REG_ADDR_MIN, FIRST.into()),
        ];
        if map.data.len() > 1 {
            let words = if family == IpFamily::V4 { 1 } else { 4 };
            nat.push(number(NFTA_NAT_REG_PROTO_MIN, register(words).into()));
        }
        self.family(family)
            .load(key)
            .lookup(map, vec![Lookup::DestinationRegister(FIRST)])
            .other("nat", nat)
    }

    /// Gives the packet the address of the interface it leaves by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.other("masq", Vec::new())
    }

    /// Counts the packets that got this far.
    #[must_use]
    pub fn counter(self) -> Self {
        self.other("counter", Vec::new())
    }

    /// Decides.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        let mut attributes = vec![VerdictAttribute::Code(verdict.code())];
        if let Verdict::Jump(chain) = verdict {
            attributes.push(VerdictAttribute::Chain(chain.to_owned()));
        }
        self.with(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(attributes)),
        ]))
    }

    pub(super) fn attributes(&self, table: &str, chain: &str) -> Vec<RuleAttribute> {
        let expressions: Vec<_> =
            self.expressions.iter().cloned().map(ListAttribute::from).collect();
        let mut attributes = vec![
            RuleAttribute::Table(table.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
        ];
        attributes.extend(self.comment.map(|text| RuleAttribute::UserData(comment(text))));
        attributes
    }

    fn with(mut self, expression: Expressions) -> Self {
        self.expressions.push(expression);
        self
    }

    fn other(self, name: &str, attributes: Vec<DefaultNla>) -> Self {
        self.with(Expressions::Other { expression_type: name.to_owned(), attributes })
    }

    fn meta(self, key: MetaKey, into: Register) -> Self {
        self.with(Expressions::Meta(vec![Meta::DestinationRegister(into), Meta::Key(key)]))
    }

    fn payload(self, base: u32, offset: u32, length: u32, into: Register) -> Self {
        self.with(Expressions::Payload(vec![
            Payload::DestinationRegister(into),
            Payload::Base(base),
            Payload::Offset(offset),
            Payload::Len(length),
        ]))
    }

    fn equals(self, value: &[u8]) -> Self {
        self.compare(Operator::Equal, value)
    }

    fn compare(self, operator: Operator, value: &[u8]) -> Self {
        self.with(Expressions::Cmp(vec![
            Cmp::SourceRegister(FIRST),
            Cmp::Op(operator),
            Cmp::Data(DataAttribute::Value(value.to_vec())),
        ]))
    }

    fn masked(self, mask: Vec<u8>) -> Self {
        let zero = vec![0; mask.len()];
        self.with(Expressions::Bitwise(vec![
            Bitwise::SourceRegister(FIRST),
            Bitwise::DestinationRegister(FIRST),
            Bitwise::Length(u32::try_from(mask.len()).unwrap_or(0)),
            Bitwise::Mask(DataAttribute::Value(mask)),
            Bitwise::Xor(DataAttribute::Value(zero)),
        ]))
    }

    fn address_in(self, address: Load, net: IpNet) -> Self {
        let net = net.trunc();
        self.load(&[address]).masked(octets(net.netmask())).equals(&octets(net.addr()))
    }

    fn conntrack(self, key: u32, bits: u32) -> Self {
        self.conntrack_bits(key, bits).compare(Operator::NotEqual, &0u32.to_ne_bytes())
    }

    fn conntrack_bits(self, key: u32, bits: u32) -> Self {
        self.other("ct", vec![number(NFTA_CT_DREG, FIRST.into()), number(NFTA_CT_KEY, key)])
            .masked(bits.to_ne_bytes().to_vec())
    }

    fn lookup(self, set: &Set, extra: Vec<Lookup>) -> Self {
        let mut attributes = vec![Lookup::Set(set.name.to_owned()), Lookup::SourceRegister(FIRST)];
        attributes.extend(extra);
        self.with(Expressions::Lookup(attributes))
    }

    /// Loads `key` into consecutive registers, each field starting a new 32-bit word.
    fn load(mut self, key: &[Load]) -> Self {
        if let Some(family) = key.iter().find_map(|load| load.family()) {
            self = self.family(family);
        }
        let mut word = 0;
        for load in key {
            self = self.load_one(*load, register(word));
            word += load.words();
        }
        self
    }

    fn load_one(self, load: Load, into: Register) -> Self {
        const NETWORK: u32 = NFT_PAYLOAD_NETWORK_HEADER;
        match load {
            Load::Source(IpFamily::V4) => self.payload(NETWORK, 12, 4, into),
            Load::Source(IpFamily::V6) => self.payload(NETWORK, 8, 16, into),
            Load::Destination(IpFamily::V4) => self.payload(NETWORK, 16, 4, into),
            Load::Destination(IpFamily::V6) => self.payload(NETWORK, 24, 16, into),
            Load::Protocol => self.meta(MetaKey::L4Proto, into),
            Load::DestinationPort => self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, into),
            Load::InInterface => self.meta(MetaKey::Iifname, into),
            Load::OutInterface => self.meta(MetaKey::Oifname, into),
        }
    }
}

/// The register that starts at 32-bit word `word` (`NFT_REG32_00` is number 8).
fn register(word: u32) -> Register {
    Register::from(8 + word)
}

fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// `nft` keeps comments as type, length and a zero-terminated string in the rule's user data.
fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![NFTNL_UDATA_RULE_COMMENT, length];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

// === impl Load ===

impl Load {
    fn family(self) -> Option<IpFamily> {
        match self {
            Self::Source(family) | Self::Destination(family) => Some(family),
            _ => None,
        }
    }

    fn words(self) -> u32 {
        match self {
            Self::Source(IpFamily::V4) | Self::Destination(IpFamily::V4) => 1,
            Self::Protocol | Self::DestinationPort => 1,
            Self::Source(IpFamily::V6) | Self::Destination(IpFamily::V6) => 4,
            Self::InInterface | Self::OutInterface => 4,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    fn code(self) -> Code {
        match self {
            Self::Drop => Code::Other(0),
            Self::Accept => Code::Other(1),
            Self::Return => Code::Return,
            Self::Jump(_) => Code::Jump,
        }
    }
}
