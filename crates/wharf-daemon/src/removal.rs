//! Removing containers: announced first, finished whatever happens.

use std::path::Path;
use std::sync::Arc;

use wharf_runtime::remove_tree;

use crate::crash;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Owner, Phase};

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removal {
    /// It is killed first if it runs.
    pub force: bool,
    /// Its volumes without a name go, too.
    pub volumes: bool,
}

// === impl Daemon ===

impl Daemon {
    /// Removes a container; a running one only by force.
    pub fn remove(self: &Arc<Self>, name: &str, how: Removal) -> Result<()> {
        let id = self.id_of(name)?;
        self.in_turn(&id, || {
            let record = self.ledger.container(&id)?;
            let runs = match record.phase {
                Phase::Running => Some("running"),
                _ => record.is_restarting().then_some("restarting"),
            };
            if let Some(runs) = runs.filter(|_| !how.force) {
                return Err(Error::Conflict(format!(
                    "cannot remove container {:?}: container is {runs}: stop the container \
                     before removing or force remove",
                    record.name
                )));
            }
            self.freeing(|| {
                if how.volumes {
                    self.ledger.update_container(&id, |record| record.with_volumes = true)?;
                }
                self.remove_in_turn(&id)
            })
        })
    }

    /// As [`Self::remove`] by force, for whoever has the container's turn already.
    pub(crate) fn remove_in_turn(&self, id: &str) -> Result<()> {
        let mut ran = false;
        let record = self.ledger.update_container(id, |record| {
            ran = record.phase == Phase::Running;
            record.phase = Phase::Removing;
        })?;
        crash::point("remove.marked");
        self.finish_removal(&record)?;
        if ran {
            self.events.tell("container", "die", id, Some(&record.name));
        }
        self.events.tell("container", "destroy", id, Some(&record.name));
        Ok(())
    }

    /// Takes everything of a container away. Every step is tried; the record goes only when all of
    /// them have succeeded, so that what is left can be removed later.
    pub(crate) fn finish_removal(&self, record: &ContainerRecord) -> Result<()> {
        let killed = self.kill_hard(record);
        crash::point("remove.killed");
        let owner = Owner::Container(record.id.clone());
        let gone = self.ledger.transact(|draft| Ok(draft.delete_publications_of(&owner)));
        let withdrawn = gone.and_then(|gone| self.take_down_publications(&gone, None));
        crash::point("remove.unpublished");
        let unplugged = self.leave_networks(record);
        crash::point("remove.unplugged");
        let run_files = remove_dir(&self.paths.shim(&record.id));
        let files = remove_dir(&self.paths.container(&record.id));
        crash::point("remove.files");
        let volumes = match record.with_volumes || record.request.auto_remove {
            true => self.remove_anonymous_volumes(record),
            false => Ok(()),
        };
        let steps = [killed, withdrawn, unplugged, run_files, files, volumes];
        let failures: Vec<String> =
            steps.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
        if !failures.is_empty() {
            return Err(Error::Conflict(format!(
                "container {:?} could not be removed completely, try again: {}",
                record.name,
                failures.join("; ")
            )));
        }
        self.erase(record)?;
        self.end_if_waited_for(record);
        self.forget(&record.id);
        Ok(())
    }
}

pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    remove_tree(path).map_err(Error::io(format!("remove {}", path.display())))
}
