//! The routes, as data: which sockets exist, where they lead, and who may still take them back.
//!
//! The control threads change the table; the event loops are told what they serve. A socket is
//! closed when its route is removed, before the removal is answered: every loop says that it has
//! let go of it.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wharf_host::reserve::{close_to_traffic, open_to_traffic};
use wharf_spec::Proto;

use crate::context::{Command, Context};
use crate::limits::Share;
use crate::protocol::{Listed, Phase, Refusal, Route};
use crate::route::inside::Insides;
use crate::route::way_back::WaysBack;
use crate::route::{Served, Shared};
use crate::stats::Stats;
use crate::table::check::Set;
use crate::table::succession::Inherited;
use crate::tcp;
use crate::udp;
use crate::worker::tokens::Subject;

pub(crate) mod change;
mod check;
mod removal;
pub(crate) mod succession;

/// A loop is done with what it is doing in milliseconds.
const LET_GO_LIMIT: Duration = Duration::from_secs(5);

/// The control connection that added a route.
pub(crate) type Owner = u64;
/// Control connections are counted from 1.
pub(crate) const NOBODY: Owner = 0;

/// All routes of the process.
#[derive(Debug)]
pub(crate) struct Table {
    state: Mutex<State>,
    /// Held by whoever changes what loops serve, until all of them are told: they must not be told
    /// in another order than the table has changed. Taken before `state`.
    order: Mutex<()>,
    context: Arc<Context>,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, u32>,
    entries: HashMap<u32, Entry>,
    /// Removed routes with connections that may go on for a while.
    leaving: Vec<Arc<Shared>>,
    /// Never used twice, so that an event of a removed route finds nothing.
    next_key: u32,
    ways_back: WaysBack,
    insides: Insides,
    inherited: Inherited,
    /// Whether a successor serves.
    left: bool,
    /// Whether there may be leases without a tenant.
    orphans: bool,
}

#[derive(Debug)]
struct Entry {
    served: Arc<Served>,
    phase: Phase,
    owner: Owner,
    /// Whether the route ends with a control connection even when it serves.
    lease: Option<Lease>,
    _share: Share,
}

