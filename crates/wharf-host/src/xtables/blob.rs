//! A table's block of memory, taken apart.

use std::collections::BTreeMap;

use super::extension::{Condition, Extension, Outcome};
use super::socket::Bytes;
use super::{LegacyChain, LegacyRule, LegacyTable, MaskedAddress};
use crate::error::{Error, Result};
use crate::nftables::IpFamily;

/// `struct xt_entry_target` and `struct xt_entry_match`: length, name, revision.
const EXTENSION: usize = 32;
/// `IP6T_F_PROTO`: without it, the protocol of an IPv6 entry means nothing.
const HAS_PROTOCOL: u8 = 1;
const NF_ACCEPT: i32 = -2;
const NF_DROP: i32 = -1;
const NF_QUEUE: i32 = -4;
const XT_RETURN: i32 = -5;

// Bits of `invflags`.
const NOT_IN: u8 = 0x01;
const NOT_OUT: u8 = 0x02;
const NOT_SOURCE: u8 = 0x08;
const NOT_DESTINATION: u8 = 0x10;
const FRAGMENT: u8 = 0x20;
const NOT_PROTOCOL: u8 = 0x40;

/// Where the parts of `struct ipt_entry` and `struct ip6t_entry` are.
struct Layout {
    address: usize,
    interfaces: usize,
    protocol: usize,
    flags: usize,
    inverted: usize,
    target: usize,
    next: usize,
    length: usize,
    /// `IPT_F_GOTO`, `IP6T_F_GOTO`.
    goto: u8,
}

const V4: Layout = Layout {
    address: 4,
    interfaces: 16,
    protocol: 80,
    flags: 82,
    inverted: 83,
    target: 88,
    next: 90,
    length: 112,
    goto: 2,
};

const V6: Layout = Layout {
    address: 16,
    interfaces: 64,
    protocol: 128,
    flags: 131,
    inverted: 132,
    target: 140,
    next: 142,
    length: 168,
    goto: 4,
};

/// One entry with its place.
struct Entry<'a> {
    at: usize,
    bytes: &'a [u8],
    target: &'a [u8],
    matches: &'a [u8],
}

/// Which chain begins where.
type Heads = BTreeMap<usize, String>;

pub(super) fn table(family: IpFamily, name: &str, bytes: &Bytes) -> Result<LegacyTable> {
    let layout = if family == IpFamily::V4 { &V4 } else { &V6 };
    let unreadable =
        || Error::answer(format!("read table {name} of iptables-legacy"), "its entries overlap");
    let entries = entries(layout, &bytes.entries).ok_or_else(unreadable)?;
    let heads = heads(bytes, &entries);
    let mut chains: BTreeMap<String, LegacyChain> = BTreeMap::new();
    let mut current: Option<&String> = None;
    for (index, entry) in entries.iter().enumerate() {
        let is_head = extension_name(entry.target) == "ERROR";
        if let Some(name) = heads.get(&if is_head { next_of(entry) } else { entry.at }) {
            current = Some(name);
            chains.entry(name.clone()).or_default();
        }
        let Some(chain) = current.and_then(|name| chains.get_mut(name)) else { continue };
        if is_head {
            continue;
        }
        if let Some(hook) = policy_of(bytes, entry.at) {
            chain.hook = Some((hook, verdict(entry.target) != Some(NF_ACCEPT)));
            continue;
        }
        // The last entry of a chain of somebody's own returns, unconditionally.
        let next_is_head =
            entries.get(index + 1).is_none_or(|e| extension_name(e.target) == "ERROR");
        if next_is_head && verdict(entry.target) == Some(XT_RETURN) && chain.hook.is_none() {
            continue;
        }
        chain.rules.push(rule(family, layout, entry, &heads));
    }
    Ok(LegacyTable { family, name: name.to_owned(), chains })
}

fn entries<'a>(layout: &Layout, bytes: &'a [u8]) -> Option<Vec<Entry<'a>>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = bytes.get(at..)?;
        let (target, next) = (short(rest, layout.target)?, short(rest, layout.next)?);
        if target < layout.length || next < target + EXTENSION {
            return None;
        }
        let bytes = rest.get(..next)?;
        found.push(Entry {
            at,
            bytes,
            target: bytes.get(target..)?,
            matches: bytes.get(layout.length..target)?,
        });
        at += next;
    }
    Some(found)
}

