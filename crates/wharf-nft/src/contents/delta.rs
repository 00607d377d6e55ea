//! A change that costs what it changes, whatever else there is.

use wharf_host::nftables::Set;
use wharf_plan::nft::NftPlan;

use super::encode::Encoder;
use super::open::OpenPorts;
use super::{Change, Contents, contradiction};
use crate::Result;

/// What has to be done to the sets for a few publications, and how it can be undone.
#[derive(Debug)]
pub(crate) struct Delta {
    pub(crate) changes: Vec<Change>,
    open_before: OpenPorts,
    open_after: OpenPorts,
}

// === impl Contents ===

impl Contents {
    /// What has to change for the entries of `removed` to go and those of `added` to come. What is
    /// to go and is not there, or is to come and is there, needs no change.
    ///
    /// # Errors
    /// The entries cannot be rewritten, or contradict what stays.
    pub(crate) fn delta(&self, removed: &NftPlan, added: &NftPlan) -> Result<Delta> {
        let open_after = self.open.changed(removed, added);
        let open_before = self.open.at_places_of(&open_after);
        let goes = collect(removed, &open_before)?;
        let comes = collect(added, &open_after)?;
        let mut changes = Vec::new();
        for set in goes.sets.keys().chain(comes.sets.keys()) {
            let set = crate::table::SETS.iter().find(|its| its.name == *set);
            let done = |set: &Set| changes.iter().any(|change: &Change| change.set == set);
            let Some(set) = set.filter(|set| !done(set)) else { continue };
            changes.push(self.change_of(set, &goes, (&comes, added))?);
        }
        changes.retain(|change| !change.is_empty());
        Ok(Delta { changes, open_before, open_after })
    }

    /// Takes note that `delta` was done.
    pub(crate) fn enact(&mut self, delta: &Delta) {
        for change in &delta.changes {
            change.removed.iter().for_each(|element| self.take(change.set, element.key));
            for element in &change.added {
                self.put(change.set, *element);
            }
        }
        self.open.take_over(&delta.open_after);
    }

    fn change_of(
        &self,
        set: &'static Set,
        goes: &Self,
        (comes, added): (&Self, &NftPlan),
    ) -> Result<Change> {
        let mut change = Change { set, removed: Vec::new(), added: Vec::new() };
        for element in goes.in_set(set) {
            let stays = comes.get(set, element.key) == Some(element);
            if !stays && self.get(set, element.key) == Some(element) {
                change.removed.push(element);
            }
        }
        for element in comes.in_set(set) {
            let present = self.get(set, element.key);
            let stays = present.filter(|there| goes.get(set, there.key) != Some(*there));
            match stays {
                Some(there) if there != element => {
                    return Err(contradiction(added, set, element, there));
                }
                _ if present == Some(element) => {}
                _ => change.added.push(element),
            }
        }
        Ok(change)
    }
}

fn collect(plan: &NftPlan, open: &OpenPorts) -> Result<Contents> {
    let mut encoder = Encoder::default();
    encoder.entries(plan)?;
    encoder.elements.extend(open.elements());
    let mut contents = Contents::default();
    for (set, element) in encoder.elements {
        if let Some(present) = contents.put(set, element) {
            return Err(contradiction(plan, set, element, present));
        }
    }
    Ok(contents)
}

// === impl Delta ===

impl Delta {
    /// The change that undoes this one.
    pub(crate) fn reversed(self) -> Self {
        let back = |Change { set, removed, added }| Change { set, removed: added, added: removed };
        Self {
            changes: self.changes.into_iter().map(back).collect(),
            open_before: self.open_after,
            open_after: self.open_before,
        }
    }
}
