//! The planes, brought in line with the ledger.
//!
//! One lock orders every change to the kernel's tables and to the relay. A publication comes up in
//! this order, so that nobody sees half of it: the relay gets the sockets, still behind their drop
//! filter; the kernel plane gets its elements, all in one transaction; then the filters come off.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wharf_host::process::Pid;
use wharf_host::reserve::Bound;
use wharf_nft::NftPlane;
use wharf_plan::{Desired, HostFacts, NetworkPolicy, Plan, PublicationPlan, compile};
use wharf_relay::{Phase, Place, RelayClient, Route, Source};
use wharf_spec::{Publication, PublicationId};

use crate::crash;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, PlaneLabel};
use crate::paths::Paths;
use crate::reservation::{Held, rebind};

/// The relay sees a connection end as soon as its thread runs.
const NOTICE_LIMIT: Duration = Duration::from_secs(1);
const NOTICE_POLL: Duration = Duration::from_millis(5);

/// The planes of one daemon.
#[derive(Debug)]
pub(crate) struct Planes {
    paths: Paths,
    inner: Mutex<Inner>,
}

/// What the planes are to do, as the ledger has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desire {
    /// Every publication in force.
    pub publications: Vec<Publication>,
    /// The policies of all networks, by name.
    pub networks: BTreeMap<String, NetworkPolicy>,
}

/// Where the desire is read. Always asked under the planes' lock: a desire read before waiting for
/// it could lack what somebody else published meanwhile, and would take it down again.
pub(crate) type Ask<'a> = &'a dyn Fn() -> Desire;

#[derive(Debug)]
struct Inner {
    facts: HostFacts,
    nft: Option<NftPlane>,
    relay: Option<RelayClient>,
    held: BTreeMap<PublicationId, Vec<Bound>>,
    lost: BTreeMap<PublicationId, String>,
    up: BTreeSet<String>,
    plan: Plan,
}

/// What the relay has done for a publication.
pub(crate) type Traffic = wharf_relay::RouteStats;

// === impl Planes ===

impl Planes {
    /// The planes, untouched so far.
    pub(crate) fn new(paths: Paths, facts: HostFacts) -> Self {
        let inner = Inner {
            facts,
            nft: None,
            relay: None,
            held: BTreeMap::new(),
            lost: BTreeMap::new(),
            up: BTreeSet::new(),
            plan: Plan::default(),
        };
        Self { paths, inner: Mutex::new(inner) }
    }

    /// What the host can do, as far as the plan needs to know.
    pub(crate) fn facts(&self) -> HostFacts {
        self.lock().facts
    }

    /// Takes note that the host can do something else now.
    pub(crate) fn set_facts(&self, facts: HostFacts) {
        self.lock().facts = facts;
    }

    /// The number of sockets held.
    pub(crate) fn sockets(&self) -> usize {
        self.lock().held.values().map(Vec::len).sum()
    }

    /// Brings up `fresh` publications, which `desire` already contains.
    pub(crate) fn publish(
        &self,
        desire: Ask<'_>,
        fresh: Vec<Held>,
        metrics: &Metrics,
    ) -> Result<()> {
        let began = Instant::now();
        let mut inner = self.lock();
        let desire = &desire();
        let bound = fresh.iter().filter(|held| !held.sockets.is_empty());
        let ids: Vec<PublicationId> = bound.map(|held| held.publication.id.clone()).collect();
        let mut handed = inner.hand_over(&self.paths, &fresh);
        if inner.relay_is_gone() {
            // It died a moment ago; whoever watches it has not got the lock yet.
            inner.relay = None;
            inner.restore(&self.paths, desire);
            handed = inner.hand_over(&self.paths, &fresh);
        }
        // From here on they are ours to drop, however this ends: the caller reconciles after a
        // failure.
        for held in fresh {
            inner.lost.remove(&held.publication.id);
            inner.held.insert(held.publication.id, held.sockets);
        }
        handed?;
        crash::point("start.relayed");
        inner.apply_nft(desire)?;
        crash::point("start.published");
        inner.open(&ids)?;
        inner.count(metrics);
        metrics.reconciled(began.elapsed());
        Ok(())
    }

    /// Brings everything in line after something went away or a network came up: the kernel plane
    /// holds exactly what `desire` says, and no socket is held for anything else.
    pub(crate) fn reconcile(&self, desire: Ask<'_>, metrics: &Metrics) -> Result<()> {
        let began = Instant::now();
        let mut inner = self.lock();
        let desire = &desire();
        // The kernel plane first: while it still pointed at a target that is gone, closing the
        // socket would turn a refusal into silence.
        let applied = inner.apply_nft(desire);
        let dropped = inner.drop_others(desire);
        inner.count(metrics);
        metrics.reconciled(began.elapsed());
        applied.and(dropped)
    }

