//! What the kernel holds, read back.

use std::collections::BTreeMap;

use wharf_host::netlink::Netlink;
use wharf_host::nftables::{self, Ownership};
use wharf_plan::nft::NftPlan;

use crate::contents::{Change, Contents};
use crate::{Result, table};

/// The table as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Who may change the table; `None` if it does not exist.
    pub ownership: Option<Ownership>,
    /// The chains, each with its number of rules.
    pub chains: BTreeMap<String, usize>,
    /// Sets that should be there and are not.
    pub missing_sets: Vec<&'static str>,
    contents: Contents,
}

// === impl Observed ===

impl Observed {
    pub(crate) fn read(netlink: &mut Netlink, table: &str) -> Result<Self> {
        let mut observed = Self {
            ownership: nftables::table(netlink, table)?.map(|table| table.ownership),
            chains: BTreeMap::new(),
            missing_sets: Vec::new(),
            contents: Contents::default(),
        };
        if observed.ownership.is_none() {
            return Ok(observed);
        }
        observed.chains = nftables::chains(netlink, table)?;
        let mut elements = BTreeMap::new();
        for set in table::SETS {
            match nftables::elements(netlink, table, set) {
                Ok(found) if found.is_empty() => {}
                Ok(found) => drop(elements.insert(set.name, found)),
                Err(error) if error.is_not_found() => observed.missing_sets.push(set.name),
                Err(error) => return Err(error.into()),
            }
        }
        observed.contents = Contents::read(elements);
        Ok(observed)
    }

    /// How many elements all sets of the table have together.
    pub fn elements(&self) -> usize {
        self.contents.len()
    }

    /// What is different from what `plan` asks for, one line each, for people.
    ///
    /// # Errors
    /// The plan contradicts itself.
    pub fn differences(&self, plan: &NftPlan) -> Result<Vec<String>> {
        let wanted = Contents::of(plan)?;
        if self.ownership.is_none() {
            return Ok(vec![String::from("the table is missing")]);
        }
        let mut lines: Vec<String> =
            self.missing_sets.iter().map(|set| format!("set {set} is missing")).collect();
        for (chain, rules) in table::chains(plan.way_back) {
            let rules = rules.len();
            match self.chains.get(chain.name) {
                None => lines.push(format!("chain {} is missing", chain.name)),
                Some(found) if *found == rules => {}
                Some(found) => {
                    lines.push(format!("chain {} has {found} rules, not {rules}", chain.name));
                }
            }
        }
        let foreign = self.chains.keys().filter(|name| !table::has_chain(name));
        lines.extend(foreign.map(|name| format!("chain {name} is foreign")));
        lines.extend(self.contents.changes_to(&wanted).iter().map(line));
        Ok(lines)
    }
}

fn line(change: &Change) -> String {
    let (missing, foreign) = (change.added.len(), change.removed.len());
    format!("set {}: {missing} elements missing, {foreign} foreign", change.set.name)
}
