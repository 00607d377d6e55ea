//! Policy rules of one form: packets with this mark ask that table.

use std::fmt;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use serde::{Deserialize, Serialize};

/// A rule that sends packets with a mark to a routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Whether it is for IPv6; rules are kept for each family apart.
    pub ipv6: bool,
    /// The mark.
    pub mark: u32,
    /// The bits of the mark that count.
    pub mask: u32,
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
        message.attributes.push(RuleAttribute::FwMark(self.mark));
        message.attributes.push(RuleAttribute::FwMask(self.mask));
        message.attributes.push(RuleAttribute::Table(self.table));
        message.attributes.extend(self.priority.map(RuleAttribute::Priority));
        message
    }

    pub(super) fn read(message: &RuleMessage) -> Option<Self> {
        let mut mark = None;
        let mut rule = Self {
            ipv6: message.header.family == AddressFamily::Inet6,
            mark: 0,
            mask: u32::MAX,
            table: u32::from(message.header.table),
            priority: None,
        };
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::FwMask(value) => rule.mask = *value,
                RuleAttribute::Table(value) => rule.table = *value,
                RuleAttribute::Priority(value) => rule.priority = Some(*value),
                _ => {}
            }
        }
        rule.mark = mark?;
        (message.header.action == RuleAction::ToTable).then_some(rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        write!(f, "{family} mark {:#x}/{:#x} to table {}", self.mark, self.mask, self.table)
    }
}