    /// Takes over what an earlier daemon left: the relay with its sockets, or, where there is no
    /// relay any more, the ports themselves.
    pub(crate) fn adopt(&self, desire: Ask<'_>, metrics: &Metrics) -> Result<()> {
        let mut inner = self.lock();
        let desire = &desire();
        inner.adopt_relay(&self.paths)?;
        inner.restore(&self.paths, desire);
        inner.apply_nft(desire)?;
        let dropped = inner.drop_others(desire);
        inner.count(metrics);
        dropped
    }

    /// Starts a relay in place of one that has died, with the sockets still held here.
    pub(crate) fn replace_relay(&self, desire: Ask<'_>) {
        let mut inner = self.lock();
        inner.relay = None;
        inner.restore(&self.paths, &desire());
    }

    /// Lets traffic of the network `name` through, as its policy says, from the next reconcile on.
    /// Answers whether it was down.
    pub(crate) fn bring_up(&self, name: &str) -> bool {
        self.lock().up.insert(name.to_owned())
    }

    /// Forgets the network `name`.
    pub(crate) fn bring_down(&self, name: &str) {
        self.lock().up.remove(name);
    }

    /// Whether there are sockets to serve and no relay to serve them.
    pub(crate) fn wants_relay(&self) -> bool {
        let inner = self.lock();
        inner.relay.is_none() && !inner.held.is_empty()
    }

    /// The relay's process, if there is one.
    pub(crate) fn relay_pid(&self) -> Option<u32> {
        self.lock().relay.as_ref().map(RelayClient::pid)
    }

    /// How a publication is served; and why it is not, if it could not be restored.
    pub(crate) fn served(&self, id: &PublicationId) -> (Option<PublicationPlan>, Option<String>) {
        let inner = self.lock();
        (inner.plan.publications.get(id).cloned(), inner.lost.get(id).cloned())
    }

    /// The relay's counters by publication.
    pub(crate) fn traffic(&self) -> BTreeMap<PublicationId, Traffic> {
        let mut inner = self.lock();
        let listed = inner.relay.as_mut().and_then(|relay| relay.list().ok());
        let counted = listed.unwrap_or_default().into_iter();
        counted.map(|listed| (PublicationId(listed.route.id), listed.stats)).collect()
    }

