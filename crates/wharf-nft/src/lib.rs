//! The kernel NAT plane: one nftables table, driven by a plan.
//!
//! [`NftPlane::apply`] makes the table hold what an [`NftPlan`] says. The first time after
//! [`NftPlane::open`] it replaces the whole table in one transaction, so no packet ever meets half
//! of it; from then on it sends the difference between the last plan and the new one, also in one
//! transaction, and nothing at all when there is none. The chains and rules are the same for every
//! plan on one host; everything that varies is an element of a set. No table but this one is touched, and the
//! kernel is never asked what it holds on the way of a change.
//!
//! What each chain and rule is for: `docs/internals/nftables.md`.

mod contents;
mod observed;
mod table;

use tracing::{debug, warn};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::nftables::Batch;
pub use wharf_host::nftables::Ownership;
use wharf_plan::nft::{Dnat, NftPlan};

use self::contents::{Change, Contents};
pub use self::observed::Observed;

/// Why a plan could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Host(#[from] wharf_host::Error),
    /// Two entries of the plan want the same packets.
    #[error("{}/{} is to go to both {} and {}", .0.ports, .0.proto, .0.target, .1.target)]
    Conflict(Box<Dnat>, Box<Dnat>),
    /// An entry of the plan asks for what a kernel rewrite cannot do.
    #[error("{}/{} cannot be rewritten to {}: {reason}", .entry.ports, .entry.proto, .entry.target)]
    Impossible {
        /// The entry.
        entry: Box<Dnat>,
        /// What stands in the way.
        reason: &'static str,
    },
}

/// The result of an operation on the plane.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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

/// The table, as long as this value lives; dropping it leaves the table in place.
#[derive(Debug)]
pub struct NftPlane {
    netlink: Netlink,
    table: String,
    ownership: Ownership,
    /// What the last transaction left in the table; `None` when that is unknown.
    current: Option<Contents>,
}

// === impl NftPlane ===

impl NftPlane {
    /// Opens the plane for table `inet {table}` in the calling thread's network namespace;
    /// nothing is changed yet.
    pub fn open(table: &str) -> Result<Self> {
        Self::open_as(table, Ownership::Shared)
    }

    /// Opens the plane and says who may change the table; where the kernel has no lasting
    /// ownership (before 6.9) the table is shared.
    pub fn open_as(table: &str, ownership: Ownership) -> Result<Self> {
        let netlink = Netlink::open(Family::Netfilter)?;
        Ok(Self { netlink, table: table.to_owned(), ownership, current: None })
    }

    /// Makes the table hold what `plan` says, in at most one transaction.
    ///
    /// # Errors
    /// The plan contradicts itself, or the kernel refuses even the replacement of the table. The
    /// table is then as it was, and the next call replaces it.
    pub fn apply(&mut self, plan: &NftPlan) -> Result<Applied> {
        let wanted = Contents::of(plan)?;
        let same_rules = |current: &&Contents| current.way_back == wanted.way_back;
        let Some(current) = self.current.as_ref().filter(same_rules) else {
            return self.replace(wanted);
        };
        let changes = current.changes_to(&wanted);
        if changes.is_empty() {
            return Ok(Applied::default());
        }
        match self.send(&changes) {
            Ok(applied) => {
                self.current = Some(wanted);
                Ok(applied)
            }
            // Someone deleted the table or changed what is in it (ENOENT, EEXIST, EBUSY), or the
            // outcome got lost; either way the table is not what we think it is.
            Err(error) => {
                warn!(table = %self.table, %error, "table changed by others, replacing it");
                self.replace(wanted)
            }
        }
    }

    /// Reads back what the kernel holds.
    pub fn observe(&mut self) -> Result<Observed> {
        Observed::read(&mut self.netlink, &self.table)
    }

    /// Compares what the kernel holds with `plan` and says what is different, one line each; if
    /// anything is, the next [`NftPlane::apply`] replaces the table.
    pub fn verify(&mut self, plan: &NftPlan) -> Result<Vec<String>> {
        let mut differences = self.observe()?.differences(plan)?;
        if !differences.is_empty() {
            // A set that was growing under the first look may have hidden something.
            differences = self.observe()?.differences(plan)?;
        }
        if !differences.is_empty() {
            self.forget();
        }
        Ok(differences)
    }

    /// Makes the next [`NftPlane::apply`] replace the whole table, whatever it is believed to hold.
    pub fn forget(&mut self) {
        self.current = None;
    }

    /// Deletes the table; it is no error if there is none.
    pub fn remove(&mut self) -> Result<()> {
        self.forget();
        let mut batch = Batch::new(&self.table);
        batch.delete_table();
        match batch.commit(&mut self.netlink) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
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
        debug!(table = %self.table, ?applied, "table changed");
        Ok(applied)
    }

    /// Puts `wanted` in place of whatever the table holds, or makes the table.
    fn replace(&mut self, wanted: Contents) -> Result<Applied> {
        self.forget();
        let mut outcome = self.refill(&wanted);
        if let Err(refused) = &outcome {
            // What is there has another shape, or an owner that no flags can change any more.
            debug!(table = %self.table, %refused, "the table cannot be refilled, making it anew");
            outcome = self.rebuild(&wanted);
        }
        if let (Err(refused), Ownership::Owned) = (&outcome, self.ownership) {
            // Kernels before 6.9 refuse the flags; if it was something else, it comes again.
            debug!(table = %self.table, %refused, "the table cannot be owned, sharing it");
            self.ownership = Ownership::Shared;
            outcome = self.rebuild(&wanted);
        }
        outcome?;
        let applied = Applied { added: wanted.len(), removed: 0, replaced: true };
        debug!(table = %self.table, ?applied, "table replaced");
        self.current = Some(wanted);
        Ok(applied)
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
}

fn fill(batch: &mut Batch, wanted: &Contents) {
    for (chain, rules) in table::chains(wanted.way_back) {
        rules.iter().for_each(|rule| batch.add_rule(chain, rule));
    }
    for (set, elements) in wanted.iter() {
        batch.add_elements(set, elements);
    }
}
