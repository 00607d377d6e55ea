//! Finding one's way after a crash: what was begun is finished or undone, and nothing is left over.
//!
//! The ledger says what every container was up to; the host is compared with it. Whatever of ours
//! is on the host and in no record is taken away: links, shims, cgroups, directories.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use wharf_host::process::Signal;
use wharf_network::{
    Leftover, Network, Owner as LinkOwner, leftovers, remove_leftover, remove_stray_routes,
};
use wharf_runtime::cgroup::{kill_leftovers, names_below, remove_cgroup_parent};
use wharf_runtime::client::Shim;
use wharf_runtime::shim::Phase as ShimPhase;

use crate::clock;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::flows;
use crate::planes::DesiredState;
use crate::publications::CONTAINER_STOPPED;
use crate::record::{ContainerRecord, Owner, Phase};
use crate::removal::remove_dir;

// === impl Daemon ===

impl Daemon {
    /// Brings host and ledger together. One container that cannot be mended does not keep the rest
    /// from being served.
    pub fn recover(self: &Arc<Self>) -> Result<()> {
        self.ensure_default_network()?;
        let records: Vec<ContainerRecord> =
            self.ledger.read(|state| state.containers.values().cloned().collect());
        let running: Vec<&ContainerRecord> =
            records.iter().filter(|record| self.adopt(record)).collect();
        self.drop_stale_publications(&running)?;
        self.remove_strangers(&records);
        self.sweep_volumes();
        self.bring_up_networks(&running)?;
        self.planes.adopt(&**self)?;
        note("forget flows that lead nowhere", self.forget_stale_flows());
        for record in &records {
            if let Err(error) = self.mend(record) {
                tracing::error!(id = record.short_id(), %error, "mending a container after a crash");
            }
        }
        Ok(())
    }

    /// Whether a container's process runs, as the ledger says or was about to say. The ledger is
    /// told now, so that the planes serve it from their first moment on.
    fn adopt(&self, record: &ContainerRecord) -> bool {
        if !matches!(record.phase, Phase::Running | Phase::Starting) {
            return false;
        }
        let shim = Shim::adopt(&self.paths.shim(&record.id)).ok().flatten();
        let runs = shim.is_some_and(|shim| match shim.state() {
            Ok(state) => state.phase == ShimPhase::Running,
            // One that is slow to answer is no dead one: what it has published stays.
            Err(_) => record.phase == Phase::Running && shim.is_alive(),
        });
        if record.phase == Phase::Starting && runs {
            let told = self.ledger.update_container(&record.id, |record| {
                record.phase = Phase::Running;
                record.started = Some(clock::now());
                record.exit = None;
                record.restarts.due = false;
            });
            note("note what runs", told);
        }
        runs
    }

    /// What was published for containers that do not run is given up before the planes look.
    fn drop_stale_publications(&self, running: &[&ContainerRecord]) -> Result<()> {
        let running: BTreeSet<&str> = running.iter().map(|c| c.id.as_str()).collect();
        let gone = self.ledger.transact(|draft| {
            let owners = draft.before().publications.values().map(|record| &record.owner);
            let stale = owners.filter(|owner| match owner {
                Owner::Container(id) => !running.contains(id.as_str()),
                Owner::Target(_) => false,
            });
            let stale: BTreeSet<Owner> = stale.cloned().collect();
            let rest = |owner| draft.rest_publications_of(owner, CONTAINER_STOPPED);
            Ok(stale.iter().flat_map(rest).map(|record| record.publication).collect::<Vec<_>>())
        })?;
        note("forget flows", self.flows.forget(&gone, flows::Which::All));
        Ok(())
    }

    fn forget_stale_flows(&self) -> Result<usize> {
        let subnets: Vec<_> = self.ledger.read(|state| {
            let subnets = state.networks.values().flat_map(Network::subnets);
            subnets.map(|side| side.subnet()).collect()
        });
        self.flows.forget_stale(&DesiredState::publications(self), &subnets)
    }

    fn mend(self: &Arc<Self>, before: &ContainerRecord) -> Result<()> {
        let Ok(record) = self.ledger.container(&before.id) else { return Ok(()) };
        match record.phase {
            Phase::Running => match Shim::adopt(&self.paths.shim(&record.id))? {
                Some(shim) => {
                    self.begin(&record.id);
                    note("answer a container's questions", self.serve_names(&record, &shim));
                    crate::health::watch(self, &record);
                    crate::watch::container(self, &record.id, &shim)
                }
                None => self.settle(&record.id),
            },
            Phase::Starting => self.undo_start(&record),
            Phase::Creating => self.discard(&record),
            Phase::Removing => self.finish_removal(&record),
            // Between its end and its removal.
            Phase::Exited if record.request.auto_remove => self.remove_in_turn(&record.id),
            Phase::Created | Phase::Exited => {
                self.clear_away(&record)?;
                self.start_if_owed(&record)
            }
        }
    }

    /// What a container at rest has on the host is what its end, or a failed start, has not come to
    /// take away.
    fn clear_away(&self, record: &ContainerRecord) -> Result<()> {
        let run_dir = self.paths.shim(&record.id);
        if !run_dir.exists() {
            return Ok(());
        }
        self.kill_hard(record)?;
        self.leave_networks(record)?;
        remove_dir(&run_dir)
    }

