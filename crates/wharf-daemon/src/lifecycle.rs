//! Starting, stopping and ending of containers.
//!
//! A start announces itself in the ledger, reserves the host ports, launches the shim, plugs the
//! network into the shim's namespace, publishes, and only then lets the program run: whatever
//! fails, everything before it is undone. The end of a container is noticed through its shim's
//! process; `settle` then does what remains to be done, and may do it twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_api::Started;
use wharf_host::process::Signal as Named;
use wharf_network::Network;
use wharf_runtime::cgroup::kill_leftovers;
use wharf_runtime::client::Shim;
use wharf_runtime::exit::exit_status;
use wharf_runtime::signal::{self, Signal};
use wharf_spec::Target;

use crate::clock;
use crate::crash;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::listening;
use crate::record::{ContainerRecord, ExitRecord, Phase};
use crate::resolve::{Circumstances, Wanted, resolve};
use crate::restart::ran_for;
use crate::starting::{Cause, Prelude, Starting};

/// SIGKILL cannot be refused; a process that is still there after this hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(20);
/// Docker's default for the time from the stop signal to SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What a container's exit code is when its shim left no word: it was killed.
const KILLED: i32 = 128 + 9;

/// What becomes of a container that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    /// It goes if it was made with --rm.
    AsAsked,
    /// It stays, as it is about to be started again.
    Kept,
}

// === impl Daemon ===

impl Daemon {
    /// Starts a container; nothing happens when it runs already.
    pub fn start(self: &Arc<Self>, name: &str) -> Result<Started> {
        let id = self.id_of(name)?;
        let warnings = self.in_turn(&id, || self.start_in_turn(&id, Cause::Hand))?;
        listening::give_time(self, &id);
        Ok(Started { id, warnings })
    }

    /// Stops a container: its stop signal, and SIGKILL when it takes longer than `limit`, or than it
    /// was told when made.
    pub fn stop(self: &Arc<Self>, name: &str, limit: Option<Duration>) -> Result<()> {
        let id = self.id_of(name)?;
        // One that is being started is stopped once it runs.
        self.in_turn(&id, || self.note_stopped_by_hand(&id))?;
        self.end_program(&id, limit)?;
        self.in_turn(&id, || self.settle(&id))
    }

    /// Stops a container and starts it again; nobody else gets hold of it in between, and one with
    /// --rm stays.
    pub fn restart(self: &Arc<Self>, name: &str, limit: Option<Duration>) -> Result<Started> {
        let id = self.id_of(name)?;
        let warnings = self.in_turn(&id, || {
            self.end_program(&id, limit)?;
            self.settle_and(&id, Afterwards::Kept)?;
            self.start_in_turn(&id, Cause::Hand)
        })?;
        listening::give_time(self, &id);
        Ok(Started { id, warnings })
    }

    fn end_program(&self, id: &str, limit: Option<Duration>) -> Result<()> {
        let record = self.ledger.container(id)?;
        if record.phase != Phase::Running {
            return Ok(());
        }
        let asked = record.spec.stop_signal.as_deref().and_then(|text| signal::parse(text).ok());
        let asked = asked.unwrap_or(Signal::TERM);
        let own = record.request.supervision.stop_timeout.map_or(STOP_LIMIT, seconds);
        self.wake(&record)?;
        if let Some(shim) = Shim::adopt(&self.paths.shim(id))?
            && shim.kill(asked).is_ok()
        {
            crash::point("stop.signalled");
            if matches!(shim.wait_exit(limit.unwrap_or(own)), Ok(Some(_))) {
                return Ok(());
            }
        }
        self.kill_hard(&record)
    }

    /// Sends a signal to a running container.
    pub fn kill(self: &Arc<Self>, name: &str, text: &str) -> Result<()> {
        let asked = signal::parse(text).map_err(|e| Error::Invalid(e.to_string()))?;
        let id = self.id_of(name)?;
        let record = self.ledger.container(&id)?;
        if record.phase != Phase::Running {
            return Err(Error::Conflict(format!(
                "cannot kill container {:?}: container is not running",
                record.name
            )));
        }
        if Self::is_meant_to_end(&record, asked) {
            self.note_stopped_by_hand(&id)?;
        }
        self.wake(&record)?;
        if asked != Signal::KILL
            && let Some(shim) = Shim::adopt(&self.paths.shim(&id))?
        {
            return Ok(shim.kill(asked)?);
        }
        self.kill_hard(&record)?;
        self.in_turn(&id, || self.settle(&id))
    }

    /// Ends every process of a container and waits until its shim has written down how.
    pub(crate) fn kill_hard(&self, record: &ContainerRecord) -> Result<()> {
        if let Err(error) = self.wake(record) {
            tracing::warn!(id = record.short_id(), %error, "waking a container that is to end");
        }
        if let Ok(Some(shim)) = Shim::adopt(&self.paths.shim(&record.id)) {
            let told = shim.kill(Signal::KILL).is_ok();
            if told && matches!(shim.wait_exit(KILL_LIMIT), Ok(Some(_))) {
                return Ok(());
            }
            // Nothing was started yet, or the shim does not answer.
            if shim.delete().is_err() {
                shim.pid().signal(Named::KILL)?;
                shim.pid().wait_exit(KILL_LIMIT)?;
            }
        }
        Ok(kill_leftovers(&record.spec.cgroup)?)
    }

