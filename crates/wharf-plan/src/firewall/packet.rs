//! The packets that are sent through a rule set in thought.

use std::net::IpAddr;

use wharf_spec::{PortRange, Proto};

use super::field::{Field, Value};
use super::ruleset::{Family, Hook};

/// Where the kernel rewrites destinations (`NF_IP_PRI_NAT_DST`); chains at that hook with a higher
/// priority see what it was rewritten to.
const REWRITING: i32 = -100;
const STATE_ESTABLISHED: u32 = 2;
const STATE_NEW: u32 = 8;
/// `IPS_DST_NAT`.
const STATUS_REWRITTEN: u32 = 1 << 5;
/// `XT_CONNTRACK_STATE_DNAT`.
const STATE_REWRITTEN: u32 = 1 << 7;
const RTN_UNICAST: u32 = 1;
const RTN_LOCAL: u32 = 2;
const SYN: u32 = 2;

/// A packet, as far as it is known; what is `None` is not known, or not the same for all packets
/// that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The family.
    pub family: Family,
    /// The transport protocol.
    pub proto: Option<Proto>,
    /// The interface it came in by.
    pub in_interface: Option<String>,
    /// The interface it goes out by.
    pub out_interface: Option<String>,
    /// Where it comes from.
    pub source: Option<IpAddr>,
    /// The port it comes from.
    pub source_ports: Option<PortRange>,
    /// Where it goes, after rewriting.
    pub destination: Option<IpAddr>,
    /// The port it goes to, after rewriting; a range stands for all its ports.
    pub destination_ports: Option<PortRange>,
    /// What its flow's first packet was sent to, before rewriting.
    pub asked_address: Option<IpAddr>,
    /// The port its flow's first packet was sent to, before rewriting.
    pub asked_ports: Option<PortRange>,
    /// Whether the host knows its flow.
    pub state: FlowState,
    /// Whether it answers the one that began the flow.
    pub is_reply: bool,
    /// Whether the kernel rewrote the flow's destination.
    pub destination_rewritten: bool,
    /// Its mark on arrival.
    pub mark: u32,
}

/// Whether a packet begins a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// It does.
    New,
    /// Its flow has been answered.
    Established,
}

// === impl Packet ===

impl Packet {
    /// The first packet of a flow of `family`, of which nothing else is known.
    pub fn new(family: Family) -> Self {
        Self {
            family,
            proto: None,
            in_interface: None,
            out_interface: None,
            source: None,
            source_ports: None,
            destination: None,
            destination_ports: None,
            asked_address: None,
            asked_ports: None,
            state: FlowState::New,
            is_reply: false,
            destination_rewritten: false,
            mark: 0,
        }
    }

    /// What chains at `hook` with `priority` see in `field`; `mark` may have changed on the way.
    pub(super) fn value(&self, field: Field, hook: Hook, priority: i32, mark: u32) -> Value {
        let before = self.is_before_rewriting(hook, priority);
        match field {
            Field::Family => Value::one(if self.is_v4() { 2u32 } else { 10 }),
            Field::Protocol => Value::maybe(self.proto.map(Proto::number)),
            Field::InInterface => Value::interface(self.in_interface.as_deref()),
            Field::OutInterface => self.leaving(hook),
            Field::Source4 => self.address(self.source, true),
            Field::Source6 => self.address(self.source, false),
            Field::Destination4 => self.address(self.aim(before), true),
            Field::Destination6 => self.address(self.aim(before), false),
            Field::AskedAddress4 => self.address(self.asked_address, true),
            Field::AskedAddress6 => self.address(self.asked_address, false),
            Field::SourcePort => ports(self.source_ports),
            Field::DestinationPort if before => ports(self.asked_ports),
            Field::DestinationPort => ports(self.destination_ports),
            Field::AskedPort => ports(self.asked_ports),
            Field::State => Value::one(self.state_bit()),
            Field::StateOrRewritten => {
                Value::one(self.state_bit() | self.rewritten(before, STATE_REWRITTEN))
            }
            Field::Status => Value::one(self.rewritten(before, STATUS_REWRITTEN)),
            Field::Direction => Value::one(u32::from(self.is_reply)),
            Field::SourceKind => kind(hook == Hook::Output),
            Field::DestinationKind => kind(self.is_for_us(hook, before)),
            Field::Mark => Value::one(mark),
            Field::FlowMark | Field::PacketType => Value::one(0u32),
            Field::TcpFlags => self.tcp_flags(),
            Field::IcmpType => Value::Absent,
        }
    }

    fn is_v4(&self) -> bool {
        self.family == Family::V4
    }

    /// The first packet's destination is rewritten on arrival, and what asks before that sees what
    /// the client asked for.
    fn is_before_rewriting(&self, hook: Hook, priority: i32) -> bool {
        let rewrites = hook == Hook::Prerouting || hook == Hook::Output;
        rewrites && priority <= REWRITING && self.destination_rewritten && !self.is_reply
    }

    fn leaving(&self, hook: Hook) -> Value {
        match hook {
            Hook::Prerouting | Hook::Input => Value::interface(Some("")),
            _ => Value::interface(self.out_interface.as_deref()),
        }
    }

    fn address(&self, address: Option<IpAddr>, v4: bool) -> Value {
        if v4 == self.is_v4() { Value::address(address, v4) } else { Value::Absent }
    }

    fn aim(&self, before: bool) -> Option<IpAddr> {
        if before { self.asked_address } else { self.destination }
    }

    fn state_bit(&self) -> u32 {
        match self.state {
            FlowState::New => STATE_NEW,
            FlowState::Established => STATE_ESTABLISHED,
        }
    }

    fn rewritten(&self, before: bool, bit: u32) -> u32 {
        let noted = self.destination_rewritten && !(before && self.state == FlowState::New);
        if noted { bit } else { 0 }
    }

    fn is_for_us(&self, hook: Hook, before: bool) -> bool {
        match hook {
            Hook::Input => true,
            Hook::Prerouting => before || !(self.destination_rewritten || self.is_reply),
            _ => self.destination.is_some_and(|address| address.is_loopback()),
        }
    }

    /// What comes after the handshake has other flags from one packet to the next.
    fn tcp_flags(&self) -> Value {
        match (self.proto, self.state) {
            (Some(Proto::Tcp), FlowState::New) => Value::one(SYN),
            (Some(Proto::Tcp) | None, _) => Value::Unknown,
            _ => Value::Absent,
        }
    }
}

fn kind(local: bool) -> Value {
    Value::one(if local { RTN_LOCAL } else { RTN_UNICAST })
}

fn ports(range: Option<PortRange>) -> Value {
    range.map_or(Value::Unknown, |range| Value::Between(range.first().into(), range.last().into()))
}
