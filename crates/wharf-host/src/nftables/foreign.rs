//! The tables of everybody else, read as they are.
//!
//! Rules of others may hold anything the kernel knows, so nothing here insists on understanding
//! it: messages are taken apart attribute by attribute, and an expression of an unknown kind is
//! handed on by its name. What is read has limits, because others may have as many rules as they
//! like and a plan must not wait for them.

mod attributes;
mod expression;
mod message;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::attributes::Attributes;
pub use self::expression::{Compared, Expression, Fall, Register};
use self::message::{Raw, Request};
use super::generation;
use crate::error::{Error, Result};
use crate::link::Links;
use crate::netlink::{Family, Netlink};

const NFT_MSG_GETCHAIN: u8 = 4;
const NFT_MSG_GETRULE: u8 = 7;
const NFT_MSG_GETSET: u8 = 10;
const NFT_MSG_GETSETELEM: u8 = 13;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFT_SET_ELEM_CATCHALL: u32 = 2;
const NFTNL_UDATA_RULE_COMMENT: u8 = 0;
const NF_DROP: u32 = 0;

/// `NFPROTO_INET`, `NFPROTO_IPV4`, `NFPROTO_IPV6`: the families whose chains see our packets.
const FAMILIES: [u8; 3] = [1, 2, 10];
/// A kube-proxy host has tens of thousands of chains and rules, nearly all of them for NAT, whose
/// tables are not read; a firewall written by people has a few thousand.
const MOST_CHAINS: usize = 100_000;
const MOST_RULES: usize = 20_000;
/// Messages of one listing of elements, each with some dozens of them.
const MOST_MESSAGES: usize = 2_000;
/// Lists of addresses to block can be endless; a longer one is left to the kernel.
pub const MOST_ELEMENTS: usize = 20_000;
/// Somebody else's transaction may come between two listings.
const READINGS: usize = 3;

/// What others have in nftables, in the network namespace of the thread that read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Chains of tables that filter.
    pub chains: Vec<ForeignChain>,
    /// Their rules, in order within each chain.
    pub rules: Vec<ForeignRule>,
    /// The sets those rules look into.
    pub sets: Vec<ForeignSet>,
    /// The numbers and names of the interfaces there are.
    pub interfaces: Vec<(u32, String)>,
}

/// A chain of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// The table's family (`NFPROTO_*`).
    pub family: u8,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub name: String,
    /// Where it hangs, if packets enter it by themselves.
    pub base: Option<ForeignBase>,
}

/// Where a chain of somebody else's hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignBase {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// The hook (`NF_INET_*`).
    pub hook: u32,
    /// The order among the chains of a hook.
    pub priority: i32,
    /// Whether packets no rule decides on are dropped.
    pub drops: bool,
}

/// A rule of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRule {
    /// The table's family (`NFPROTO_*`).
    pub family: u8,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub chain: String,
    /// What it does, step by step.
    pub expressions: Vec<Expression>,
    /// The note its author left with it.
    pub comment: Option<String>,
}

/// A set or map of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSet {
    /// The table's family (`NFPROTO_*`).
    pub family: u8,
    /// The table's name.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `NFT_SET_*`: 4 for a set whose elements may be ranges, 8 for a map.
    pub flags: u32,
    /// The length of its keys, in bytes.
    pub key_length: usize,
    /// Its elements; `None` if there are more than [`MOST_ELEMENTS`].
    pub elements: Option<Vec<ForeignElement>>,
}

/// An element as the kernel lists it; in a tree of ranges, ends are elements of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignElement {
    /// The key; `None` for the element that fits everything.
    pub key: Option<Vec<u8>>,
    /// The last key of a range, where it is kept with the first.
    pub key_end: Option<Vec<u8>>,
    /// Whether `key` is the first one past a range.
    pub ends_a_range: bool,
    /// What a map of verdicts has for it.
    pub fall: Option<Fall>,
}

