//! Taking away what nothing uses.

use std::sync::Arc;

use wharf_api::Pruned;

use crate::daemon::Daemon;
use crate::disk_usage;
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase};
use crate::removal::Removal;

// === impl Daemon ===

impl Daemon {
    /// Removes every container that does not run and is not about to be started again.
    pub fn prune_containers(self: &Arc<Self>) -> Result<Pruned> {
        let records: Vec<ContainerRecord> =
            self.ledger.read(|state| state.containers.values().cloned().collect());
        let mut pruned = Pruned::default();
        for record in records.iter().filter(|record| rests(record)) {
            let size = disk_usage::below(&self.paths.container(&record.id).join("upper"));
            match self.remove(&record.id, Removal::default()) {
                Ok(()) => {
                    pruned.removed.push(record.id.clone());
                    pruned.reclaimed = pruned.reclaimed.saturating_add(size);
                }
                // Somebody else was faster, or has started it.
                Err(Error::NotFound { .. } | Error::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }

    /// Removes every network of a user that no container is on.
    pub fn prune_networks(self: &Arc<Self>) -> Result<Pruned> {
        let unused: Vec<String> = self.ledger.read(|state| {
            let used = |name: &String| state.containers.values().any(|c| c.is_on(name));
            let names = state.networks.keys().filter(|name| !used(name));
            names.filter(|name| *name != wharf_network::DEFAULT_NETWORK).cloned().collect()
        });
        let mut pruned = Pruned::default();
        for name in unused {
            match self.remove_network(&name) {
                Ok(()) => pruned.removed.push(name),
                Err(Error::NotFound { .. } | Error::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }
}

fn rests(record: &ContainerRecord) -> bool {
    matches!(record.phase, Phase::Created | Phase::Exited) && !record.is_restarting()
}
