//! The planes, brought in line with the ledger.
//!
//! One lock orders every change to the kernel's tables and to the relay. A publication comes up in
//! this order, so that nobody sees half of it: the relay gets the sockets, still behind their drop
//! filter; the kernel plane gets its elements, all in one transaction; then the filters come off.

mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use wharf_host::reserve::Bound;
use wharf_host::transparent;
use wharf_nft::NftPlane;
use wharf_plan::{Desired, HostFacts, NetworkPolicy, Plan, PublicationPlan, compile};
use wharf_relay::RelayClient;
use wharf_spec::{Publication, PublicationId};

use self::relay::names;
use crate::config::RelayLimits;
use crate::crash;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, PlaneLabel};
use crate::paths::Paths;
use crate::reservation::Held;

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
    limits: RelayLimits,
    /// Whether the way back for clients' addresses was laid, or tried to be.
    way_back: bool,
    nft: Option<NftPlane>,
    relay: Option<RelayClient>,
    held: BTreeMap<PublicationId, Vec<Bound>>,
    lost: BTreeMap<PublicationId, String>,
    up: BTreeSet<String>,
    plan: Plan,
}

/// What is to be done, and what it was made from.
#[derive(Debug, Clone, Copy)]
struct Planned<'a> {
    plan: &'a Plan,
    desire: &'a Desire,
}

/// What the relay has done for a publication.
pub(crate) type Traffic = wharf_relay::RouteStats;

// === impl Planes ===

impl Planes {
    /// The planes, untouched so far.
    pub(crate) fn new(paths: Paths, facts: HostFacts, limits: RelayLimits) -> Self {
        let inner = Inner {
            facts,
            limits,
            way_back: false,
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
        let plan = inner.prepare(desire);
        let planned = Planned { plan: &plan, desire };
        let mut handed = inner.hand_over(&self.paths, &fresh, planned);
        if inner.relay_is_gone() {
            // It died a moment ago; whoever watches it has not got the lock yet.
            inner.relay = None;
            inner.restore(&self.paths, planned);
            handed = inner.hand_over(&self.paths, &fresh, planned);
        }
        // From here on they are ours to drop, however this ends: the caller reconciles after a
        // failure.
        for held in fresh {
            inner.lost.remove(&held.publication.id);
            inner.held.insert(held.publication.id, held.sockets);
        }
        handed?;
        crash::point("start.relayed");
        inner.apply_nft(plan)?;
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
        let plan = inner.prepare(desire);
        let applied = inner.apply_nft(plan);
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
        let plan = inner.prepare(desire);
        inner.restore(&self.paths, Planned { plan: &plan, desire });
        inner.apply_nft(plan)?;
        let dropped = inner.drop_others(desire);
        inner.count(metrics);
        dropped
    }

    /// Turns to the relay that serves now: the successor of the one known so far, or, if that has
    /// died, a new one with the sockets still held here. Answers whether there was a successor.
    pub(crate) fn replace_relay(&self, desire: Ask<'_>) -> bool {
        let mut inner = self.lock();
        inner.relay = RelayClient::connect(&wharf_relay::socket_path(self.paths.run_dir())).ok();
        let succeeded = inner.relay.is_some();
        let desire = &desire();
        let plan = inner.prepare(desire);
        inner.restore(&self.paths, Planned { plan: &plan, desire });
        succeeded
    }

    /// Puts the way back where it belongs after somebody has changed the host's rules.
    pub(crate) fn keep_way_back(&self) -> Result<()> {
        let inner = self.lock();
        if inner.way_back && inner.facts.transparent {
            transparent::lay_way_back()?;
        }
        Ok(())
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
        // Not only what this daemon has laid: one before it may have been killed.
        if inner.facts.transparent || inner.way_back {
            failures.extend(transparent::take_up_way_back().err().map(Error::from));
        }
        inner.way_back = false;
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
    fn apply_nft(&mut self, plan: Plan) -> Result<()> {
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

    /// What is to be done, with the way back laid for what needs it. Where it cannot be laid, the
    /// plan is made for a host that has none.
    fn prepare(&mut self, desire: &Desire) -> Plan {
        let plan = self.compiled(desire);
        if !plan.publications.values().any(|served| served.relay_keeps_clients) {
            return plan;
        }
        self.way_back = true;
        match transparent::lay_way_back() {
            Ok(()) => plan,
            Err(error) => {
                tracing::warn!(%error, "containers see their gateway where the relay serves them");
                self.facts.transparent = false;
                self.compiled(desire)
            }
        }
    }

    fn compiled(&self, desire: &Desire) -> Plan {
        let mut networks = desire.networks.clone();
        networks.retain(|name, _| self.up.contains(name));
        let desired = Desired { publications: &desire.publications, networks: &networks };
        compile(desired, self.facts)
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
