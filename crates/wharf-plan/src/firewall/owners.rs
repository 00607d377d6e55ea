//! Whose rules there are.

use std::collections::BTreeSet;

use super::obstacle::Owner;
use super::ruleset::Ruleset;

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
}
