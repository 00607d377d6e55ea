//! The routes, as data: which sockets exist, where they lead, and who may still take them back.
//!
//! The control threads change the table; the accepting and the UDP thread look sockets up in it
//! by token. A socket is closed when its route is removed, before the removal is answered: the
//! data threads only ever borrow sockets under the lock.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use wharf_host::reserve::{close_to_traffic, open_to_traffic};
use wharf_spec::Proto;

use crate::error::Result;
use crate::limits::{Budget, Share};
use crate::poller::Poller;
use crate::protocol::{Listed, Phase, Refusal, Route};
use crate::stats::{Counters, Stats, Totals};

mod check;

/// The longest that removed routes may keep their connections; a daemon that wants more has
/// misunderstood the unit.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The control connection that added a route.
pub(crate) type Owner = u64;

/// All routes of the process.
#[derive(Debug)]
pub(crate) struct Table {
    state: Mutex<State>,
    pub(crate) tcp: Poller,
    pub(crate) udp: Poller,
    pub(crate) budget: Arc<Budget>,
    pub(crate) totals: Totals,
}

/// What connections and flows of a route share, and keep after its removal.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) route: Route,
    pub(crate) counters: Counters,
    /// Open connections of each port of the range.
    pub(crate) per_port: Vec<AtomicUsize>,
    /// When connections that are still open are cut, once that is decided.
    end: watch::Sender<Option<Instant>>,
}

/// A place in an epoll set: which route, and which of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) route: u32,
    pub(crate) socket: u32,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, u32>,
    entries: HashMap<u32, Entry>,
    /// Never used twice, so that an event of a removed route finds nothing.
    next_key: u32,
}

