//! One start of a container, step by step, and how it is undone.

use std::sync::Arc;

use wharf_network::Network;
use wharf_runtime::client::Shim;
use wharf_runtime::spec::ContainerSpec;

use crate::clock;
use crate::crash;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::ledger::Draft;
use crate::lifecycle::target;
use crate::record::{ContainerRecord, Owner, Phase};
use crate::reservation::Held;

/// What is done with a container that exists and whose program has not begun.
pub(crate) type Prelude<'a> = &'a dyn Fn(&Shim) -> Result<()>;

/// One start.
pub(crate) struct Starting<'a> {
    pub(crate) daemon: &'a Arc<Daemon>,
    pub(crate) record: &'a ContainerRecord,
    pub(crate) prelude: Prelude<'a>,
    pub(crate) cause: Cause,
}

/// Why a container is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody asked for it.
    Hand,
    /// Its restart policy asks for it.
    Policy,
}

// === impl Starting ===

impl Starting<'_> {
    /// Starts it; gives the warnings there are. After a failure everything is as before.
    pub(crate) fn run(&self) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        let network = self.daemon.first_network(self.record)?;
        let held = self.reserve(network.as_ref(), &mut warnings)?;
        crash::point("start.reserved");
        self.daemon.ledger.update_container(&self.record.id, |record| {
            record.phase = Phase::Starting;
            record.failure = None;
            record.restarts.begin(self.cause);
        })?;
        crash::point("start.marked");
        match self.bring_to_life(held) {
            Ok(()) => Ok(warnings),
            Err(error) => {
                self.undo();
                Err(error)
            }
        }
    }

    fn reserve(&self, network: Option<&Network>, warnings: &mut Vec<String>) -> Result<Vec<Held>> {
        let wanted = self.daemon.wanted(self.record, network, warnings)?;
        self.daemon.reserve(wanted, &target(self.record))
    }

    fn bring_to_life(&self, held: Vec<Held>) -> Result<()> {
        let (daemon, record) = (self.daemon, self.record);
        let spec = daemon.connected_spec(record)?;
        daemon.write_etc_files(record)?;
        let shim = self.launch(&spec)?;
        crash::point("start.launched");
        daemon.join_networks(record, &shim)?;
        crash::point("start.plugged");
        shim.create().map_err(runtime_failure)?;
        crash::point("start.created");
        let owner = Owner::Container(record.id.clone());
        // Those that rest come back as they are now.
        let resting = |draft: &mut Draft<'_>| {
            draft.delete_publications_of(&owner);
            Ok(())
        };
        daemon.put_in_force(&owner, held, resting)?;
        (self.prelude)(&shim)?;
        shim.start().map_err(runtime_failure)?;
        crash::point("start.started");
        daemon.begin(&record.id);
        daemon.ledger.update_container(&record.id, |record| {
            record.phase = Phase::Running;
            record.started = Some(clock::now());
            record.exit = None;
            record.restarts.due = false;
        })?;
        crash::point("start.done");
        crate::health::watch(daemon, record);
        crate::watch::container(daemon, &record.id, &shim)
    }

    fn launch(&self, spec: &ContainerSpec) -> Result<Shim> {
        let dir = self.daemon.paths.shim(&self.record.id);
        std::fs::create_dir_all(&dir).map_err(Error::io(format!("make {}", dir.display())))?;
        let exe = wharf_host::process::current_exe();
        Shim::launch(&exe, &dir, spec).map_err(runtime_failure)
    }

    /// Takes back whatever a failed start has done. Nothing here stops at a failure. The shim's
    /// directory stays while the shim may live, and the ledger is told last: what could not be
    /// undone is found again by the next start of the container, or of the daemon.
    fn undo(&self) {
        let (daemon, record) = (self.daemon, self.record);
        let killed = daemon.kill_hard(record);
        if killed.is_ok() {
            let _gone = std::fs::remove_dir_all(daemon.paths.shim(&record.id));
        }
        crash::point("undo.killed");
        let withdrawn = daemon.withdraw_container(&record.id);
        let unplugged = daemon.leave_networks(record);
        let settled = daemon.ledger.update_container(&record.id, |record| {
            record.phase = record.phase_at_rest();
        });
        let failures = [killed.err(), withdrawn.err(), unplugged.err(), settled.err()];
        for error in failures.into_iter().flatten() {
            tracing::warn!(id = record.short_id(), %error, "undoing a failed start");
        }
    }
}

/// The runtime's refusals of the command itself decide the exit code of `wharf run`.
fn runtime_failure(error: wharf_runtime::Error) -> Error {
    match error.exit_code() {
        code @ (126 | 127) => Error::Command { code, message: error.to_string() },
        _ => error.into(),
    }
}