/// Reads what others have in nftables, except table `inet {own}`, in the calling thread's network
/// namespace. Tables that only translate addresses are left out, and so are families that do not
/// see packets of hosts.
///
/// # Errors
/// When the kernel refuses, or there are more chains or rules than can be read in reasonable time.
pub fn read(own: &str) -> Result<Foreign> {
    let mut found = Foreign::default();
    let mut netlink = Netlink::open(Family::Netfilter)?;
    for _ in 0..READINGS {
        let before = generation(&mut netlink)?;
        found = read_once(own)?;
        if generation(&mut netlink)? == before {
            break;
        }
    }
    found.interfaces = Links::open()?.list()?.into_iter().map(|l| (l.index, l.name)).collect();
    Ok(found)
}

fn read_once(own: &str) -> Result<Foreign> {
    // A listing that is given up half way blocks its socket, so each reading has a new one.
    let mut netlink = Netlink::open(Family::Netfilter)?;
    let mut found = Foreign { chains: chains(&mut netlink, own)?, ..Foreign::default() };
    for (family, table) in tables(&found.chains) {
        let known = found.rules.len();
        found.rules.extend(rules(&mut netlink, family, &table, MOST_RULES - known)?);
        let wanted = looked_into(found.rules.get(known..).unwrap_or_default());
        for mut set in sets(&mut netlink, family, &table)? {
            if wanted.contains(&set.name) {
                set.elements = elements(&set)?;
                found.sets.push(set);
            }
        }
    }
    Ok(found)
}

/// The chains of tables with at least one base chain that filters.
fn chains(netlink: &mut Netlink, own: &str) -> Result<Vec<ForeignChain>> {
    let request = Request { kind: NFT_MSG_GETCHAIN, family: 0, names: Vec::new() };
    let answers =
        netlink.dump_at_most("list the chains of nftables", request.raw(), MOST_CHAINS)?;
    let mut chains: Vec<ForeignChain> = answers.iter().filter_map(chain).collect();
    // Family 1 is `inet`, the one our table is of.
    chains.retain(|c| FAMILIES.contains(&c.family) && !(c.family == 1 && c.table == own));
    let filters = |c: &&ForeignChain| c.base.as_ref().is_some_and(|base| base.kind != "nat");
    let keep = tables(chains.iter().filter(filters));
    chains.retain(|c| keep.contains(&(c.family, c.table.clone())));
    Ok(chains)
}

fn tables<'a>(chains: impl IntoIterator<Item = &'a ForeignChain>) -> BTreeSet<(u8, String)> {
    chains.into_iter().map(|chain| (chain.family, chain.table.clone())).collect()
}

fn chain(answer: &Raw) -> Option<ForeignChain> {
    let attributes = answer.attributes();
    Some(ForeignChain {
        family: answer.family,
        table: attributes.text(NFTA_CHAIN_TABLE)?,
        name: attributes.text(NFTA_CHAIN_NAME)?,
        base: base(attributes),
    })
}

fn base(attributes: Attributes<'_>) -> Option<ForeignBase> {
    let hook = attributes.nested(NFTA_CHAIN_HOOK)?;
    Some(ForeignBase {
        kind: attributes.text(NFTA_CHAIN_TYPE).unwrap_or_default(),
        hook: hook.number(NFTA_HOOK_HOOKNUM)?,
        priority: hook.number(NFTA_HOOK_PRIORITY)?.cast_signed(),
        drops: attributes.number(NFTA_CHAIN_POLICY) == Some(NF_DROP),
    })
}

fn rules(netlink: &mut Netlink, family: u8, table: &str, limit: usize) -> Result<Vec<ForeignRule>> {
    let names = vec![(NFTA_RULE_TABLE, table.to_owned())];
    let request = Request { kind: NFT_MSG_GETRULE, family, names };
    let action = format!("list the rules of nftables table {table}");
    let answers = netlink.dump_at_most(&action, request.raw(), limit)?;
    // Kernels differ in whether they heed the table.
    let of_table = |rule: &ForeignRule| rule.family == family && rule.table == table;
    Ok(answers.iter().filter_map(rule).filter(of_table).collect())
}

