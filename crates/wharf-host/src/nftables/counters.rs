//! What rules have counted.

use std::collections::BTreeMap;

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_netfilter::nftables::{
    ExpressionAttribute, Expressions, ListAttribute, RuleAttribute, RuleMessage,
};

use super::read::list_rules;
use super::rule::NFTNL_UDATA_RULE_COMMENT;
use crate::error::Result;
use crate::netlink::Netlink;

const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

/// What passed a counter since its rule was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

/// The counters of table `inet {table}` by the comments of their rules; rules of one comment are
/// counted together, those without a comment not at all.
pub fn counters(netlink: &mut Netlink, table: &str) -> Result<BTreeMap<String, Counted>> {
    let mut counters: BTreeMap<String, Counted> = BTreeMap::new();
    for rule in list_rules(netlink, table)? {
        let (Some(comment), Some(counted)) = (comment(&rule), counted(&rule)) else { continue };
        let sum = counters.entry(comment).or_default();
        sum.packets = sum.packets.saturating_add(counted.packets);
        sum.bytes = sum.bytes.saturating_add(counted.bytes);
    }
    Ok(counters)
}

fn comment(rule: &RuleMessage) -> Option<String> {
    let data = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::UserData(data) => Some(data.as_slice()),
        _ => None,
    })?;
    let [NFTNL_UDATA_RULE_COMMENT, _, text @ ..] = data else { return None };
    let text = text.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn counted(rule: &RuleMessage) -> Option<Counted> {
    let expressions = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Expressions(list) => Some(list),
        _ => None,
    })?;
    let attributes = expressions.iter().find_map(|item| match item {
        ListAttribute::Element(expression) => expression.iter().find_map(counter),
        _ => None,
    })?;
    let number = |kind| attributes.iter().find(|attribute| attribute.kind() == kind).map(value);
    Some(Counted { packets: number(NFTA_COUNTER_PACKETS)?, bytes: number(NFTA_COUNTER_BYTES)? })
}

fn counter(attribute: &ExpressionAttribute) -> Option<&[DefaultNla]> {
    match attribute {
        ExpressionAttribute::Data(Expressions::Other { expression_type, attributes })
            if expression_type == "counter" =>
        {
            Some(attributes)
        }
        _ => None,
    }
}

fn value(attribute: &DefaultNla) -> u64 {
    let mut bytes = [0; 8];
    if attribute.value_len() == bytes.len() {
        attribute.emit_value(&mut bytes);
    }
    u64::from_be_bytes(bytes)
}
