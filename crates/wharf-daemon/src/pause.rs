//! Containers that stand still, and limits that are changed while they run.

use std::sync::Arc;

use wharf_api::options::Resources as Request;
use wharf_api::{ContainerUpdate, Updated};
use wharf_runtime::cgroup::limits::{Abilities, apply};
use wharf_runtime::cgroup::{freeze, thaw};

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase};
use crate::resources;

// === impl Daemon ===

impl Daemon {
    /// Stops every process of a container where it is.
    pub fn pause(self: &Arc<Self>, name: &str) -> Result<()> {
        let id = self.id_of(name)?;
        self.in_turn(&id, || {
            let record = self.ledger.container(&id)?;
            must_run(&record)?;
            if record.paused {
                return Err(Error::Conflict(format!(
                    "container {} is already paused",
                    record.name
                )));
            }
            // Noted first: what is noted and does not stand still can be unpaused all the same.
            self.ledger.update_container(&id, |record| record.paused = true)?;
            if let Err(error) = freeze(&record.spec.cgroup) {
                self.ledger.update_container(&id, |record| record.paused = false)?;
                return Err(error.into());
            }
            self.events.tell("container", "pause", &id, Some(&record.name));
            Ok(())
        })
    }

    /// Lets a paused container go on.
    pub fn unpause(self: &Arc<Self>, name: &str) -> Result<()> {
        let id = self.id_of(name)?;
        self.in_turn(&id, || {
            let record = self.ledger.container(&id)?;
            must_run(&record)?;
            if !record.paused {
                return Err(Error::Conflict(format!("container {} is not paused", record.name)));
            }
            self.wake(&record)
        })
    }

    /// Lets a container go on that is to be told something, or to end.
    pub(crate) fn wake(&self, record: &ContainerRecord) -> Result<()> {
        if !record.paused {
            return Ok(());
        }
        thaw(&record.spec.cgroup)?;
        self.ledger.update_container(&record.id, |record| record.paused = false)?;
        self.events.tell("container", "unpause", &record.id, Some(&record.name));
        Ok(())
    }

    /// Changes a container's limits; all of them, or none.
    pub fn update(self: &Arc<Self>, name: &str, update: &ContainerUpdate) -> Result<Updated> {
        let fixed = &update.resources;
        let given = !fixed.ulimits.is_empty() || !fixed.devices.is_empty();
        if given || fixed.oom_score_adj.is_some() || fixed.shm_size.is_some() {
            return Err(Error::Invalid(
                "limits of processes, devices, oom score adj and /dev/shm are set for a container's \
                 life: make another one to change them"
                    .into(),
            ));
        }
        let id = self.id_of(name)?;
        self.in_turn(&id, || self.update_in_turn(&id, &update.resources))
    }

    fn update_in_turn(&self, id: &str, change: &Request) -> Result<Updated> {
        let record = self.ledger.container(id)?;
        let request = merged(&record.request.resources, change)?;
        let mut warnings = Vec::new();
        let limits = resources::limits(&request, &mut warnings)?;
        let swap_was = record.spec.resources.limits.memory_swap;
        if change.memory_swap.is_none()
            && let (Some(memory), Some(both)) = (change.memory, swap_was)
            && u64::try_from(both).is_ok_and(|both| memory > both)
            && Abilities::of_this_host()?.can_limit_swap()
        {
            return Err(Error::Invalid(
                "memory limit should be smaller than already set memoryswap limit, update the \
                 memoryswap at the same time"
                    .into(),
            ));
        }
        let mut limits = limits;
        if change.memory_swap.is_none() && swap_was.is_some() {
            limits.memory_swap = swap_was;
        }
        if record.phase == Phase::Running
            && let Err(error) = apply(&record.spec.cgroup, &limits)
        {
            let restored = apply(&record.spec.cgroup, &record.spec.resources.limits);
            if let Err(error) = restored {
                tracing::warn!(id = record.short_id(), %error, "putting limits back");
            }
            return Err(error.into());
        }
        self.ledger.update_container(id, |record| {
            record.spec.resources.limits = limits;
            record.request.resources = request;
        })?;
        self.events.tell("container", "update", id, Some(&record.name));
        Ok(Updated { warnings })
    }
}

fn must_run(record: &ContainerRecord) -> Result<()> {
    match record.phase {
        Phase::Running => Ok(()),
        _ => Err(Error::Conflict(format!("container {} is not running", record.name))),
    }
}

/// What was asked for before, with what is changed now.
fn merged(before: &Request, change: &Request) -> Result<Request> {
    let mut request = before.clone();
    let by_number = change.nano_cpus.is_some();
    let by_quota = change.cpu_quota.is_some() || change.cpu_period.is_some();
    if by_quota && request.nano_cpus.is_some() && !by_number {
        return Err(Error::Invalid(
            "conflicting options: CPU quota or period cannot be updated as CPUs have already been set"
                .into(),
        ));
    }
    if by_number {
        (request.cpu_quota, request.cpu_period) = (None, None);
    }
    let Request { memory, memory_swap, memory_reservation, nano_cpus, .. } = *change;
    request.memory = memory.or(request.memory);
    request.memory_swap = memory_swap.or(request.memory_swap);
    request.memory_reservation = memory_reservation.or(request.memory_reservation);
    request.nano_cpus = nano_cpus.or(request.nano_cpus);
    request.cpu_quota = change.cpu_quota.or(request.cpu_quota);
    request.cpu_period = change.cpu_period.or(request.cpu_period);
    request.cpu_shares = change.cpu_shares.or(request.cpu_shares);
    request.cpuset_cpus = change.cpuset_cpus.clone().or(request.cpuset_cpus);
    request.cpuset_mems = change.cpuset_mems.clone().or(request.cpuset_mems);
    request.pids_limit = change.pids_limit.or(request.pids_limit);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays() {
        let before = Request { memory: Some(1), pids_limit: Some(2), ..Request::default() };
        let change = Request { memory: Some(3), nano_cpus: Some(4), ..Request::default() };
        let merged = merged(&before, &change).unwrap();
        assert_eq!(
            (merged.memory, merged.pids_limit, merged.nano_cpus),
            (Some(3), Some(2), Some(4))
        );
        let quota = Request { cpu_quota: Some(5_000), ..Request::default() };
        assert!(super::merged(&merged, &quota).is_err());
    }
}
