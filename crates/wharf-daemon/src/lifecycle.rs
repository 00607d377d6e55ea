//! Starting, stopping and ending of containers.
//!
//! A start announces itself in the ledger, reserves the host ports, launches the shim, plugs the
//! network into the shim's namespace, publishes, and only then lets the program run: whatever
//! fails, everything before it is undone. The end of a container is noticed through its shim's
//! process; `settle` then does what remains to be done, and may do it twice.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_api::Started;
use wharf_host::process::Signal;
use wharf_network::Network;
use wharf_runtime::cgroup::kill_leftovers;
use wharf_runtime::client::Shim;
use wharf_runtime::exit::exit_status;
use wharf_runtime::signal;
use wharf_spec::Target;

use crate::clock;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::listening;
use crate::logs::{Ending, LogQuery};
use crate::record::{ContainerRecord, ExitRecord, Phase};
use crate::resolve::{Circumstances, Wanted, resolve};
use crate::starting::Starting;

/// SIGKILL cannot be refused; a process that is still there after this hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(20);
/// What a container's exit code is when its shim left no word: it was killed.
const KILLED: i32 = 128 + 9;
/// What a container says is not for everyone on the host; the shim makes its logs so, too.
const LOG_MODE: u32 = 0o640;

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
        let warnings = self.in_turn(&id, || self.start_in_turn(&id))?;
        listening::give_time(self, &id);
        Ok(Started { id, warnings })
    }

    /// Starts a container, and gives its output from this start on.
    pub fn start_attached(self: &Arc<Self>, name: &str) -> Result<(LogQuery, Ending)> {
        let id = self.id_of(name)?;
        self.in_turn(&id, || {
            let record = self.ledger.container(&id)?;
            if record.phase == Phase::Running {
                return Err(Error::Conflict(format!(
                    "container {:?} is already running: follow it with `wharf logs -f {}`",
                    record.name, record.name
                )));
            }
            // Opened before the start: a short-lived container with --rm may be gone, log and all,
            // before anyone reads.
            let file = self.open_log(&id)?;
            let skip = file.metadata().map_or(0, |m| m.len());
            self.start_in_turn(&id)?;
            let query = LogQuery {
                file,
                skip,
                follow: true,
                tail: None,
                timestamps: false,
                with_exit: true,
            };
            Ok((query, self.ending(&id)?))
        })
    }

    /// A container's output so far, and how to learn of its end.
    pub fn log(&self, name: &str) -> Result<(File, Ending)> {
        let id = self.id_of(name)?;
        let record = self.ledger.container(&id)?;
        let file = self.open_log(&id)?;
        let ending = match record.phase {
            Phase::Running | Phase::Starting => self.ending(&id)?,
            _ => tokio::sync::watch::Sender::new(Some(0)).subscribe(),
        };
        Ok((file, ending))
    }

    /// Stops a container: its stop signal, and SIGKILL when it takes longer than `limit`.
    pub fn stop(self: &Arc<Self>, name: &str, limit: Duration) -> Result<()> {
        let id = self.id_of(name)?;
        // One that is being started is stopped once it runs.
        self.in_turn(&id, || ());
        self.end_program(&id, limit)?;
        self.in_turn(&id, || self.settle(&id))
    }

    /// Stops a container and starts it again; nobody else gets hold of it in between, and one with
    /// --rm stays.
    pub fn restart(self: &Arc<Self>, name: &str, limit: Duration) -> Result<Started> {
        let id = self.id_of(name)?;
        let warnings = self.in_turn(&id, || {
            self.end_program(&id, limit)?;
            self.settle_and(&id, Afterwards::Kept)?;
            self.start_in_turn(&id)
        })?;
        listening::give_time(self, &id);
        Ok(Started { id, warnings })
    }

    fn end_program(&self, id: &str, limit: Duration) -> Result<()> {
        let record = self.ledger.container(id)?;
        if record.phase != Phase::Running {
            return Ok(());
        }
        let asked = record.spec.stop_signal.as_deref().and_then(|text| signal::parse(text).ok());
        let asked = asked.unwrap_or(Signal::TERM);
        if let Some(shim) = Shim::adopt(&self.paths.shim(id))?
            && shim.kill(asked).is_ok()
            && matches!(shim.wait_exit(limit), Ok(Some(_)))
        {
            return Ok(());
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
        if let Ok(Some(shim)) = Shim::adopt(&self.paths.shim(&record.id)) {
            let told = shim.kill(Signal::KILL).is_ok();
            if told && matches!(shim.wait_exit(KILL_LIMIT), Ok(Some(_))) {
                return Ok(());
            }
            // Nothing was started yet, or the shim does not answer.
            if shim.delete().is_err() {
                shim.pid().signal(Signal::KILL)?;
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
        self.ledger.update_container(id, |record| {
            record.phase = Phase::Exited;
            record.exit = Some(exit);
        })?;
        let withdrawn = self.withdraw_container(id);
        let unplugged = self.leave_networks(&record);
        let _gone = std::fs::remove_dir_all(self.paths.shim(id));
        self.events.tell("container", "die", id, Some(&record.name));
        // Whoever waits for the end of a container with --rm finds it gone.
        let auto_remove = record.request.auto_remove && afterwards == Afterwards::AsAsked;
        let removed = if auto_remove { self.remove_in_turn(id) } else { Ok(()) };
        self.end(id, code);
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
            Ok(Some(exit)) => {
                ExitRecord { code: exit.code, finished: exit.finished_at.to_string() }
            }
            _ => ExitRecord { code: KILLED, finished: clock::now() },
        }
    }

    fn start_in_turn(self: &Arc<Self>, id: &str) -> Result<Vec<String>> {
        let record = self.ledger.container(id)?;
        match record.phase {
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
        let done = Starting { daemon: self, record: &record }.run();
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

    /// Opens a container's log; that of one that never ran is empty.
    fn open_log(&self, id: &str) -> Result<File> {
        let path = self.paths.container(id).join(wharf_runtime::log::FILE);
        let mut options = File::options();
        options.read(true).append(true).create(true).mode(LOG_MODE);
        options.open(&path).map_err(Error::io(format!("open {}", path.display())))
    }
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