    fn undo_start(self: &Arc<Self>, record: &ContainerRecord) -> Result<()> {
        self.kill_hard(record)?;
        self.leave_networks(record)?;
        let _gone = std::fs::remove_dir_all(self.paths.shim(&record.id));
        self.ledger.update_container(&record.id, |record| {
            record.phase = record.phase_at_rest();
            record.failure = Some("the daemon was killed while starting it".into());
        })?;
        if record.request.auto_remove {
            return self.remove_in_turn(&record.id);
        }
        let record = self.ledger.container(&record.id)?;
        self.start_if_owed(&record)
    }

    fn bring_up_networks(&self, running: &[&ContainerRecord]) -> Result<()> {
        let places = running.iter().flat_map(|record| record.places());
        let in_use: BTreeSet<&str> = places.map(|place| place.network).collect();
        let there: BTreeSet<String> = leftovers()?
            .into_iter()
            .filter_map(|l| match l.owner {
                LinkOwner::Network(id) => Some(id),
                LinkOwner::Container(_) => None,
            })
            .collect();
        let networks = self.ledger.read(|state| state.networks.clone());
        for network in networks.values() {
            let default = network.name == wharf_network::DEFAULT_NETWORK;
            // User networks have their bridge for as long as they exist, the default one once it
            // has been used.
            if default && !in_use.contains(network.name.as_str()) && !there.contains(&network.id) {
                continue;
            }
            self.bring_up(network)?;
        }
        for place in running.iter().flat_map(|record| record.places()) {
            wharf_network::rejoin(place.endpoint)?;
        }
        Ok(())
    }

    /// Takes away what belongs to no record. Failures are told and passed over.
    fn remove_strangers(&self, records: &[ContainerRecord]) {
        let known: BTreeSet<&str> = records.iter().map(|c| c.id.as_str()).collect();
        let networks: BTreeSet<String> =
            self.ledger.read(|s| s.networks.values().map(|n| n.id.clone()).collect());
        let shims: BTreeSet<std::path::PathBuf> =
            records.iter().map(|c| self.paths.shim(&c.id)).collect();
        for dir in entries(&self.paths.shims()).filter(|dir| !shims.contains(dir)) {
            if let Ok(Some(shim)) = Shim::adopt(&dir) {
                note("end a stray shim", shim.pid().signal(Signal::KILL));
            }
            note("remove a stray run directory", std::fs::remove_dir_all(&dir));
        }
        let stranger = |leftover: &Leftover| match &leftover.owner {
            LinkOwner::Network(id) => !networks.contains(id),
            LinkOwner::Container(id) => !known.contains(id.as_str()),
        };
        for leftover in leftovers().unwrap_or_default().iter().filter(|l| stranger(l)) {
            note("remove a stray link", remove_leftover(leftover));
        }
        let networks = self.ledger.read(|state| state.networks.clone());
        let wanted: Vec<_> = networks.values().collect();
        note("remove stray routes", remove_stray_routes(&wanted));
        let parent = self.paths.cgroup_parent();
        for id in names_below(&parent)
            .unwrap_or_default()
            .iter()
            .filter(|id| !known.contains(id.as_str()))
        {
            note("remove a stray cgroup", kill_leftovers(&parent.join(id)));
        }
        let strays = entries(&self.paths.containers());
        for dir in strays
            .filter(|dir| dir.file_name().is_none_or(|n| !known.contains(&*n.to_string_lossy())))
        {
            note("remove a stray container directory", remove_dir(&dir));
        }
    }

    /// Leaves the host as it was found, when nothing of ours runs any more. Goes on after failures.
    pub fn leave(&self) {
        let (running, serving) = (self.running(), self.serving());
        if running > 0 || serving > 0 {
            tracing::info!(running, serving, "containers and ports go on without the daemon");
            return;
        }
        for error in self.planes.dismantle() {
            tracing::error!(%error, "taking the planes down");
        }
        let networks = self.ledger.read(|state| state.networks.clone());
        for network in networks.values() {
            note("remove a bridge", wharf_network::remove_bridge(network));
        }
        self.restore_host();
        note("remove the cgroup parent", remove_cgroup_parent(&self.paths.cgroup_parent()));
    }

    /// Puts back the kernel settings we changed, unless others have come to rely on forwarding:
    /// then switching it off would cut them off without a word.
    fn restore_host(&self) {
        let changes = self.host_changes();
        if changes.is_empty() {
            return;
        }
        if let Some(link) = others_forward() {
            tracing::info!(link, "forwarding stays on: others may rely on it");
            return;
        }
        for error in wharf_host::sysctl::restore(&changes) {
            tracing::warn!(%error, "putting a kernel setting back");
        }
        let _gone = std::fs::remove_file(self.paths.host_changes());
    }
}

/// A link of the kinds that containers, virtual machines and tunnels hang on, if there is one.
fn others_forward() -> Option<String> {
    const KINDS: [&str; 7] = ["bridge", "tun", "wireguard", "vxlan", "macvlan", "ipvlan", "geneve"];
    let links = wharf_host::link::Links::open().and_then(|mut links| links.list()).ok()?;
    let forwards = |kind: &Option<String>| kind.as_deref().is_some_and(|k| KINDS.contains(&k));
    links.into_iter().find(|link| forwards(&link.kind)).map(|link| link.name)
}

fn entries(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn note<T, E: Into<Error>>(doing: &str, done: Result<T, E>) {
    if let Err(error) = done {
        let error: Error = error.into();
        tracing::warn!(%error, doing, "cleaning up");
    }
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::Io { action: "clean up".into(), source }
    }
}
