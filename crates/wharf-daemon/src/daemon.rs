//! The daemon: the ledger, the planes and the runtime, under one roof.
//!
//! What it can be asked to do is spread over the modules by subject, as `impl Daemon` blocks:
//! `create`, `lifecycle`, `removal`, `networks`, `images`, `describe`, `recover`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use wharf_api::{ContainerState, Shutdown};
use wharf_engine::Engines;
use wharf_network::AddressPools;
use wharf_plan::HostFacts;
use wharf_runtime::image::ImageStore;
use wharf_runtime::image::registry::Hosts;
use wharf_spec::PortRange;

use crate::Config;
use crate::ballast::Ballast;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::firewalls::Reload;
use crate::flows::Flows;
use crate::health::Healths;
use crate::ledger::Ledger;
use crate::logs::Ending;
use crate::metrics::{Metrics, StateLabel};
use crate::naming::Names;
use crate::paths::Paths;
use crate::planes::{DesiredState, Planes, TABLE};
use crate::record::{ContainerRecord, Phase, PublicationRecord};
use crate::removal::Removal;
use crate::store::Store;

/// Exit codes of removed containers are remembered for whoever still waits for one; this many are
/// enough for every client that can be waiting at a time.
const REMEMBERED_ENDINGS: usize = 1_024;
/// How a container that was removed by force has ended: by SIGKILL.
const KILLED: i32 = 137;

/// What the kernel gives to whoever asks for any port; all, where that cannot be read.
fn given_out() -> PortRange {
    let range = wharf_host::reserve::ephemeral_range().ok();
    let range = range.and_then(|(first, last)| PortRange::new(first, last));
    range.or(PortRange::new(1024, u16::MAX)).unwrap_or(PortRange::single(u16::MAX))
}

/// One daemon.
#[derive(Debug)]
pub struct Daemon {
    pub(crate) paths: Paths,
    pub(crate) pools: AddressPools,
    pub(crate) ledger: Ledger,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) registries: Hosts,
    pub(crate) planes: Planes,
    pub(crate) engines: Engines,
    pub(crate) flows: Flows,
    pub(crate) reload: Reload,
    pub(crate) ballast: Ballast,
    pub(crate) healths: Healths,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) descriptor_limit: u64,
    pub(crate) host_ipv6: bool,
    pub(crate) names: Names,
    /// Where the host's resolvers are named.
    pub(crate) resolv_conf: PathBuf,
    pub(crate) stop: Notify,
    /// Whether the daemon is about to end: streams without an end of their own end then.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) bringing_up: Mutex<()>,
    /// Held while volumes are made for a container, and while they are removed.
    pub(crate) volumes: Mutex<()>,
    turns: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    endings: Mutex<Endings>,
}

#[derive(Debug, Default)]
struct Endings {
    senders: HashMap<String, watch::Sender<Option<i32>>>,
    removed: VecDeque<String>,
}

// === impl Daemon ===

impl Daemon {
    /// Opens the state directory and probes the host.
    pub fn open(config: &Config) -> Result<Self> {
        let paths = config.paths.clone();
        let store = Store::open(&paths.database())?;
        let descriptor_limit = wharf_host::process::raise_descriptor_limit()?;
        let capabilities = wharf_host::probe::probe();
        let facts = HostFacts {
            nft_nat: wharf_host::nftables::probe_nat(),
            forwarding_v4: capabilities.ipv4_forwarding,
            forwarding_v6: capabilities.ipv6_forwarding,
            transparent: wharf_host::transparent::is_possible(),
            // Whether it can be had is found out by the first that needs it: trying takes a tenth of
            // a second, for which nobody should wait who needs it not.
            no_ebpf: (!config.ebpf).then(|| "switched off (--no-ebpf)".to_owned()),
            steered: BTreeSet::new(),
            given_out: given_out(),
            firewall: Arc::new(wharf_nft::foreign::read(TABLE).ruleset),
        };
        if !facts.transparent {
            tracing::warn!(
                "the relay cannot keep clients' addresses: the kernel lacks the socket expression \
                 of nftables, or policy routing"
            );
        }
        Ok(Self {
            pools: config.pools(&store)?,
            ledger: Ledger::open(store)?,
            images: Arc::new(ImageStore::open(&paths.images())?),
            registries: config.registries.clone(),
            planes: Planes::open(paths.clone(), facts, config)?,
            engines: Engines::new(config.engines.clone()),
            flows: Flows::default(),
            reload: Reload::default(),
            ballast: Ballast::at(paths.ballast()),
            healths: Healths::default(),
            events: Events::new(),
            metrics: Metrics::new(),
            descriptor_limit,
            host_ipv6: capabilities.ipv6,
            names: Names::new(config.resolv_conf.clone()),
            resolv_conf: config.resolv_conf.clone(),
            stop: Notify::new(),
            closing: watch::Sender::new(false),
            bringing_up: Mutex::default(),
            volumes: Mutex::default(),
            turns: Mutex::default(),
            endings: Mutex::default(),
            paths,
        })
    }

    /// Carries out `work` on one container while nobody else changes it.
    pub(crate) fn in_turn<T>(&self, id: &str, work: impl FnOnce() -> T) -> T {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Locks nobody holds or waits for are of no more use.
            if turns.len() > REMEMBERED_ENDINGS {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry(id.to_owned()).or_default())
        };
        let _held = turn.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// The id of the container that `name` means.
    pub(crate) fn id_of(&self, name: &str) -> Result<String> {
        self.ledger.read(|state| state.find_container(name).map(|c| c.id.clone()))
    }