    /// Leaves nothing of the planes behind. Goes on after failures and returns them all.
    pub(crate) fn dismantle(&self) -> Vec<Error> {
        let mut inner = self.lock();
        let mut failures = Vec::new();
        inner.held.clear();
        if let Some(relay) = inner.relay.take()
            && let Err(error) = relay.shutdown()
        {
            failures.push(error.into());
        }
        if let Some(mut nft) = inner.nft.take()
            && let Err(error) = nft.remove()
        {
            failures.push(error.into());
        }
        inner.up.clear();
        inner.plan = Plan::default();
        failures
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every step inside leaves a state the next reconcile can mend.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn relay(&mut self, paths: &Paths) -> Result<&mut RelayClient> {
        if self.relay.is_none() {
            let exe = wharf_host::process::current_exe();
            self.relay = Some(wharf_relay::ensure(paths.run_dir(), &exe)?);
        }
        self.relay.as_mut().ok_or_else(|| Error::Conflict("the relay is not running".into()))
    }

    fn relay_is_gone(&self) -> bool {
        let pid = self.relay.as_ref().map(RelayClient::pid);
        pid.is_some_and(|pid| !Pid::of(pid).is_ok_and(|process| process.is_alive()))
    }

    fn hand_over(&mut self, paths: &Paths, fresh: &[Held]) -> Result<()> {
        let bound: Vec<&Held> = fresh.iter().filter(|held| !held.sockets.is_empty()).collect();
        if bound.is_empty() {
            return Ok(());
        }
        let routes = bound.iter().map(|held| route(&held.publication, &held.sockets)).collect();
        let all = bound.iter().flat_map(|held| &held.sockets);
        let sockets: Vec<_> = all.map(|bound| bound.socket.as_fd()).collect();
        Ok(self.relay(paths)?.add(routes, &sockets)?)
    }

    fn open(&mut self, ids: &[PublicationId]) -> Result<()> {
        match &mut self.relay {
            Some(relay) if !ids.is_empty() => Ok(relay.open(&names(ids))?),
            _ => Ok(()),
        }
    }

    fn apply_nft(&mut self, desire: &Desire) -> Result<()> {
        let mut networks = desire.networks.clone();
        networks.retain(|name, _| self.up.contains(name));
        let desired = Desired { publications: &desire.publications, networks: &networks };
        let plan = compile(desired, self.facts);
        if self.facts.nft_nat && (self.nft.is_some() || !plan.nft.bridges.is_empty()) {
            let nft = match &mut self.nft {
                Some(nft) => nft,
                none => none.insert(NftPlane::open("wharf")?),
            };
            nft.apply(&plan.nft)?;
        }
        self.plan = plan;
        Ok(())
    }

    fn drop_others(&mut self, desire: &Desire) -> Result<()> {
        let wanted: BTreeSet<&PublicationId> = desire.publications.iter().map(|p| &p.id).collect();
        let gone: Vec<PublicationId> =
            self.held.keys().filter(|id| !wanted.contains(id)).cloned().collect();
        self.lost.retain(|id, _| wanted.contains(id));
        if gone.is_empty() {
            return Ok(());
        }
        for id in &gone {
            self.held.remove(id);
        }
        let Some(relay) = &mut self.relay else { return Ok(()) };
        match relay.remove(&names(&gone), None) {
            Ok(_) => Ok(()),
            // Its sockets went with it; the next relay is not told of these.
            Err(_) if self.relay_is_gone() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn adopt_relay(&mut self, paths: &Paths) -> Result<()> {
        // No relay, or none that understands us: its ports are bound anew.
        let socket = wharf_relay::socket_path(paths.run_dir());
        let Ok(mut relay) = RelayClient::connect(&socket) else { return Ok(()) };
        await_dead_daemon(&mut relay)?;
        for (listed, sockets) in relay.list_with_sockets()? {
            if listed.leased {
                // Another program's, who ends it himself.
                continue;
            }
            let bound = bound(&listed.route, sockets);
            self.held.insert(PublicationId(listed.route.id), bound);
        }
        self.relay = Some(relay);
        Ok(())
    }

    /// Gives the relay every publication it does not have, from the sockets held here or newly
    /// bound ones. A port that someone else took meanwhile is noted, not fatal.
    fn restore(&mut self, paths: &Paths, desire: &Desire) {
        let known: BTreeSet<PublicationId> = match &mut self.relay {
            Some(relay) => {
                relay.open_routes().unwrap_or_default().into_iter().map(PublicationId).collect()
            }
            None => BTreeSet::new(),
        };
        for publication in &desire.publications {
            let id = publication.id.clone();
            if known.contains(&id) || publication.host.addresses.is_empty() {
                continue;
            }
            match self.restore_one(paths, publication) {
                Ok(()) => {
                    self.lost.remove(&id);
                }
                Err(reason) => {
                    tracing::warn!(publication = %id, reason, "publication lost its host port");
                    self.lost.insert(id, reason);
                }
            }
        }
    }

    fn restore_one(&mut self, paths: &Paths, publication: &Publication) -> Result<(), String> {
        let sockets = match self.held.remove(&publication.id) {
            Some(sockets) => sockets,
            None => rebind(publication).map_err(|clash| clash.to_string())?,
        };
        let held = Held { publication: publication.clone(), sockets };
        let id = publication.id.clone();
        let handed = self.hand_over(paths, std::slice::from_ref(&held));
        self.held.insert(id.clone(), held.sockets);
        handed.and_then(|()| self.open(&[id])).map_err(|error| error.to_string())
    }

    fn count(&self, metrics: &Metrics) {
        metrics.publications.clear();
        for served in self.plan.publications.values() {
            if let Some(plane) = served.planes().first() {
                let label = PlaneLabel { plane: plane.to_string() };
                metrics.publications.get_or_create(&label).inc();
            }
        }
    }
}

/// Routes a killed daemon had added and not opened go when the relay notices that it is gone, which
/// takes it a moment; until then their ports could not be bound anew.
fn await_dead_daemon(relay: &mut RelayClient) -> Result<()> {
    let deadline = Instant::now() + NOTICE_LIMIT;
    while relay.list()?.iter().any(|listed| listed.phase == Phase::Held)
        && Instant::now() < deadline
    {
        std::thread::sleep(NOTICE_POLL);
    }
    Ok(())
}

fn names(ids: &[PublicationId]) -> Vec<String> {
    ids.iter().map(|id| id.0.clone()).collect()
}

/// The order of sockets is the same on both sides: port by port, for each port place by place.
fn route(publication: &Publication, sockets: &[Bound]) -> Route {
    let first = sockets.first().map(|bound| bound.port);
    let places = sockets.iter().take_while(|bound| Some(bound.port) == first);
    Route {
        id: publication.id.0.clone(),
        proto: publication.proto,
        listeners: places.map(|b| Place { address: b.address, dual: b.dual }).collect(),
        target_v4: publication.target.ipv4(),
        target_v6: publication.target.ipv6(),
        host_ports: publication.host.ports,
        target_ports: publication.target_ports,
        allow: publication.options.allow.clone(),
        proxy_protocol: publication.options.proxy_protocol,
        connect_timeout_ms: None,
        idle_timeout_seconds: None,
        source: Source::Gateway,
        neighbours: Vec::new(),
    }
}

fn bound(route: &Route, sockets: Vec<OwnedFd>) -> Vec<Bound> {
    let places =
        route.host_ports.iter().flat_map(|port| route.listeners.iter().map(move |p| (port, *p)));
    let pairs = places.zip(sockets);
    pairs
        .map(|((port, place), socket)| Bound {
            address: place.address,
            dual: place.dual,
            port,
            socket,
        })
        .collect()
}
