//! Transactions: changes collected, then committed in one write.

use std::borrow::Borrow;
use std::thread;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetElementList, SetElementMessage,
    SetMessage, TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::chain::Chain;
use super::rule::Rule;
use super::set::{Element, Set};
use crate::error::{Error, Result};
use crate::netlink::{BatchFailure, Netlink};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
/// An attribute's length has 16 bits; an element takes at most 200 bytes, so a list closed at
/// this size never passes them.
const LIST_LIMIT: usize = 60_000;
/// A transaction is refused with EBUSY while a set is being resized and with EAGAIN or EINTR
/// when another writer got in between; all pass within milliseconds.
const PATIENCE: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(25)];

/// Changes to one table, applied together or not at all.
#[derive(Debug)]
pub struct Batch {
    table: String,
    changes: Vec<Change>,
    sets: u32,
}

/// Who may change a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Anyone with the right to change nftables.
    #[default]
    Shared,
    /// Only the netlink socket that made it, so `nft flush ruleset` by others passes it by; it
    /// outlives the socket, and the next one to make it takes it over. Linux 6.9.
    Owned,
}

#[derive(Debug, Clone)]
struct Change {
    message: NfTablesMessage,
    flags: u16,
    what: String,
}

// === impl Batch ===

impl Batch {
    /// An empty transaction on table `inet {table}`.
    pub fn new(table: impl Into<String>) -> Self {
        Self { table: table.into(), changes: Vec::new(), sets: 0 }
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Makes the table if it does not exist.
    pub fn add_table(&mut self, ownership: Ownership) {
        let mut attributes = vec![TableAttribute::Name(self.table.clone())];
        if ownership == Ownership::Owned {
            // Never one without the other: an owned table that does not persist dies with us.
            attributes.push(TableAttribute::Flags(TableFlags::Owner | TableFlags::Persisent));
        }
        let message = NfTablesMessage::NewTable(TableMessage { attributes });
        self.push(message, NLM_F_CREATE, String::from("add the table"));
    }

    /// Deletes the table with everything in it; refused if it does not exist.
    pub fn delete_table(&mut self) {
        let attributes = vec![TableAttribute::Name(self.table.clone())];
        let message = NfTablesMessage::DeleteTable(TableMessage { attributes });
        self.push(message, 0, String::from("delete the table"));
    }

    /// Makes a chain; one that is there already must hang on the same hook and keeps its rules.
    pub fn add_chain(&mut self, chain: &Chain) {
        let attributes = chain.attributes(&self.table);
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.push(message, NLM_F_CREATE, format!("add chain {}", chain.name));
    }

    /// Makes a set or map; one that is there already must be of the same type and keeps its
    /// elements.
    pub fn add_set(&mut self, set: &Set) {
        self.sets += 1;
        let attributes = set.attributes(&self.table, self.sets);
        let message = NfTablesMessage::NewSet(SetMessage { attributes });
        self.push(message, NLM_F_CREATE, format!("add set {}", set.name));
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &Chain, rule: &Rule) {
        let attributes = rule.attributes(&self.table, chain.name);
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        let what = format!("add a rule to chain {}", chain.name);
        self.push(message, NLM_F_CREATE | NLM_F_APPEND, what);
    }

    /// Deletes every rule of every chain.
    pub fn flush_rules(&mut self) {
        let attributes = vec![RuleAttribute::Table(self.table.clone())];
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        self.push(message, 0, String::from("delete all rules"));
    }

    /// Deletes every element of a set.
    pub fn flush_set(&mut self, set: &Set) {
        let attributes = vec![
            SetElementList::Table(self.table.clone()),
            SetElementList::Set(set.name.to_owned()),
        ];
        let message = NfTablesMessage::DeleteSetElement(SetElementMessage { attributes });
        self.push(message, 0, format!("empty {}", set.name));
    }

    /// Adds elements to a set; one that is there already with the same data changes nothing.
    pub fn add_elements(
        &mut self,
        set: &Set,
        elements: impl IntoIterator<Item = impl Borrow<Element>>,
    ) {
        self.elements(set, elements, true);
    }

    /// Deletes elements from a set; refused if one is not there.
    pub fn delete_elements(
        &mut self,
        set: &Set,
        elements: impl IntoIterator<Item = impl Borrow<Element>>,
    ) {
        self.elements(set, elements, false);
    }

    /// Has the kernel apply everything, or nothing.
    ///
    /// # Errors
    /// What the kernel refused first. After anything but a refusal (no answer, no buffers) it is
    /// unknown whether the transaction was applied.
    pub fn commit(self, netlink: &mut Netlink) -> Result<()> {
        let mut waits = PATIENCE.iter();
        loop {
            match (self.send(netlink, true), waits.next()) {
                (Err(error), Some(wait)) if passes_by_itself(&error) => thread::sleep(*wait),
                (result, _) => return result,
            }
        }
    }

    /// Has the kernel check everything and apply nothing.
    ///
    /// # Errors
    /// What the kernel would refuse first.
    pub fn check(self, netlink: &mut Netlink) -> Result<()> {
        // A batch without its end is validated, then aborted; `nft --check` does the same.
        self.send(netlink, false)
    }

    fn elements(
        &mut self,
        set: &Set,
        elements: impl IntoIterator<Item = impl Borrow<Element>>,
        add: bool,
    ) {
        let mut list = Vec::new();
        for element in elements {
            set.encode(&mut list, element.borrow(), add);
            if list.len() >= LIST_LIMIT {
                self.push_elements(set, std::mem::take(&mut list), add);
            }
        }
        if !list.is_empty() {
            self.push_elements(set, list, add);
        }
    }

    fn push_elements(&mut self, set: &Set, list: Vec<u8>, add: bool) {
        let attributes = vec![
            SetElementList::Table(self.table.clone()),
            SetElementList::Set(set.name.to_owned()),
            SetElementList::Other(DefaultNla::new(
                NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED,
                list,
            )),
        ];
        let message = SetElementMessage { attributes };
        if add {
            let what = format!("add elements to {}", set.name);
            self.push(NfTablesMessage::NewSetElement(message), NLM_F_CREATE, what);
        } else {
            let what = format!("delete elements from {}", set.name);
            self.push(NfTablesMessage::DeleteSetElement(message), 0, what);
        }
    }

    fn push(&mut self, message: NfTablesMessage, flags: u16, what: String) {
        self.changes.push(Change { message, flags, what });
    }

    fn send(&self, netlink: &mut Netlink, end: bool) -> Result<()> {
        let Some(last) = self.changes.len().checked_sub(1) else { return Ok(()) };
        let mut messages = Vec::with_capacity(self.changes.len() + 2);
        messages.push((control(ControlMessage::BatchBegin), 0));
        for (index, change) in self.changes.iter().enumerate() {
            // Refusals are reported for every message; one acknowledgement tells of success.
            let flags = change.flags | if index == last { NLM_F_ACK } else { 0 };
            messages.push((inet(change.message.clone()), flags));
        }
        if end {
            messages.push((control(ControlMessage::BatchEnd), 0));
        }
        netlink.batch("change nftables", messages).map_err(|failure| self.explain(failure))
    }

    fn explain(&self, failure: BatchFailure) -> Error {
        let what = failure.index.checked_sub(1).and_then(|index| self.changes.get(index));
        let what = what.map_or("commit", |change| change.what.as_str());
        match failure.error {
            Error::Kernel { source, .. } => {
                Error::kernel(format!("change nftables table inet {}: {what}", self.table), source)
            }
            other => other,
        }
    }
}

fn passes_by_itself(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EBUSY | libc::EAGAIN | libc::EINTR))
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    NetfilterMessage::new(header, message)
}

pub(super) fn inet(message: impl Into<NetfilterMessageInner>) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}