#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    sockets: Arc<Vec<OwnedFd>>,
    phase: Phase,
    owner: Owner,
    /// Whether the route ends with its owner even when it serves.
    leased: bool,
    _share: Share,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(descriptors: u64) -> Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            tcp: Poller::new()?,
            udp: Poller::new()?,
            budget: Arc::new(Budget::new(descriptors)),
            totals: Totals::default(),
        })
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
        for set in &sets {
            shares.push(self.budget.take(set.len()).ok_or_else(|| self.exhausted(&sets))?);
        }
        let mut state = self.lock();
        if let Some(known) = routes.iter().find(|route| state.keys.contains_key(&route.id)) {
            return Err(Refusal::Duplicate { id: known.id.clone() });
        }
        for ((route, sockets), share) in routes.into_iter().zip(sets).zip(shares) {
            state.insert(route, sockets, share, owner);
        }
        Ok(())
    }

    /// Begins to serve routes; those that serve already go on. Leased ones end with their owner.
    pub(crate) fn open(&self, ids: &[String], lease: bool) -> Result<(), Refusal> {
        let mut chosen = Vec::with_capacity(ids.len());
        let state = self.lock();
        for id in ids {
            let unknown = || Refusal::Unknown { id: id.clone() };
            chosen.push(*state.keys.get(id).ok_or_else(unknown)?);
        }
        drop(state);
        let mut opened = Vec::with_capacity(chosen.len());
        for key in chosen {
            let Some((shared, sockets)) = self.lock().begin(key, lease) else { continue };
            opened.push(key);
            if let Err(reason) = self.serve(key, &shared, &sockets) {
                for key in opened {
                    self.hold(key);
                }
                return Err(Refusal::Kernel { reason });
            }
        }
        Ok(())
    }

    /// Closes routes and returns the identities that named none.
    pub(crate) fn remove(&self, ids: &[String], drain: Option<Duration>) -> Vec<String> {
        let mut unknown = Vec::new();
        for id in ids {
            let entry = self.lock().take(id);
            match entry {
                Some(entry) => self.close(entry, drain),
                None => unknown.push(id.clone()),
            }
        }
        self.udp.wake();
        unknown
    }

    /// Removes what a control connection added and never opened, and what it leased.
    pub(crate) fn forget(&self, owner: Owner) {
        let left: Vec<String> = {
            let state = self.lock();
            let of_owner = |e: &&Entry| e.owner == owner && (e.leased || e.phase == Phase::Held);
            state.entries.values().filter(of_owner).map(|e| e.shared.route.id.clone()).collect()
        };
        if !left.is_empty() {
            tracing::info!(routes = left.len(), "control connection ended, and its routes with it");
            self.remove(&left, None);
        }
    }

    /// Closes everything.
    pub(crate) fn clear(&self) {
        let ids: Vec<String> = self.lock().keys.keys().cloned().collect();
        self.remove(&ids, None);
    }

    /// Every route by identity, and its sockets.
    pub(crate) fn list(&self) -> Vec<(Listed, Arc<Vec<OwnedFd>>)> {
        let state = self.lock();
        let entries = state.keys.values().filter_map(|key| state.entries.get(key));
        entries.map(|entry| (entry.listed(), Arc::clone(&entry.sockets))).collect()
    }

    /// Counts over all routes.
    pub(crate) fn stats(&self) -> Stats {
        let state = self.lock();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Stats {
            pid: std::process::id(),
            routes: count(state.entries.len()),
            sockets: count(state.entries.values().map(|entry| entry.sockets.len()).sum()),
            connections_open: self.totals.connections_open.get(),
            flows_open: self.totals.flows_open.get(),
            descriptors_used: count(self.budget.used()),
            descriptors_limit: count(self.budget.limit()),
            accept_pauses: self.totals.accept_pauses.get(),
        }
    }

    /// Lends the socket behind a token to `work`; `None` when its route is gone.
    pub(crate) fn with_socket<T>(
        &self,
        token: Token,
        work: impl FnOnce(&Arc<Shared>, BorrowedFd<'_>) -> T,
    ) -> Option<T> {
        let state = self.lock();
        let entry = state.entries.get(&token.route)?;
        let socket = entry.sockets.get(usize::try_from(token.socket).ok()?)?;
        Some(work(&entry.shared, socket.as_fd()))
    }

    fn serve(&self, key: u32, shared: &Shared, sockets: &[OwnedFd]) -> Result<(), String> {
        let poller = self.poller(&shared.route);
        let failed = |e: std::io::Error| format!("open route {}: {e}", shared.route.id);
        for (socket, index) in sockets.iter().zip(0u32..) {
            let token = Token { route: key, socket: index };
            poller.add(socket, token.into()).map_err(|e| failed(e.into()))?;
            open_to_traffic(socket).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes a route that could not be opened back to where it was.
    fn hold(&self, key: u32) {
        let Some((shared, sockets)) = self.lock().end(key) else { return };
        for socket in sockets.iter() {
            self.poller(&shared.route).remove(socket);
            if let Err(error) = close_to_traffic(socket) {
                tracing::warn!(%error, route = shared.route.id, "drop filter not attached");
            }
        }
    }

    fn close(&self, entry: Entry, drain: Option<Duration>) {
        if entry.phase == Phase::Open {
            let poller = self.poller(&entry.shared.route);
            for socket in entry.sockets.iter() {
                poller.remove(socket);
            }
        }
        let end = Instant::now() + drain.unwrap_or_default().min(LONGEST_DRAIN);
        entry.shared.end.send_replace(Some(end));
    }

    fn poller(&self, route: &Route) -> &Poller {
        if route.proto == Proto::Udp { &self.udp } else { &self.tcp }
    }

    fn exhausted(&self, sets: &[Vec<OwnedFd>]) -> Refusal {
        let needed = sets.iter().map(Vec::len).sum();
        Refusal::Descriptors { needed, left: self.budget.limit() - self.budget.used() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    fn new(route: Route) -> Self {
        let per_port = (0..route.host_ports.count()).map(|_| AtomicUsize::new(0)).collect();
        Self { per_port, route, counters: Counters::default(), end: watch::Sender::new(None) }
    }

    /// Resolves when open connections of this route are to be cut.
    pub(crate) async fn ended(&self) {
        let mut end = self.end.subscribe();
        // The sender lives as long as `self`, so waiting fails never.
        let decided = end.wait_for(Option::is_some).await.map(|end| *end);
        if let Ok(Some(end)) = decided {
            tokio::time::sleep_until(end).await;
        }
    }

    /// Whether the route is gone.
    pub(crate) fn is_removed(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// The place within the port range, and whether the socket is a dual-stack one.
    pub(crate) fn locate(&self, token: Token) -> (usize, bool) {
        let index = usize::try_from(token.socket).unwrap_or(usize::MAX);
        let places = self.route.listeners.len().max(1);
        let dual = self.route.listeners.get(index % places).is_some_and(|place| place.dual);
        (index / places, dual)
    }

    /// The number of open connections of one port after adding one; `None` above `limit`.
    pub(crate) fn enter(&self, port: usize, limit: usize) -> Option<usize> {
        let more = |open: usize| (open < limit).then_some(open + 1);
        self.per_port.get(port)?.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()
    }

    /// Takes one connection of one port off.
    pub(crate) fn leave(&self, port: usize) {
        if let Some(open) = self.per_port.get(port) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// === impl Token ===

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        Self::from(token.route) << 32 | Self::from(token.socket)
    }
}

impl From<u64> for Token {
    fn from(word: u64) -> Self {
        let half = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
        Self { route: half(word >> 32), socket: half(word) }
    }
}

// === impl State ===

impl State {
    fn insert(&mut self, route: Route, sockets: Vec<OwnedFd>, share: Share, owner: Owner) {
        let key = self.next_key;
        // The highest bit is left to the UDP thread, for its flows.
        self.next_key = (key + 1) & (u32::MAX >> 1);
        self.keys.insert(route.id.clone(), key);
        let shared = Arc::new(Shared::new(route));
        let sockets = Arc::new(sockets);
        let (phase, leased) = (Phase::Held, false);
        self.entries.insert(key, Entry { shared, sockets, phase, owner, leased, _share: share });
    }

    fn take(&mut self, id: &str) -> Option<Entry> {
        let key = self.keys.remove(id)?;
        self.entries.remove(&key)
    }

    /// Marks a held route as open.
    fn begin(&mut self, key: u32, lease: bool) -> Option<(Arc<Shared>, Arc<Vec<OwnedFd>>)> {
        let begun = self.turn(key, Phase::Held, Phase::Open)?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.leased = lease;
        }
        Some(begun)
    }

    /// Marks an open route as held.
    fn end(&mut self, key: u32) -> Option<(Arc<Shared>, Arc<Vec<OwnedFd>>)> {
        self.turn(key, Phase::Open, Phase::Held)
    }

    fn turn(
        &mut self,
        key: u32,
        from: Phase,
        to: Phase,
    ) -> Option<(Arc<Shared>, Arc<Vec<OwnedFd>>)> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.phase == from)?;
        entry.phase = to;
        Some((Arc::clone(&entry.shared), Arc::clone(&entry.sockets)))
    }
}

// === impl Entry ===

impl Entry {
    fn listed(&self) -> Listed {
        let stats = self.shared.counters.snapshot();
        let (phase, leased) = (self.phase, self.leased);
        Listed { route: self.shared.route.clone(), phase, stats, leased }
    }
}
