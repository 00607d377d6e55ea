//! Reading back what is in a table.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use netlink_packet_core::Nla;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, ListAttribute, NfTablesMessage, RuleAttribute,
    RuleMessage, SetElementAttribute, SetElementFlags, SetElementList, SetElementMessage,
    TableAttribute, TableMessage,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};

use super::batch::{Ownership, inet};
use super::set::{Datum, Element, Set};
use crate::error::{Error, Result};
use crate::netlink::Netlink;

const NFTA_DATA_VALUE: u16 = 1;
/// How often a listing with doubles is repeated; a table of 60,000 grows in a few milliseconds.
const LISTINGS: usize = 5;
const LISTING_PAUSE: Duration = Duration::from_millis(10);

/// A table that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableState {
    /// Who may change it.
    pub ownership: Ownership,
    /// The number of the socket that owns it ([`Netlink::port`]), while that socket is open.
    pub owner: Option<u32>,
}

/// Looks for table `inet {name}`.
pub fn table(netlink: &mut Netlink, name: &str) -> Result<Option<TableState>> {
    let request = NfTablesMessage::GetTable(TableMessage {
        attributes: vec![TableAttribute::Name(name.to_owned())],
    });
    let answers = match netlink.query(&format!("read table inet {name}"), inet(request), 0) {
        Err(error) if error.is_not_found() => return Ok(None),
        answers => answers?,
    };
    Ok(answers.into_iter().find_map(|answer| match nftables(answer) {
        Some(NfTablesMessage::NewTable(table)) => Some(table_state(&table)),
        _ => None,
    }))
}

/// The chains of table `inet {table}`, each with its number of rules.
pub fn chains(netlink: &mut Netlink, table: &str) -> Result<BTreeMap<String, usize>> {
    let request = NfTablesMessage::GetChain(ChainMessage {
        attributes: vec![ChainAttribute::Table(table.to_owned())],
    });
    let answers = netlink.dump(&format!("list the chains of inet {table}"), inet(request))?;
    // Kernels differ in whether they heed the table when listing chains, so it is checked here.
    let mut chains: BTreeMap<String, usize> = answers
        .into_iter()
        .filter_map(|answer| match nftables(answer) {
            Some(NfTablesMessage::NewChain(chain)) => chain_of(&chain, table),
            _ => None,
        })
        .map(|name| (name, 0))
        .collect();
    for chain in rules(netlink, table)? {
        *chains.entry(chain).or_default() += 1;
    }
    Ok(chains)
}

/// The elements of `set` in table `inet {table}`, in order.
///
/// A hash table that grows while it is listed shows some elements twice and others not at all,
/// and the kernel does not say so; a listing with doubles is therefore made again, a few times.
pub fn elements(netlink: &mut Netlink, table: &str, set: &Set) -> Result<Vec<Element>> {
    for _ in 0..LISTINGS {
        let found = list_elements(netlink, table, set)?;
        if !found.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Ok(found);
        }
        thread::sleep(LISTING_PAUSE);
    }
    let mut found = list_elements(netlink, table, set)?;
    found.dedup();
    Ok(found)
}

fn list_elements(netlink: &mut Netlink, table: &str, set: &Set) -> Result<Vec<Element>> {
    let action = format!("list the elements of {} in inet {table}", set.name);
    let request = NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(set.name.to_owned()),
        ],
    });
    let mut found = Vec::new();
    for answer in netlink.dump(&action, inet(request))? {
        let Some(NfTablesMessage::NewSetElement(message)) = nftables(answer) else { continue };
        for attributes in message.attributes.into_iter().flat_map(items) {
            let unreadable = || Error::answer(action.as_str(), "an element without a key");
            found.push(read_element(&attributes).ok_or_else(unreadable)?);
        }
    }
    Ok(if set.interval && !set.ranges_in_one_element() { join_ends(found) } else { plain(found) })
}

fn items(attribute: SetElementList) -> impl Iterator<Item = Vec<SetElementAttribute>> {
    let list = match attribute {
        SetElementList::Elements(list) => list,
        _ => Vec::new(),
    };
    list.into_iter().filter_map(|item| match item {
        ListAttribute::Element(attributes) => Some(attributes),
        _ => None,
    })
}

