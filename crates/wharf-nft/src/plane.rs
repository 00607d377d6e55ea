//! The plane: one table and what is known of it.

use std::collections::BTreeMap;

use tracing::{debug, warn};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::nftables::{self, Batch, Counted, Ownership};
use wharf_plan::nft::NftPlan;

use crate::contents::{Change, Contents};
use crate::{Error, Observed, Result, table};

/// What one application of a plan changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Elements that were added; after a replacement, all there are.
    pub added: usize,
    /// Elements that were deleted one by one.
    pub removed: usize,
    /// Whether the whole table was replaced.
    pub replaced: bool,
}

/// The table, as long as this value lives; dropping it leaves the table in place, to be taken over
/// by the next. An owned table is protected only while this value lives: the kernel knows its owner
/// by the one netlink socket in here.
#[derive(Debug)]
pub struct NftPlane {
    netlink: Netlink,
    table: String,
    ownership: Ownership,
    /// What the table is to hold; `None` before the first plan.
    current: Option<Contents>,
    /// Whether the table may hold something else.
    in_doubt: bool,
    /// The generation of the rule set that our last transaction made, if nobody else's came
    /// between.
    generation: Option<u32>,
}

// === impl NftPlane ===

impl NftPlane {
    /// Opens the plane for table `inet {table}` in the calling thread's network namespace, as one
    /// that anybody may change; nothing is changed yet.
    pub fn open(table: &str) -> Result<Self> {
        Self::open_as(table, Ownership::Shared)
    }

    /// Opens the plane and says who may change the table; where the kernel has no lasting
    /// ownership (before 6.9) the table is shared.
    pub fn open_as(table: &str, ownership: Ownership) -> Result<Self> {
        let mut netlink = Netlink::open(Family::Netfilter)?;
        let owned = ownership == Ownership::Owned && nftables::probe_ownership(&mut netlink);
        Ok(Self {
            netlink,
            table: table.to_owned(),
            ownership: if owned { Ownership::Owned } else { Ownership::Shared },
            current: None,
            in_doubt: true,
            generation: None,
        })
    }

    /// Who may change the table once a plan is applied.
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// The kernel's number for the socket that makes our changes, by which a
    /// [`nftables::RulesetWatch`] tells them from those of others.
    pub fn port(&self) -> Result<u32> {
        Ok(self.netlink.port()?)
    }

    /// Makes the table hold what `plan` says, in at most one transaction.
    ///
    /// # Errors
    /// The plan contradicts itself, the table belongs to another program, or the kernel refuses
    /// even the replacement of the table. The table is then as it was, and the next call replaces
    /// it.
    pub fn apply(&mut self, plan: &NftPlan) -> Result<Applied> {
        let wanted = Contents::of(plan)?;
        let known = |current: &&Contents| !self.in_doubt && current.way_back == wanted.way_back;
        let changes = self.current.as_ref().filter(known).map(|now| now.changes_to(&wanted));
        let applied = match changes {
            Some(changes) => self.bring_about(&changes, &wanted)?,
            None => self.replace(&wanted)?,
        };
        self.current = Some(wanted);
        Ok(applied)
    }

    /// Takes the entries of publications out of the table and puts others in, in at most one
    /// transaction, at a cost that does not depend on what else is there. Bridges and the way back
    /// stay as they are. What is to go and is not there, or is to come and is there, is passed
    /// over.
    ///
    /// # Errors
    /// As of [`NftPlane::apply`]; besides, no plan was applied before. The table is then as it
    /// was, and a change that follows is still one to what was there before.
    pub fn change(&mut self, removed: &NftPlan, added: &NftPlan) -> Result<Applied> {
        let Some(mut contents) = self.current.take() else {
            return Err(Error::NotApplied(self.table.clone()));
        };
        let outcome = self.change_in(&mut contents, removed, added);
        self.current = Some(contents);
        outcome
    }

    /// Reads back what the kernel holds.
    pub fn observe(&mut self) -> Result<Observed> {
        Observed::read(&mut self.netlink, &self.table)
    }

    /// Whether any nftables transaction but ours came through since our last one, to this table or
    /// to another: without one the table is what we left. Costs some microseconds, whatever the
    /// table holds.
    pub fn changed_by_others(&mut self) -> Result<bool> {
        let generation = nftables::generation(&mut self.netlink)?;
        Ok(self.in_doubt || self.generation != Some(generation))
    }

    /// Compares what the kernel holds with `plan` and says what is different, one line each; if
    /// anything is, the next [`NftPlane::apply`] replaces the table.
    pub fn verify(&mut self, plan: &NftPlan) -> Result<Vec<String>> {
        let generation = nftables::generation(&mut self.netlink)?;
        let mut differences = self.observe()?.differences(plan)?;
        if !differences.is_empty() {
            // A set that was growing under the first look may have hidden something.
            differences = self.observe()?.differences(plan)?;
        }
        if differences.is_empty() {
            self.generation = Some(generation);
        } else {
            self.forget();
        }
        Ok(differences)
    }

    /// What the rules with a comment have counted since the table was last replaced, by comment:
    /// "not published", "not on the allow-list", "published on loopback only", "from an internal
    /// network" and "to an internal network".
    pub fn counters(&mut self) -> Result<BTreeMap<String, Counted>> {
        Ok(nftables::counters(&mut self.netlink, &self.table)?)
    }

    /// Makes the next [`NftPlane::apply`] or [`NftPlane::change`] replace the whole table, whatever
    /// it is believed to hold.
    pub fn forget(&mut self) {
        self.in_doubt = true;
    }

