//! The tables of `iptables-legacy` and `ip6tables-legacy`, read as they are.
//!
//! Each table is one block of memory: entries one behind the other, each with matches and a
//! target, jumps given as distances from the beginning. Asking for a table that does not exist
//! would make it, so the list of those that do is read first; nothing is ever changed.

mod blob;
pub mod extension;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

pub use self::extension::{Condition, Extension, Outcome};
use crate::error::Result;
use crate::nftables::IpFamily;

/// Tables that can keep packets from passing; `nat` only translates.
const FILTERING: [&str; 4] = ["raw", "mangle", "filter", "security"];

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyTable {
    /// The family.
    pub family: IpFamily,
    /// The name: `filter`, `raw`.
    pub name: String,
    /// The chains by name; built-in ones (`FORWARD`) are in capital letters.
    pub chains: BTreeMap<String, LegacyChain>,
}

/// One chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegacyChain {
    /// The hook of a built-in chain (`NF_INET_*`), and whether its policy is to drop.
    pub hook: Option<(u32, bool)>,
    /// The rules; the policy is not among them.
    pub rules: Vec<LegacyRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyRule {
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What is done then.
    pub outcome: Outcome,
    /// The note its author left with it.
    pub comment: Option<String>,
}

/// An address with the bits that count; not always a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskedAddress {
    /// The address.
    pub address: IpAddr,
    /// The bits that count.
    pub mask: IpAddr,
}

/// Reads every table that filters in the calling thread's network namespace.
///
/// # Errors
/// When the kernel refuses (this needs `CAP_NET_ADMIN`), or a table is larger than any that is
/// read.
pub fn read() -> Result<Vec<LegacyTable>> {
    let mut tables = Vec::new();
    for family in [IpFamily::V4, IpFamily::V6] {
        for name in existing(family) {
            if let Some(bytes) = socket::table(family, &name)? {
                tables.push(blob::table(family, &name, &bytes)?);
            }
        }
    }
    Ok(tables)
}

/// Without the module there is no such file, and no table.
fn existing(family: IpFamily) -> Vec<String> {
    let path = match family {
        IpFamily::V4 => "/proc/thread-self/net/ip_tables_names",
        IpFamily::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    let names = fs::read_to_string(path).unwrap_or_default();
    let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
    names.retain(|name| FILTERING.contains(&name.as_str()));
    // The order in which packets meet them.
    names.sort_by_key(|name| FILTERING.iter().position(|known| known == name));
    names
}