/// The chain of each rule of a table.
fn rules(netlink: &mut Netlink, table: &str) -> Result<Vec<String>> {
    let rules = list_rules(netlink, table)?;
    Ok(rules.iter().filter_map(|rule| chain_of_rule(rule, table)).collect())
}

pub(super) fn list_rules(netlink: &mut Netlink, table: &str) -> Result<Vec<RuleMessage>> {
    let request = NfTablesMessage::GetRule(RuleMessage {
        attributes: vec![RuleAttribute::Table(table.to_owned())],
    });
    let answers = netlink.dump(&format!("list the rules of inet {table}"), inet(request))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match nftables(answer) {
            Some(NfTablesMessage::NewRule(rule)) => Some(rule),
            _ => None,
        })
        .collect())
}

pub(super) fn nftables(message: NetfilterMessage) -> Option<NfTablesMessage> {
    match message.inner {
        NetfilterMessageInner::NfTables(message) => Some(message),
        _ => None,
    }
}

fn table_state(message: &TableMessage) -> TableState {
    let owner = message.attributes.iter().find_map(|attribute| match attribute {
        TableAttribute::Owner(port) => Some(*port),
        _ => None,
    });
    let ownership = if owner.is_some() { Ownership::Owned } else { Ownership::Shared };
    TableState { ownership, owner }
}

fn chain_of(message: &ChainMessage, table: &str) -> Option<String> {
    let ours = |a: &ChainAttribute| matches!(a, ChainAttribute::Table(name) if name == table);
    message.attributes.iter().any(ours).then_some(())?;
    message.attributes.iter().find_map(|attribute| match attribute {
        ChainAttribute::Name(name) => Some(name.clone()),
        _ => None,
    })
}

fn chain_of_rule(message: &RuleMessage, table: &str) -> Option<String> {
    let ours = |a: &RuleAttribute| matches!(a, RuleAttribute::Table(name) if name == table);
    message.attributes.iter().any(ours).then_some(())?;
    message.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Chain(name) => Some(name.clone()),
        _ => None,
    })
}

/// An element as the kernel lists it; in a tree of ranges, the ends come as elements of their own.
struct Listed {
    element: Element,
    ends_a_range: bool,
}

fn read_element(attributes: &[SetElementAttribute]) -> Option<Listed> {
    let mut key = None;
    let (mut end, mut data, mut ends_a_range) = (None, None, false);
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(value)) => key = Datum::from_slice(value),
            SetElementAttribute::Data(DataAttribute::Value(value)) => {
                data = Datum::from_slice(value);
            }
            SetElementAttribute::KeyEnd(values) => {
                end = values.iter().find(|v| v.kind() == NFTA_DATA_VALUE).and_then(|value| {
                    let mut bytes = vec![0; value.value_len()];
                    value.emit_value(&mut bytes);
                    Datum::from_slice(&bytes)
                });
            }
            SetElementAttribute::Flags(flags) => {
                ends_a_range = flags.contains(SetElementFlags::IntervalEnd);
            }
            _ => {}
        }
    }
    Some(Listed { element: Element { key: key?, end, data }, ends_a_range })
}

fn plain(found: Vec<Listed>) -> Vec<Element> {
    let mut elements: Vec<Element> = found.into_iter().map(|listed| listed.element).collect();
    elements.sort_unstable();
    elements
}

/// Puts the starts and ends of ranges together again.
fn join_ends(found: Vec<Listed>) -> Vec<Element> {
    let (ends, starts): (Vec<_>, Vec<_>) = found.into_iter().partition(|l| l.ends_a_range);
    let mut ends: Vec<Datum> = ends.into_iter().map(|listed| listed.element.key).collect();
    ends.sort_unstable();
    let last = |key: Datum| {
        let after = ends.get(ends.partition_point(|end| *end <= key));
        after.map_or_else(|| key.last_of_its_length(), |after| after.predecessor().unwrap_or(key))
    };
    let mut elements: Vec<Element> = starts
        .into_iter()
        .map(|listed| Element { end: Some(last(listed.element.key)), ..listed.element })
        .collect();
    elements.sort_unstable();
    elements
}