    /// Tells when and how the container `name` ends; also shortly after it was removed.
    pub(crate) fn ending(&self, name: &str) -> Result<Ending> {
        let found = self.ledger.read(|state| {
            state.find_container(name).map(|c| (c.id.clone(), c.phase, c.exit.clone()))
        });
        let (id, known) = match found {
            Ok((id, Phase::Running | Phase::Starting, _)) => (id, None),
            Ok((id, _, exit)) => (id, exit.map(|exit| exit.code)),
            Err(error) => {
                let endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
                let sender = endings.senders.iter().find(|(id, _)| id.starts_with(name));
                return sender
                    .filter(|_| name.len() >= 12)
                    .map(|(_, s)| s.subscribe())
                    .ok_or(error);
            }
        };
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = endings.senders.entry(id).or_insert_with(|| watch::Sender::new(known));
        Ok(sender.subscribe())
    }

    /// Takes note that a container is about to run.
    pub(crate) fn begin(&self, id: &str) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        endings
            .senders
            .entry(id.to_owned())
            .or_insert_with(|| watch::Sender::new(None))
            .send_replace(None);
    }

    /// Tells everyone who waits that a container has ended.
    pub(crate) fn end(&self, id: &str, code: i32) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        endings.senders.entry(id.to_owned()).or_default().send_replace(Some(code));
    }

    /// Ends the wait of whoever waits for a container that is removed: without an exit code of its
    /// own it was killed, or never ran.
    pub(crate) fn end_if_waited_for(&self, record: &ContainerRecord) {
        let known = record.exit.as_ref().map_or(KILLED, |exit| exit.code);
        let endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = endings.senders.get(&record.id) {
            sender.send_if_modified(|code| code.is_none() && code.replace(known).is_none());
        }
    }

    /// Forgets a removed container, but not at once: somebody may be about to ask how it ended.
    pub(crate) fn forget(&self, id: &str) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        endings.removed.push_back(id.to_owned());
        while endings.removed.len() > REMEMBERED_ENDINGS {
            if let Some(oldest) = endings.removed.pop_front() {
                endings.senders.remove(&oldest);
            }
        }
    }

    /// The text of `/metrics`.
    pub fn metrics_text(&self) -> String {
        self.metrics.count_publications(&self.planes.count());
        self.metrics.containers.clear();
        let states: Vec<ContainerState> =
            self.ledger.read(|s| s.containers.values().map(ContainerRecord::state).collect());
        for state in states {
            let label = match state {
                ContainerState::Created => "created",
                ContainerState::Running => "running",
                ContainerState::Restarting => "restarting",
                ContainerState::Paused => "paused",
                ContainerState::Exited => "exited",
                ContainerState::Removing => "removing",
            };
            self.metrics.containers.get_or_create(&StateLabel { state: label }).inc();
        }
        self.count_traffic();
        self.metrics.count_questions(self.names.counts());
        self.metrics.count_overflow(&self.planes.local_overflow());
        self.metrics.text()
    }

    fn count_traffic(&self) {
        let traffic = self.planes.traffic();
        let relayed = traffic.values().map(|t| t.bytes_in.saturating_add(t.bytes_out)).sum();
        self.metrics.relayed.set(relayed);
        let open = traffic.values().map(|t| t.connections_open.saturating_add(t.flows_open)).sum();
        let publications = DesiredState::publications(self);
        let in_kernel = crate::flows::count(publications.iter()).values().sum();
        let led = self.planes.led().values().map(|counted| counted.open).sum();
        self.metrics.count_connections(open, in_kernel, led);
        let by_relay = traffic.values().flat_map(crate::describe::errors);
        self.metrics.count_refusals(by_relay.chain(self.planes.denials()));
    }

    /// Stops the daemon once the answer is out; with `all`, after removing everything.
    pub fn shut_down(self: &Arc<Self>, all: bool) -> Result<Shutdown> {
        if all {
            self.remove_everything()?;
        }
        self.stop.notify_one();
        Ok(Shutdown { pid: std::process::id(), running: self.running() })
    }

    /// The number of running containers.
    pub(crate) fn running(&self) -> usize {
        let runs = |c: &&ContainerRecord| matches!(c.phase, Phase::Running | Phase::Starting);
        self.ledger.read(|state| state.containers.values().filter(runs).count())
    }

    /// The number of publications in force.
    pub(crate) fn serving(&self) -> usize {
        let in_force = |record: &&PublicationRecord| record.suspended.is_none();
        self.ledger.read(|state| state.publications.values().filter(in_force).count())
    }

    fn remove_everything(self: &Arc<Self>) -> Result<()> {
        let ids: Vec<String> = self.ledger.read(|s| s.containers.keys().cloned().collect());
        let mut failures = Vec::new();
        for id in ids {
            match self.remove(&id, Removal { force: true, volumes: true }) {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => failures.push(error.to_string()),
            }
        }
        let names: Vec<String> = self.ledger.read(|s| s.networks.keys().cloned().collect());
        for name in names.iter().filter(|name| *name != wharf_network::DEFAULT_NETWORK) {
            if let Err(error) = self.remove_network(name) {
                failures.push(error.to_string());
            }
        }
        if let Err(error) = self.unpublish_everything() {
            failures.push(error.to_string());
        }
        match failures.is_empty() {
            true => Ok(()),
            false => Err(Error::Conflict(format!("not everything went: {}", failures.join("; ")))),
        }
    }
}