fn rule(answer: &Raw) -> Option<ForeignRule> {
    let attributes = answer.attributes();
    let list = attributes.nested(NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    let expressions = list.all(NFTA_LIST_ELEM).map(expression::of).collect();
    Some(ForeignRule {
        family: answer.family,
        table: attributes.text(NFTA_RULE_TABLE)?,
        chain: attributes.text(NFTA_RULE_CHAIN)?,
        expressions,
        comment: attributes.bytes(NFTA_RULE_USERDATA).and_then(comment),
    })
}

/// Notes are kept in a list of their own kind: one byte each for type and length.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, after) = rest.split_at_checked(usize::from(*length))?;
        if *kind == NFTNL_UDATA_RULE_COMMENT {
            return Some(attributes::text(value));
        }
        data = after;
    }
    None
}

fn looked_into(rules: &[ForeignRule]) -> BTreeSet<String> {
    let sets = rules.iter().flat_map(|rule| &rule.expressions).filter_map(|it| match it {
        Expression::Lookup { set, .. } => Some(set.clone()),
        _ => None,
    });
    sets.collect()
}

fn sets(netlink: &mut Netlink, family: u8, table: &str) -> Result<Vec<ForeignSet>> {
    let names = vec![(NFTA_SET_TABLE, table.to_owned())];
    let request = Request { kind: NFT_MSG_GETSET, family, names };
    let action = format!("list the sets of nftables table {table}");
    let answers = netlink.dump_at_most(&action, request.raw(), MOST_CHAINS)?;
    Ok(answers.iter().filter_map(set).filter(|set| set.table == table).collect())
}

fn set(answer: &Raw) -> Option<ForeignSet> {
    let attributes = answer.attributes();
    Some(ForeignSet {
        family: answer.family,
        table: attributes.text(NFTA_SET_TABLE)?,
        name: attributes.text(NFTA_SET_NAME)?,
        flags: attributes.number(NFTA_SET_FLAGS).unwrap_or(0),
        key_length: usize::try_from(attributes.number(NFTA_SET_KEY_LEN)?).ok()?,
        elements: None,
    })
}

fn elements(set: &ForeignSet) -> Result<Option<Vec<ForeignElement>>> {
    let names = vec![
        (NFTA_SET_ELEM_LIST_TABLE, set.table.clone()),
        (NFTA_SET_ELEM_LIST_SET, set.name.clone()),
    ];
    let request = Request { kind: NFT_MSG_GETSETELEM, family: set.family, names };
    let action = format!("list the elements of {} in nftables table {}", set.name, set.table);
    // A set can be too long, and its listing given up; the socket is of no use then.
    let mut netlink = Netlink::open(Family::Netfilter)?;
    let answers: Vec<Raw> = match netlink.dump_at_most(&action, request.raw(), MOST_MESSAGES) {
        Err(Error::Answer { .. }) => return Ok(None),
        answers => answers?,
    };
    let mut found = Vec::new();
    for answer in &answers {
        let list = answer.attributes().nested(NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
        found.extend(list.all(NFTA_LIST_ELEM).map(element));
    }
    Ok((found.len() <= MOST_ELEMENTS).then_some(found))
}

fn element(attributes: Attributes<'_>) -> ForeignElement {
    let flags = attributes.number(NFTA_SET_ELEM_FLAGS).unwrap_or(0);
    let key = |kind| {
        let value = attributes.nested(kind)?.bytes(NFTA_DATA_VALUE)?;
        Some(value.to_vec())
    };
    let catches_all = flags & NFT_SET_ELEM_CATCHALL != 0;
    ForeignElement {
        key: key(NFTA_SET_ELEM_KEY).filter(|_| !catches_all),
        key_end: key(NFTA_SET_ELEM_KEY_END),
        ends_a_range: flags & NFT_SET_ELEM_INTERVAL_END != 0,
        fall: attributes.nested(NFTA_SET_ELEM_DATA).and_then(expression::fall),
    }
}