/// Built-in chains begin where the table says, others behind an entry with their name.
fn heads(bytes: &Bytes, entries: &[Entry<'_>]) -> Heads {
    let mut heads = Heads::new();
    for entry in entries.iter().filter(|entry| extension_name(entry.target) == "ERROR") {
        let name = entry.target.get(EXTENSION..).map(text).unwrap_or_default();
        heads.insert(next_of(entry), name);
    }
    for (hook, (begin, name)) in (0u32..).zip(bytes.begins.iter().zip(BUILT_IN)) {
        if bytes.hooks & 1 << hook != 0 {
            heads.insert(*begin, name.to_owned());
        }
    }
    heads
}

/// The built-in chains by hook (`NF_INET_*`).
const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

fn next_of(entry: &Entry<'_>) -> usize {
    entry.at + entry.bytes.len()
}

/// The hook whose chain's policy this entry is.
fn policy_of(bytes: &Bytes, at: usize) -> Option<u32> {
    let mut hooks = (0u32..).zip(bytes.policies);
    hooks.find(|(hook, place)| bytes.hooks & 1 << hook != 0 && *place == at).map(|(hook, _)| hook)
}

fn rule(family: IpFamily, layout: &Layout, entry: &Entry<'_>, heads: &Heads) -> LegacyRule {
    let mut conditions = own_conditions(family, layout, entry.bytes);
    let mut comment = None;
    for extension in extensions(entry.matches) {
        match extension.comment() {
            Some(text) => comment = Some(text),
            None => conditions.extend(extension.conditions(family)),
        }
    }
    LegacyRule { conditions, outcome: outcome(layout, entry, heads), comment }
}

/// What an entry asks for without the help of a match.
fn own_conditions(family: IpFamily, layout: &Layout, bytes: &[u8]) -> Vec<Condition> {
    let inverted = bytes.get(layout.inverted).copied().unwrap_or(0);
    let flags = bytes.get(layout.flags).copied().unwrap_or(0);
    let mut found = Vec::new();
    let address = |index: usize| {
        let part = |index: usize| {
            let start = index * layout.address;
            super::extension::address(family, bytes.get(start..start + layout.address)?)
        };
        Some(MaskedAddress { address: part(index)?, mask: part(index + 2)? })
    };
    if let Some(source) = address(0).filter(|it| !it.mask.is_unspecified()) {
        found.push(Condition::Source(source, inverted & NOT_SOURCE != 0));
    }
    if let Some(destination) = address(1).filter(|it| !it.mask.is_unspecified()) {
        found.push(Condition::Destination(destination, inverted & NOT_DESTINATION != 0));
    }
    let interface = |index: usize| {
        let part = |index: usize| {
            let start = layout.interfaces + 16 * index;
            Some(u128::from_be_bytes(bytes.get(start..start + 16)?.try_into().ok()?))
        };
        Some((part(index)?, part(index + 2)?))
    };
    if let Some((name, mask)) = interface(0).filter(|(_, mask)| *mask != 0) {
        found.push(Condition::InInterface { name, mask, negated: inverted & NOT_IN != 0 });
    }
    if let Some((name, mask)) = interface(1).filter(|(_, mask)| *mask != 0) {
        found.push(Condition::OutInterface { name, mask, negated: inverted & NOT_OUT != 0 });
    }
    let protocol = short(bytes, layout.protocol).and_then(|number| u8::try_from(number).ok());
    let counts = family == IpFamily::V4 || flags & HAS_PROTOCOL != 0;
    if let Some(protocol) = protocol.filter(|number| *number != 0 && counts) {
        found.push(Condition::Protocol(protocol, inverted & NOT_PROTOCOL != 0));
    }
    if family == IpFamily::V4 && (flags & 1 != 0 || inverted & FRAGMENT != 0) {
        found.push(Condition::Unknown("fragment".to_owned()));
    }
    found
}

fn extensions(mut bytes: &[u8]) -> Vec<Extension> {
    let mut found = Vec::new();
    while let Some(length) = short(bytes, 0).filter(|length| *length >= EXTENSION) {
        let Some(one) = bytes.get(..length) else { break };
        found.push(extension(one));
        bytes = bytes.get(length..).unwrap_or_default();
    }
    found
}

fn extension(bytes: &[u8]) -> Extension {
    Extension {
        name: extension_name(bytes),
        revision: bytes.get(EXTENSION - 1).copied().unwrap_or(0),
        data: bytes.get(EXTENSION..).unwrap_or_default().to_vec(),
    }
}

fn outcome(layout: &Layout, entry: &Entry<'_>, heads: &Heads) -> Outcome {
    let Some(verdict) = verdict(entry.target) else { return extension(entry.target).outcome() };
    let Ok(place) = usize::try_from(verdict) else {
        return match verdict {
            NF_ACCEPT | NF_QUEUE => Outcome::Accept,
            NF_DROP => Outcome::Drop,
            XT_RETURN => Outcome::Return,
            _ => Outcome::Continue,
        };
    };
    let goes = entry.bytes.get(layout.flags).copied().unwrap_or(0) & layout.goto != 0;
    match heads.get(&place) {
        // A rule without a target is one that jumps to the next.
        _ if place == next_of(entry) => Outcome::Continue,
        Some(chain) if goes => Outcome::Goto(chain.clone()),
        Some(chain) => Outcome::Jump(chain.clone()),
        None => Outcome::Continue,
    }
}

/// The verdict of a standard target: below zero a decision, otherwise a place to go to.
fn verdict(target: &[u8]) -> Option<i32> {
    let standard = extension_name(target).is_empty();
    let word = target.get(EXTENSION..EXTENSION + 4)?.try_into().ok()?;
    standard.then_some(i32::from_ne_bytes(word))
}

fn extension_name(bytes: &[u8]) -> String {
    bytes.get(2..EXTENSION - 1).map(text).unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(usize::from(u16::from_ne_bytes(word)))
}
