//! The planes, brought in line with the ledger.
//!
//! One lock orders every change to the kernel's tables and to the relay. A publication comes up in
//! this order, so that nobody sees half of it: the relay gets the sockets, still behind their drop
//! filter; the kernel plane gets its elements, all in one transaction; then the filters come off.
//!
//! Publishing, changing and taking down touch what changes and nothing else, so that they take no
//! longer beside 10,000 publications than beside ten. [`Planes::reconcile`] makes everything as the
//! ledger wants it, whatever it is now.

mod kernel;
mod local;
mod relay;
mod steering;

pub(crate) use kernel::TABLE;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use std::path::PathBuf;

use wharf_ebpf::EbpfPlane;
use wharf_host::reserve::Bound;
use wharf_host::transparent;
use wharf_nft::{NftPlane, Ownership};
use wharf_plan::{HostFacts, NetworkPolicy, Plan, PublicationPlan, Share};
use wharf_relay::{Opener, Phase, RelayClient};
use wharf_spec::{Publication, PublicationId};

use crate::config::{Config, RelayLimits};
use crate::crash;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::paths::Paths;
use crate::reservation::Held;

/// The planes of one daemon.
#[derive(Debug)]
pub(crate) struct Planes {
    paths: Paths,
    inner: Mutex<Inner>,
}

/// What the planes are to do, as the ledger has it. Always asked under the planes' lock: what was
/// read before waiting for it could lack what somebody else published meanwhile, and would take it
/// down again.
pub(crate) trait DesiredState {
    /// Every publication in force.
    fn publications(&self) -> Vec<Publication>;
    /// One of them.
    fn publication(&self, id: &PublicationId) -> Option<Publication>;
    /// The policies of all networks, by name.
    fn networks(&self) -> BTreeMap<String, NetworkPolicy>;
}

#[derive(Debug)]
struct Inner {
    facts: HostFacts,
    limits: RelayLimits,
    table: Ownership,
    /// Whether the way back for clients' addresses was laid, or tried to be.
    way_back: bool,
    nft: Option<NftPlane>,
    /// Whether our table was ever made: then it is kept, also with nothing in it.
    table_made: bool,
    /// Where the eBPF plane is pinned.
    place: PathBuf,
    /// What leads the host's own processes, once there is somebody to be led.
    ebpf: Option<EbpfPlane>,
    /// Ranges of so many ports have one socket.
    steer_from: usize,
    /// The publications whose sockets stand for a whole range.
    steered: BTreeSet<PublicationId>,
    /// Whether its maps may not hold what the plan says.
    local_in_doubt: bool,
    relay: Option<RelayClient>,
    /// Opens sockets in other namespaces, for the relay.
    opener: Option<Opener>,
    /// The namespaces of targets that are reached from inside, as they were found.
    namespaces: BTreeMap<PublicationId, u64>,
    /// Whether the relay may have routes that are not as the plan wants them: a change of one has
    /// failed, and may have been carried out or not.
    routes_in_doubt: bool,
    held: BTreeMap<PublicationId, Vec<Bound>>,
    lost: BTreeMap<PublicationId, Loss>,
    up: BTreeSet<String>,
    /// The networks that are up, as the desired state had them the last time.
    networks: BTreeMap<String, NetworkPolicy>,
    plan: Plan,
}

/// Why a publication is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loss {
    reason: String,
    /// Whether somebody else has its host ports.
    taken: bool,
}

/// What the relay has done for a publication.
pub(crate) type Traffic = wharf_relay::RouteStats;

// === impl Planes ===

