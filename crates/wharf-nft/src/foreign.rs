//! Other people's rules, read into the form a plan judges.
//!
//! nftables keeps rules as small programs that load values into registers and compare them;
//! `registers` runs such a program in thought and writes down what it asks for. What
//! `iptables-nft` leaves in nftables as matches of its own, and what `iptables-legacy` keeps in its
//! tables, is translated the same way. Whatever is not understood becomes a condition that is
//! never relied on.

mod legacy;
mod load;
mod nftables;
mod program;
mod registers;
mod sets;
#[cfg(test)]
mod tests;

use wharf_host::xtables;
use wharf_plan::firewall::Ruleset;

/// What others have on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Their rules, as far as they could be read.
    pub ruleset: Ruleset,
    /// What could not be read and why, one line each.
    pub unread: Vec<String>,
}

/// Reads everybody's filtering rules, except table `inet {own}`, in the calling thread's network
/// namespace. Changes nothing, and takes a few milliseconds for a firewall of usual size; what is
/// too large to be read in reasonable time is left out and named.
pub fn read(own: &str) -> Foreign {
    let mut found = Foreign::default();
    match wharf_host::nftables::foreign::read(own) {
        Ok(foreign) => found.ruleset.tables = nftables::tables(&foreign),
        Err(error) => found.unread.push(error.to_string()),
    }
    match xtables::read() {
        Ok(tables) => found.ruleset.tables.extend(tables.into_iter().map(legacy::table)),
        Err(error) => found.unread.push(error.to_string()),
    }
    found
}