/// A route that ends with a control connection.
#[derive(Debug, Clone, Copy)]
struct Lease {
    owner: Owner,
    /// Since when that connection is gone for no fault of the tenant's.
    orphaned: Option<Instant>,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { state: Mutex::default(), order: Mutex::default(), context }
    }

    /// Takes over routes and their sockets, all or none; nothing is served yet.
    pub(crate) fn add(
        &self,
        routes: Vec<Route>,
        sockets: Vec<OwnedFd>,
        owner: Owner,
    ) -> Result<(), Refusal> {
        let sets = check::deal(&routes, sockets)?;
        let mut shares = Vec::with_capacity(routes.len());
        for route in &routes {
            let needed = || routes.iter().map(Route::descriptors).sum();
            shares.push(self.shares(route).ok_or_else(|| self.exhausted(needed()))?);
        }
        let mut state = self.lock();
        if let Some(known) = routes.iter().find(|route| state.keys.contains_key(&route.id)) {
            return Err(Refusal::Duplicate { id: known.id.clone() });
        }
        for ((route, set), shares) in routes.into_iter().zip(sets).zip(shares) {
            state.insert(route, set, shares, owner);
        }
        Ok(())
    }

    /// For the sockets of a route, and for what leads inside.
    fn shares(&self, route: &Route) -> Option<(Share, Share)> {
        let sockets = self.context.budget.take(route.sockets())?;
        let inside = self.context.budget.take(route.descriptors() - route.sockets())?;
        Some((sockets, inside))
    }

    /// Begins to serve routes; those that serve already go on. Leased ones end with `tenant`.
    pub(crate) fn open(&self, ids: &[String], tenant: Option<Owner>) -> Result<(), Refusal> {
        self.begin(ids, tenant, &|served| close(served))
    }

    /// Begins to serve routes that another relay serves beside this one. What fails leaves the sockets,
    /// which are one and the same for both, as they are.
    pub(crate) fn join(&self, ids: &[String]) -> Result<(), Refusal> {
        self.begin(ids, None, &|_served| {})
    }

    /// Begins to serve routes; `undo` is for each of them if one of them cannot be served.
    fn begin(
        &self,
        ids: &[String],
        tenant: Option<Owner>,
        undo: &dyn Fn(&Served),
    ) -> Result<(), Refusal> {
        let mut chosen = Vec::with_capacity(ids.len());
        let _order = self.order();
        let mut state = self.lock();
        for id in ids {
            let unknown = || Refusal::Unknown { id: id.clone() };
            chosen.push(*state.keys.get(id).ok_or_else(unknown)?);
        }
        let let_out = tenant.map(|owner| Lease { owner, orphaned: None });
        chosen.iter().for_each(|key| state.lease(*key, let_out));
        drop(state);
        let mut opened = Vec::with_capacity(chosen.len());
        for key in chosen {
            let Some(served) = self.lock().begin(key) else { continue };
            opened.push(key);
            if let Err(reason) = self.serve(&served) {
                opened.into_iter().filter_map(|key| self.hold(key)).for_each(|it| undo(&it));
                return Err(Refusal::Kernel { reason });
            }
        }
        Ok(())
    }

    /// Every route by identity, and its sockets.
    pub(crate) fn list(&self) -> Vec<(Listed, Arc<Served>)> {
        let state = self.lock();
        let entries = state.keys.values().filter_map(|key| state.entries.get(key));
        let list = entries.map(|entry| {
            let mut listed = entry.listed();
            state.inherited.add_to(&mut listed);
            (listed, Arc::clone(&entry.served))
        });
        list.collect()
    }

    /// Counts over all routes.
    pub(crate) fn stats(&self) -> Stats {
        let state = self.lock();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Stats {
            pid: std::process::id(),
            routes: count(state.entries.len()),
            sockets: count(state.entries.values().map(|entry| entry.served.len()).sum()),
            connections_open: self.context.totals.connections_open.get()
                + state.inherited.connections_open,
            flows_open: self.context.totals.flows_open.get(),
            descriptors_used: count(self.context.budget.used()),
            descriptors_limit: count(self.context.budget.limit()),
            accept_pauses: self.context.totals.accept_pauses.get(),
            connections_moved: self.context.totals.connections_moved.get(),
            messages_handed_on: self.context.totals.messages_handed_on.get(),
        }
    }

    /// Lets packets in and tells the loops that watch.
    fn serve(&self, served: &Arc<Served>) -> Result<(), String> {
        let route = &served.shared.route;
        let failed = |e: std::io::Error| format!("open route {}: {e}", route.id);
        self.context.tell_all(|| Command::Serve(Arc::clone(served)));
        let is_udp = route.proto == Proto::Udp;
        for (token, socket) in served.sockets() {
            match is_udp {
                true => udp::tune_listener(served, token, socket).map_err(failed)?,
                false => tcp::tune_listener(socket, self.context.pacing.is_some()),
            }
            for place in token.watchers(self.context.seats.len(), is_udp) {
                let Some(seat) = self.context.seats.get(place) else { continue };
                let word = Subject::Listener(token).into();
                let watched = match is_udp {
                    true => seat.poller.watch(socket, word),
                    false => seat.poller.share(socket, word),
                };
                watched.map_err(|e| failed(e.into()))?;
            }
            open_to_traffic(socket).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes a route that could not be opened back to where it was.
    fn hold(&self, key: u32) -> Option<Arc<Served>> {
        let served = self.lock().end(key)?;
        let keys: Arc<[u32]> = [key].into();
        let told = self.tell(false, |done| Command::Withdraw { keys: Arc::clone(&keys), done });
        told.await_all();
        Some(served)
    }

    fn exhausted(&self, needed: usize) -> Refusal {
        Refusal::Descriptors {
            needed,
            left: self.context.budget.limit() - self.context.budget.used(),
        }
    }

    fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps packets out again.
fn close(served: &Served) {
    for (_, socket) in served.sockets() {
        if let Err(error) = close_to_traffic(socket) {
            tracing::warn!(%error, route = served.shared.route.id, "drop filter not attached");
        }
    }
}

// === impl State ===

impl State {
    fn insert(&mut self, route: Route, set: Set, shares: (Share, Share), owner: Owner) {
        let key = self.next_key;
        // The two highest bits are for other things in the epoll sets.
        self.next_key = (key + 1) & (u32::MAX >> 2);
        self.keys.insert(route.id.clone(), key);
        let inside = set.entrance.map(|entrance| self.insides.adopt(entrance, shares.1));
        let way_back = self.ways_back.of(&route, inside.as_ref());
        let shared = Shared::new(key, route, inside, way_back);
        let served = Arc::new(Served::new(Arc::new(shared), set.sockets));
        let (phase, lease) = (Phase::Held, None);
        self.entries.insert(key, Entry { served, phase, owner, lease, _share: shares.0 });
    }

    fn take(&mut self, id: &str) -> Option<Entry> {
        let key = self.keys.remove(id)?;
        self.inherited.forget(id);
        self.entries.remove(&key)
    }

    /// Marks a held route as open.
    fn begin(&mut self, key: u32) -> Option<Arc<Served>> {
        self.turn(key, Phase::Held, Phase::Open)
    }

    fn lease(&mut self, key: u32, lease: Option<Lease>) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.lease = lease.or(entry.lease);
        }
    }

    /// Marks an open route as held.
    fn end(&mut self, key: u32) -> Option<Arc<Served>> {
        self.turn(key, Phase::Open, Phase::Held)
    }

    fn turn(&mut self, key: u32, from: Phase, to: Phase) -> Option<Arc<Served>> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.phase == from)?;
        entry.phase = to;
        Some(Arc::clone(&entry.served))
    }
}

// === impl Entry ===

impl Entry {
    /// Whether the route goes when the connection `owner` ends.
    fn belongs_to(&self, owner: Owner) -> bool {
        let leased = self.lease.is_some_and(|lease| lease.owner == owner);
        leased || (self.phase == Phase::Held && self.owner == owner)
    }

    fn listed(&self) -> Listed {
        let stats = self.served.shared.counters.snapshot();
        let (phase, leased) = (self.phase, self.lease.is_some());
        let route = self.served.shared.route.clone();
        Listed { route, phase, stats, leased, ends_in_seconds: None }
    }
}