impl Planes {
    /// The planes, untouched so far.
    pub(crate) fn open(paths: Paths, facts: HostFacts, config: &Config) -> Result<Self> {
        let mut inner = Inner {
            facts,
            limits: config.relay,
            table: config.table,
            way_back: false,
            nft: None,
            table_made: false,
            place: paths.bpf(),
            ebpf: None,
            steer_from: config.steer_from,
            steered: BTreeSet::new(),
            local_in_doubt: false,
            relay: None,
            opener: None,
            namespaces: BTreeMap::new(),
            routes_in_doubt: false,
            held: BTreeMap::new(),
            lost: BTreeMap::new(),
            up: BTreeSet::new(),
            networks: BTreeMap::new(),
            plan: Plan::default(),
        };
        inner.open_kernel()?;
        Ok(Self { paths, inner: Mutex::new(inner) })
    }

    /// What the host can do, as far as the plan needs to know.
    pub(crate) fn facts(&self) -> HostFacts {
        self.lock().facts.clone()
    }

    /// Takes note that the host can do something else now. Whoever looks at one fact leaves the
    /// others as somebody else has found them meanwhile.
    pub(crate) fn note_facts(&self, note: impl FnOnce(&mut HostFacts)) {
        note(&mut self.lock().facts);
    }

    /// The number of sockets held.
    pub(crate) fn sockets(&self) -> usize {
        self.lock().held.values().map(Vec::len).sum()
    }