    /// Deletes the table; it is no error if there is none.
    pub fn remove(&mut self) -> Result<()> {
        self.current = None;
        self.forget();
        let mut batch = Batch::new(&self.table);
        batch.delete_table();
        match batch.commit(&mut self.netlink) {
            Err(error) if !error.is_not_found() => Err(self.explained(error)),
            _ => Ok(()),
        }
    }

    fn change_in(
        &mut self,
        contents: &mut Contents,
        removed: &NftPlan,
        added: &NftPlan,
    ) -> Result<Applied> {
        let delta = contents.delta(removed, added)?;
        contents.enact(&delta);
        let outcome = if self.in_doubt {
            self.replace(contents)
        } else {
            self.bring_about(&delta.changes, contents)
        };
        if outcome.is_err() {
            contents.enact(&delta.reversed());
        }
        outcome
    }

    /// Sends `changes`, which make what the table holds `wanted`; if they cannot be made, puts
    /// `wanted` in its place.
    fn bring_about(&mut self, changes: &[Change], wanted: &Contents) -> Result<Applied> {
        if changes.is_empty() {
            return Ok(Applied::default());
        }
        match self.send(changes) {
            Ok(applied) => Ok(applied),
            // Someone deleted the table or changed what is in it (ENOENT, EEXIST, EBUSY), or the
            // outcome got lost; either way the table is not what we think it is.
            Err(error) => {
                warn!(table = %self.table, %error, "table changed by others, replacing it");
                self.replace(wanted)
            }
        }
    }

    fn send(&mut self, changes: &[Change]) -> Result<Applied> {
        let mut batch = Batch::new(&self.table);
        let mut applied = Applied::default();
        // All deletions first: a port that moves to another target is a deletion and an addition
        // of the same key.
        for change in changes {
            batch.delete_elements(change.set, &change.removed);
            applied.removed += change.removed.len();
        }
        for change in changes {
            batch.add_elements(change.set, &change.added);
            applied.added += change.added.len();
        }
        batch.commit(&mut self.netlink)?;
        self.generation = self.generation.map(nftables::next_generation);
        debug!(table = %self.table, ?applied, "table changed");
        Ok(applied)
    }

    /// Puts `wanted` in place of whatever the table holds, or makes the table.
    fn replace(&mut self, wanted: &Contents) -> Result<Applied> {
        self.in_doubt = true;
        let before = nftables::generation(&mut self.netlink)?;
        if self.has_foreign_chains()? {
            self.rebuild(wanted).map_err(|error| self.explained(error))?;
        } else if let Err(refused) = self.refill(wanted) {
            if refused.errno() == Some(EPERM) {
                return Err(self.explained(refused));
            }
            // What is there has another shape, or is shared and to be owned: the kernel changes
            // who may change a table only when its owner has gone.
            debug!(table = %self.table, %refused, "the table cannot be refilled, making it anew");
            self.rebuild(wanted).map_err(|error| self.explained(error))?;
        }
        self.in_doubt = false;
        self.generation = Some(nftables::next_generation(before));
        let applied = Applied { added: wanted.len(), removed: 0, replaced: true };
        debug!(table = %self.table, ?applied, "table replaced");
        Ok(applied)
    }

    /// Whether others have put chains into the table, which a refill would leave there.
    fn has_foreign_chains(&mut self) -> Result<bool> {
        let there = match nftables::chains(&mut self.netlink, &self.table) {
            Err(error) if error.is_not_found() => return Ok(false),
            there => there?,
        };
        Ok(there.keys().any(|name| !table::has_chain(name)))
    }

    /// Keeps the chains and empties them. A packet on its way through a hook sees the chains of a
    /// table that is deleted and made again as two, the new one first, and can miss both if the
    /// kernel switches between them; rules and elements switch without such a gap.
    fn refill(&mut self, wanted: &Contents) -> wharf_host::Result<()> {
        let mut batch = Batch::new(&self.table);
        batch.add_table(self.ownership);
        table::chains(false).for_each(|(chain, _)| batch.add_chain(chain));
        table::SETS.iter().for_each(|set| batch.add_set(set));
        batch.flush_rules();
        table::SETS.iter().for_each(|set| batch.flush_set(set));
        fill(&mut batch, wanted);
        batch.commit(&mut self.netlink)
    }

    fn rebuild(&mut self, wanted: &Contents) -> wharf_host::Result<()> {
        let mut batch = Batch::new(&self.table);
        // A deletion of what is not there is refused, so the table is made first.
        batch.add_table(Ownership::Shared);
        batch.delete_table();
        batch.add_table(self.ownership);
        table::chains(false).for_each(|(chain, _)| batch.add_chain(chain));
        table::SETS.iter().for_each(|set| batch.add_set(set));
        fill(&mut batch, wanted);
        batch.commit(&mut self.netlink)
    }

    /// Names the owner if that is why the kernel refused.
    fn explained(&mut self, refused: wharf_host::Error) -> Error {
        let owner = nftables::table(&mut self.netlink, &self.table).ok().flatten();
        let other = owner.and_then(|table| table.owner);
        match other.filter(|port| self.netlink.port().ok() != Some(*port)) {
            Some(port) if refused.errno() == Some(EPERM) => Error::OwnedByOther {
                table: self.table.clone(),
                owner: nftables::socket_owner(port),
            },
            _ => refused.into(),
        }
    }
}

/// What the kernel answers to changes of a table that has an owner.
const EPERM: i32 = 1;

fn fill(batch: &mut Batch, wanted: &Contents) {
    for (chain, rules) in table::chains(wanted.way_back) {
        rules.iter().for_each(|rule| batch.add_rule(chain, rule));
    }
    for (set, elements) in wanted.iter() {
        batch.add_elements(set, elements);
    }
}
