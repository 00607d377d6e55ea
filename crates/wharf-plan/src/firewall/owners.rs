//! Whose rules there are.

use std::collections::BTreeSet;

use super::obstacle::Owner;
use super::ruleset::{Hook, Ruleset};

/// The table by which firewalld has everything new dropped while it makes its rules anew (from 0.6
/// on), and everything at all in its panic mode.
const FIREWALLD_POLICY: &str = "firewalld_policy_drop";

// === impl Ruleset ===

impl Ruleset {
    /// The programs that have chains here, by the names they give them; rules that somebody has
    /// written by hand are nobody's.
    pub fn owners(&self) -> BTreeSet<Owner> {
        let chains = self.tables.iter().flat_map(|table| {
            table.chains.keys().filter_map(move |chain| Owner::of_chain(table, chain))
        });
        chains.collect()
    }
    /// Whether a firewall is about to make its rules anew: what there is now is about to change, and
    /// drops whatever is new, to sockets of this host as well as through it.
    pub fn is_being_reloaded(&self) -> bool {
        let policies = self.tables.iter().filter(|table| table.name == FIREWALLD_POLICY);
        let mut chains = policies.flat_map(|table| table.chains.values());
        // Panic mode hangs before routing, and stays.
        chains.any(|chain| chain.base.is_some_and(|base| base.hook == Hook::Forward))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::ruleset::{Backend, Base, Chain, Policy, Table, TableFamily};

    fn with_policy(table: &str, hook: Hook) -> Ruleset {
        let base = Base { hook, priority: 9, policy: Policy::Drop };
        let chain = Chain { base: Some(base), rules: Vec::new() };
        let table = Table {
            family: TableFamily::Inet,
            name: table.to_owned(),
            backend: Backend::Nftables,
            chains: [("drop".to_owned(), chain)].into(),
        };
        Ruleset { tables: vec![table] }
    }

    #[test]
    fn a_reload_is_told_from_panic_and_from_a_policy() {
        assert!(with_policy(FIREWALLD_POLICY, Hook::Forward).is_being_reloaded());
        assert!(!with_policy(FIREWALLD_POLICY, Hook::Prerouting).is_being_reloaded());
        assert!(!with_policy("filter", Hook::Forward).is_being_reloaded());
        assert!(!Ruleset::default().is_being_reloaded());
    }
}