    /// Brings up `fresh` publications, which the ledger already has.
    pub(crate) fn publish(
        &self,
        state: &dyn DesiredState,
        fresh: Vec<Held>,
        metrics: &Metrics,
    ) -> Result<()> {
        let began = Instant::now();
        let mut inner = self.lock();
        inner.look_at_networks(state);
        inner.mark_answers()?;
        let bound = fresh.iter().filter(|held| !held.sockets.is_empty());
        let ids: Vec<PublicationId> = bound.map(|held| held.publication.id.clone()).collect();
        fresh.iter().for_each(|held| inner.note_steering(&held.publication, &held.sockets));
        let added = inner.plan_more(fresh.iter().map(|held| &held.publication));
        let mut handed = inner.hand_over(&self.paths, &fresh);
        if inner.relay_is_gone() {
            // It died a moment ago; whoever watches it has not got the lock yet.
            inner.relay = None;
            inner.restore(&self.paths, &state.publications());
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
        inner.change_kernel(&Share::default(), &added)?;
        inner.set_floors(&ids.iter().cloned().collect())?;
        crash::point("start.published");
        inner.open(&ids)?;
        metrics.reconciled(began.elapsed());
        Ok(())
    }

    /// Leads a publication elsewhere, or serves it otherwise, without a gap: as the ledger has it
    /// now, which may be later than what the caller has written there. Its host side is as it was.
    pub(crate) fn change(
        &self,
        state: &dyn DesiredState,
        id: &PublicationId,
        metrics: &Metrics,
    ) -> Result<()> {
        let began = Instant::now();
        let mut inner = self.lock();
        // Whoever took it out of the ledger takes it down.
        let Some(new) = &state.publication(id) else { return Ok(()) };
        inner.look_at_networks(state);
        inner.mark_answers()?;
        let removed = inner.plan.shares.remove(&new.id).unwrap_or_default();
        let added = inner.plan_more([new]);
        let changed = inner.change_kernel(&removed, &added);
        // Whatever the kernel said: the relay serves everything that it does not.
        inner.lead_elsewhere(&self.paths, new)?;
        inner.sever_shut_out(new);
        metrics.reconciled(began.elapsed());
        changed
    }

    /// Takes publications down, which are not in the ledger any more; open TCP connections of the
    /// relay go on for `drain_seconds`.
    pub(crate) fn unpublish(
        &self,
        gone: &[PublicationId],
        drain_seconds: Option<u32>,
        metrics: &Metrics,
    ) -> Result<()> {
        let began = Instant::now();
        let mut inner = self.lock();
        let mut removed = Share::default();
        for id in gone {
            inner.lost.remove(id);
            inner.namespaces.remove(id);
            inner.steered.remove(id);
            inner.plan.publications.remove(id);
            removed.add(inner.plan.shares.remove(id).unwrap_or_default());
        }
        // The kernel plane first: while it still pointed at a target that is gone, closing the
        // socket would turn a refusal into silence.
        let applied = inner.change_kernel(&removed, &Share::default());
        let dropped = inner.drop_routes(gone, drain_seconds);
        if drain_seconds.is_none() {
            inner.sever(&gone.iter().cloned().collect());
        }
        metrics.reconciled(began.elapsed());
        applied.and(dropped)
    }

    /// Brings everything in line with `state`: the kernel plane holds exactly what it says, and no
    /// socket is held for anything else. Answers which publications are served by another plane
    /// than before.
    pub(crate) fn reconcile(
        &self,
        state: &dyn DesiredState,
        metrics: &Metrics,
    ) -> Result<Vec<Publication>> {
        let began = Instant::now();
        let mut inner = self.lock();
        let publications = state.publications();
        let plan = inner.prepare(state, &publications);
        let moved = inner.other_planes(&plan, &publications);
        let applied = inner.apply_kernel(plan);
        let dropped = inner.drop_others(&publications);
        let led = inner.correct_routes(&self.paths, &publications);
        metrics.reconciled(began.elapsed());
        applied.and(dropped).and(led).map(|()| moved)
    }

    /// Takes over what an earlier daemon left: the relay with its sockets, or, where there is no
    /// relay any more, the ports themselves.
    pub(crate) fn adopt(&self, state: &dyn DesiredState) -> Result<()> {
        let mut inner = self.lock();
        inner.adopt_local();
        let known = inner.adopt_relay(&self.paths)?;
        let publications = state.publications();
        let plan = inner.prepare(state, &publications);
        inner.plan.publications.clone_from(&plan.publications);
        inner.catch_up(&self.paths, &known, &publications);
        inner.restore(&self.paths, &publications);
        // What was bound anew may be steered now and was not, or the other way round.
        let plan = inner.with_steering(plan, &publications);
        inner.apply_kernel(plan)?;
        inner.drop_others(&publications)
    }

    /// Turns to the relay that serves now: the successor of the one known so far, or, if that has
    /// died, a new one with the sockets still held here. Answers whether there was a successor.
    pub(crate) fn replace_relay(&self, state: &dyn DesiredState) -> bool {
        let mut inner = self.lock();
        inner.relay = RelayClient::connect(&wharf_relay::socket_path(self.paths.run_dir())).ok();
        let succeeded = inner.relay.is_some();
        inner.restore(&self.paths, &state.publications());
        succeeded
    }

    /// Tries again what could not be had before. Answers which publications are served now and
    /// were not.
    pub(crate) fn retry_lost(&self, state: &dyn DesiredState) -> Vec<PublicationId> {
        let mut inner = self.lock();
        if inner.lost.is_empty() {
            return Vec::new();
        }
        let before: Vec<PublicationId> = inner.lost.keys().cloned().collect();
        inner.restore(&self.paths, &state.publications());
        before.into_iter().filter(|id| !inner.lost.contains_key(id)).collect()
    }

    /// Serves what is in force again and was not before.
    pub(crate) fn resume(&self, state: &dyn DesiredState) -> Result<()> {
        let mut inner = self.lock();
        let publications = state.publications();
        let plan = inner.prepare(state, &publications);
        inner.plan.publications.clone_from(&plan.publications);
        inner.restore(&self.paths, &publications);
        inner.apply_kernel(plan)
    }

    /// Corrects the relay's routes after a change of one has failed. Answers what was wrong.
    pub(crate) fn mend_routes(&self, state: &dyn DesiredState) -> Result<Vec<String>> {
        let mut inner = self.lock();
        if !inner.routes_in_doubt {
            return Ok(Vec::new());
        }
        inner.correct_routes(&self.paths, &state.publications())?;
        Ok(vec!["the relay may have led ports elsewhere".to_owned()])
    }

    /// Has targets that are reached from inside be reached again. Answers what was wrong.
    pub(crate) fn mend_inside(&self, state: &dyn DesiredState) -> Result<Vec<String>> {
        let mut inner = self.lock();
        if inner.namespaces.is_empty() {
            return Ok(Vec::new());
        }
        let publications = state.publications();
        inner.mend_inside(&self.paths, &publications)
    }

    /// Makes our table what it was before others changed it. Answers what was different.
    pub(crate) fn repair(&self) -> Result<Vec<String>> {
        self.lock().repair_kernel()
    }

    /// The socket by which our table is changed, as the kernel numbers it.
    pub(crate) fn nft_port(&self) -> Option<u32> {
        self.lock().nft.as_ref().and_then(|nft| nft.port().ok())
    }

    /// Whether traffic of the network `name` is let through.
    pub(crate) fn is_up(&self, name: &str) -> bool {
        self.lock().up.contains(name)
    }

    /// Puts the way back where it belongs after somebody has changed the host's rules. Answers
    /// whether it was not there.
    pub(crate) fn keep_way_back(&self) -> Result<bool> {
        let inner = self.lock();
        if inner.way_back && inner.facts.transparent {
            return Ok(transparent::lay_way_back()?);
        }
        Ok(false)
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

    /// A connection to the relay that says nothing: it becomes readable when the relay ends, or
    /// gives way to a successor.
    pub(crate) fn relay_line(&self) -> Option<RelayClient> {
        RelayClient::connect(&wharf_relay::socket_path(self.paths.run_dir())).ok()
    }

    /// How a publication is served; and why it is not, if it could not be restored.
    pub(crate) fn served(&self, id: &PublicationId) -> (Option<PublicationPlan>, Option<String>) {
        let inner = self.lock();
        let lost = inner.lost.get(id).map(|loss| loss.reason.clone());
        (inner.plan.publications.get(id).cloned(), lost)
    }

    /// How many publications each plane serves, by the fastest.
    pub(crate) fn count(&self) -> BTreeMap<String, i64> {
        let inner = self.lock();
        let mut counts = BTreeMap::new();
        for plane in inner.plan.publications.values().filter_map(|p| p.planes().first().copied()) {
            *counts.entry(plane.to_string()).or_default() += 1;
        }
        counts
    }

    /// Packets that rules of our table have dropped, by what the rule is for.
    pub(crate) fn denials(&self) -> Vec<(String, u64)> {
        let mut inner = self.lock();
        let made = inner.table_made;
        let counted = inner.nft.as_mut().filter(|_| made).and_then(|nft| nft.counters().ok());
        let counted = counted.unwrap_or_default().into_iter();
        counted.map(|(what, counted)| (what.replace(' ', "_"), counted.packets)).collect()
    }

    /// The relay's counters by publication.
    pub(crate) fn traffic(&self) -> BTreeMap<PublicationId, Traffic> {
        let mut inner = self.lock();
        let listed = inner.relay.as_mut().and_then(|relay| relay.list().ok());
        let counted = listed.unwrap_or_default().into_iter();
        // One that drains may have the identity of one that serves again.
        let counted = counted.filter(|listed| listed.phase != Phase::Leaving);
        counted.map(|listed| (PublicationId(listed.route.id), listed.stats)).collect()
    }

    /// Leaves nothing of the planes behind. Goes on after failures and returns them all.
    pub(crate) fn dismantle(&self) -> Vec<Error> {
        let mut inner = self.lock();
        let mut failures = Vec::new();
        inner.held.clear();
        inner.opener = None;
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
        if let Some(plane) = inner.ebpf.take() {
            let taken_down = plane.dismantle().err().unwrap_or_default();
            failures.extend(taken_down.into_iter().map(Error::from));
        }
        // Not only what this daemon has laid: one before it may have been killed.
        if inner.facts.transparent || inner.way_back {
            failures.extend(transparent::take_up_way_back().err().map(Error::from));
        }
        inner.way_back = false;
        inner.table_made = false;
        inner.up.clear();
        inner.networks.clear();
        inner.plan = Plan::default();
        failures
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every step inside leaves a state the next reconcile can mend.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
