//! Policy rules of one form: packets with this mark, or from these ports, ask that table.

use std::fmt;

use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol};
use serde::{Deserialize, Serialize};

/// The input interface the kernel gives to packets that have none yet.
const OWN: &str = "lo";

/// A rule that sends packets with a mark, or from certain ports, to a routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Whether it is for IPv6; rules are kept for each family apart.
    pub ipv6: bool,
    /// The mark.
    pub mark: u32,
    /// The bits of the mark that count; 0 means that the mark does not matter.
    pub mask: u32,
    /// Only packets this host sends, and the question where an answer to an arrived packet would
    /// go (`rp_filter`); never an arrived packet itself.
    pub own: bool,
    /// Only UDP datagrams from these ports, first and last.
    pub udp_source_ports: Option<(u16, u16)>,
    /// The table to ask.
    pub table: u32,
    /// Its place in the order, lowest first; without one the kernel puts it in front of the last.
    pub priority: Option<u32>,
}

// === impl Rule ===

impl Rule {
    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = if self.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or_default();
        if self.mask != 0 {
            message.attributes.push(RuleAttribute::FwMark(self.mark));
            message.attributes.push(RuleAttribute::FwMask(self.mask));
        }
        message.attributes.extend(self.own.then(|| RuleAttribute::Iifname(OWN.to_owned())));
        if let Some((start, end)) = self.udp_source_ports {
            let ports = RulePortRange { start, end };
            message.attributes.push(RuleAttribute::IpProtocol(IpProtocol::Udp));
            message.attributes.push(RuleAttribute::SourcePortRange(ports));
        }
        message.attributes.push(RuleAttribute::Table(self.table));
        message.attributes.extend(self.priority.map(RuleAttribute::Priority));
        message
    }

    /// `None` for rules of any other form, those every host has included.
    pub(super) fn read(message: &RuleMessage) -> Option<Self> {
        let mut rule = Self {
            ipv6: message.header.family == AddressFamily::Inet6,
            mark: 0,
            mask: 0,
            own: false,
            udp_source_ports: None,
            table: u32::from(message.header.table),
            priority: None,
        };
        message.attributes.iter().for_each(|attribute| rule.note(attribute));
        let selects = rule.mask != 0 || rule.udp_source_ports.is_some();
        (selects && message.header.action == RuleAction::ToTable).then_some(rule)
    }

    fn note(&mut self, attribute: &RuleAttribute) {
        match attribute {
            RuleAttribute::FwMark(value) => self.mark = *value,
            RuleAttribute::FwMask(value) => self.mask = *value,
            RuleAttribute::Iifname(name) => self.own = name == OWN,
            RuleAttribute::SourcePortRange(ports) => {
                self.udp_source_ports = Some((ports.start, ports.end));
            }
            RuleAttribute::Table(value) => self.table = *value,
            RuleAttribute::Priority(value) => self.priority = Some(*value),
            _ => {}
        }
    }
}

/// The place of a rule in the order; the first one of all comes without a number.
pub(super) fn priority_of(message: &RuleMessage) -> u32 {
    let mut numbers = message.attributes.iter().filter_map(|attribute| match attribute {
        RuleAttribute::Priority(value) => Some(*value),
        _ => None,
    });
    numbers.next().unwrap_or_default()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ipv6 { "IPv6" } else { "IPv4" })?;
        if self.mask != 0 {
            write!(f, " mark {:#x}/{:#x}", self.mark, self.mask)?;
        }
        if self.own {
            f.write_str(" of this host")?;
        }
        if let Some((first, last)) = self.udp_source_ports {
            write!(f, " udp ports {first}-{last}")?;
        }
        write!(f, " to table {}", self.table)
    }
}