    /// Does what the end of a container asks for. Safe to do twice, and for a container that has
    /// not ended.
    pub(crate) fn settle(self: &Arc<Self>, id: &str) -> Result<()> {
        self.settle_and(id, Afterwards::AsAsked)
    }

    fn settle_and(self: &Arc<Self>, id: &str, afterwards: Afterwards) -> Result<()> {
        let Ok(record) = self.ledger.container(id) else { return Ok(()) };
        if record.phase != Phase::Running || self.shim_lives(id) {
            return Ok(());
        }
        let exit = self.exit_of(&record);
        kill_leftovers(&record.spec.cgroup)?;
        let code = exit.code;
        let (policy, ran) = (record.restart_policy(), ran_for(&record, &exit));
        let record = self.ledger.update_container(id, |record| {
            record.phase = Phase::Exited;
            if afterwards == Afterwards::AsAsked {
                record.restarts.note_end(policy, ran, &exit);
            }
            record.paused = false;
            record.exit = Some(exit);
        })?;
        crash::point("settle.recorded");
        let withdrawn = self.withdraw_container(id);
        crash::point("settle.withdrawn");
        let unplugged = self.leave_networks(&record);
        crash::point("settle.unplugged");
        let _gone = std::fs::remove_dir_all(self.paths.shim(id));
        self.events.tell("container", "die", id, Some(&record.name));
        // Whoever waits for the end of a container with --rm finds it gone.
        let auto_remove = record.request.auto_remove && afterwards == Afterwards::AsAsked;
        let removed = match auto_remove {
            true => self.freeing(|| self.remove_in_turn(id)),
            false => Ok(()),
        };
        self.end(id, code);
        if record.restarts.due {
            self.schedule_restart(&record);
        }
        removed?;
        withdrawn?;
        unplugged?;
        Ok(())
    }

    fn shim_lives(&self, id: &str) -> bool {
        matches!(Shim::adopt(&self.paths.shim(id)), Ok(Some(_)))
    }

    fn exit_of(&self, record: &ContainerRecord) -> ExitRecord {
        match exit_status(&self.paths.shim(&record.id)) {
            Ok(Some(exit)) => ExitRecord {
                code: exit.code,
                finished: exit.finished_at.to_string(),
                oom_killed: exit.oom_killed,
            },
            _ => ExitRecord { code: KILLED, finished: clock::now(), oom_killed: false },
        }
    }

    pub(crate) fn start_in_turn(self: &Arc<Self>, id: &str, cause: Cause) -> Result<Vec<String>> {
        self.start_after(id, cause, &|_| Ok(()))
    }

    /// Starts a container in its turn; `prelude` comes when it exists and its program has not begun.
    pub(crate) fn start_after(
        self: &Arc<Self>,
        id: &str,
        cause: Cause,
        prelude: Prelude<'_>,
    ) -> Result<Vec<String>> {
        let record = self.ledger.container(id)?;
        match record.phase {
            Phase::Running if record.paused => {
                return Err(Error::Conflict(
                    "cannot start a paused container, try unpause instead".into(),
                ));
            }
            Phase::Running => return Ok(Vec::new()),
            Phase::Created | Phase::Exited => {}
            Phase::Creating | Phase::Starting | Phase::Removing => {
                return Err(Error::Conflict(format!(
                    "container {:?} is being changed by somebody else; try again",
                    record.name
                )));
            }
        }
        let began = Instant::now();
        let done = Starting { daemon: self, record: &record, cause, prelude }.run();
        match &done {
            Ok(_) => {
                self.metrics.starts.inc();
                self.events.tell("container", "start", id, Some(&record.name));
                let took = began.elapsed().as_millis();
                tracing::info!(
                    id = record.short_id(),
                    took_ms = u64::try_from(took).unwrap_or(0),
                    "started"
                );
            }
            Err(error) => {
                self.metrics.start_failures.inc();
                if matches!(error, Error::Port(_) | Error::Limit(_)) {
                    self.metrics.reservation_failures.inc();
                }
                let text = error.to_string();
                self.ledger.update_container(id, |record| record.failure = Some(text))?;
            }
        }
        done
    }

    /// What a container is to publish, in order; nothing is bound.
    pub(crate) fn wanted(
        &self,
        record: &ContainerRecord,
        network: Option<&Network>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Wanted>> {
        // That nothing is to be published there was made sure of when it was made.
        let Some(network) = network else { return Ok(Vec::new()) };
        let circumstances = Circumstances {
            network: &network.name,
            mode_v4: network.ipv4.as_ref().map(|s| s.gateway_mode),
            mode_v6: network.ipv6.as_ref().map(|s| s.gateway_mode),
            host_ipv6: self.host_ipv6,
        };
        let all = if record.request.publish_all { record.exposed.as_slice() } else { &[] };
        let lasting = self.lasting_specs(&record.id);
        let wanted = resolve(&record.request.publish, &lasting, all, circumstances, warnings)?;
        let networks = [(network.name.clone(), crate::publications::policy(network))].into();
        self.refuse_impossible(&wanted, &target(record), &networks)?;
        Ok(wanted)
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// Where publications of a container lead.
pub(crate) fn target(record: &ContainerRecord) -> Target {
    Target::Container {
        id: record.id.clone(),
        ipv4: record.endpoint.as_ref().and_then(|it| it.ipv4).map(|net| net.addr()),
        ipv6: record.endpoint.as_ref().and_then(|it| it.ipv6).map(|net| net.addr()),
        network: record.network.clone(),
    }
}
