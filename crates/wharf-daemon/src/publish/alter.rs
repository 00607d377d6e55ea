//! A publication that becomes another: first in the ledger, then on the planes, and back again where
//! a plane refuses.

use std::collections::HashMap;

use wharf_spec::Publication;

use super::found::Found;
use crate::crash;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::flows;
use crate::ledger::Draft;
use crate::record::{Owner, PublicationRecord};
use crate::resolve::Wanted;

/// A publication that is there already and is to become another.
#[derive(Debug)]
pub(super) struct Alteration {
    pub(super) before: PublicationRecord,
    pub(super) after: PublicationRecord,
}

// === impl Daemon ===

impl Daemon {
    /// All of them or none.
    pub(super) fn alter_all(&self, altered: &[Alteration]) -> Result<()> {
        for (done, alteration) in altered.iter().enumerate() {
            let Err(error) = self.alter(alteration) else { continue };
            for earlier in altered.iter().take(done).rev() {
                if let Err(error) = self.alter(&earlier.reversed()) {
                    tracing::warn!(%error, "undoing what was changed");
                }
            }
            return Err(error);
        }
        Ok(())
    }

    /// Makes one publication another, first in the ledger, then on the planes.
    fn alter(&self, alteration: &Alteration) -> Result<()> {
        let Alteration { before, after } = alteration;
        if before == after {
            return Ok(());
        }
        let id = &after.publication.id;
        self.ledger.transact(|draft| {
            if draft.before().publications.get(id) != Some(before) {
                return Err(Error::Conflict(
                    "what was to be changed is being changed by somebody else; try again".into(),
                ));
            }
            draft.put_publication(after.clone());
            forget(draft, &before.owner, [before])
        })?;
        crash::point("alter.recorded");
        if let Err(error) = self.planes.change(self, id, &self.metrics) {
            self.undo(alteration);
            return Err(error);
        }
        crash::point("alter.served");
        if served_otherwise(&before.publication, &after.publication) {
            // TCP connections that are open end where they began.
            let old = std::slice::from_ref(&before.publication);
            self.flows.forget(old, flows::Which::Datagrams)?;
        }
        Ok(())
    }

    /// Has a publication be what it was before a change that a plane has refused.
    fn undo(&self, alteration: &Alteration) {
        let Alteration { before, after } = alteration.reversed();
        let undone = self.swap_publication(&before, Some(after)).map(drop);
        for error in [undone, self.reconcile()].into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "undoing what could not be changed");
        }
    }
}

// === impl Alteration ===

impl Alteration {
    pub(super) fn new(before: PublicationRecord, one: &Wanted, found: &Found) -> Self {
        let publication = Publication {
            target: found.target.clone(),
            target_ports: one.container_ports,
            options: one.options.clone(),
            ..before.publication.clone()
        };
        let after = PublicationRecord {
            publication,
            owner: found.owner.clone(),
            specs: one.specs.clone(),
            lasting: true,
            ..before.clone()
        };
        Self { before, after }
    }

    /// What undoes it. By then a container's own specs do not speak of it any more, so that it has
    /// to come back by itself.
    fn reversed(&self) -> Self {
        let after = PublicationRecord { lasting: true, ..self.before.clone() };
        Self { before: self.after.clone(), after }
    }
}

/// Whether a UDP flow that goes on as it began would not be what is wanted now.
fn served_otherwise(before: &Publication, after: &Publication) -> bool {
    let way = |p: &Publication| (p.options.via, p.options.source, p.options.proxy_protocol);
    before.target != after.target
        || before.target_ports != after.target_ports
        || way(before) != way(after)
}

/// Has a container not publish `gone` at its next start, where that is said by its own specs.
pub(super) fn forget<'a>(
    draft: &mut Draft<'_>,
    owner: &Owner,
    gone: impl IntoIterator<Item = &'a PublicationRecord>,
) -> Result<()> {
    let own = gone.into_iter().filter(|record| !record.lasting);
    let mut specs: HashMap<&String, usize> = HashMap::new();
    own.flat_map(|record| &record.specs).for_each(|spec| *specs.entry(spec).or_default() += 1);
    let Owner::Container(id) = owner else { return Ok(()) };
    if specs.is_empty() {
        return Ok(());
    }
    let mut record = draft.container(id)?;
    // The same spec may have been given twice, for two publications.
    record.request.publish.retain(|spec| match specs.get_mut(spec) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
    draft.put_container(record);
    Ok(())
}
