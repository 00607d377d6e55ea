//! How the table passes to a successor, and what a successor takes in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use wharf_host::reserve::pktinfo::Local;

use super::{Entry, LET_GO_LIMIT, Lease, NOBODY, Table};
use crate::context::Command;
use crate::limits::ORPHAN_LIMIT;
use crate::protocol::{Listed, PassedFlow, Phase, Refusal};
use crate::route::{Served, Token};
use crate::stats::RouteStats;

/// Between handing over sockets and opening them a daemon needs milliseconds.
const HELD_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);

/// What a predecessor has carried, and may still.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// What it has carried for each route that is still there.
    stats: HashMap<String, RouteStats>,
    /// Its connections, those of removed routes included.
    pub(super) connections_open: u64,
    /// Routes that are removed, and that it still carries something for.
    pub(super) leaving: Vec<Listed>,
    /// Whether it has not ended.
    living: bool,
}

/// A flow between two relays, or two loops.
#[derive(Debug)]
pub(crate) struct FlowInTransit {
    pub(crate) client: SocketAddr,
    pub(crate) port: u16,
    pub(crate) asked: Option<Local>,
    pub(crate) begun: Instant,
    pub(crate) last: Instant,
    pub(crate) answered: bool,
    pub(crate) streams: bool,
    pub(crate) socket: OwnedFd,
}

// === impl Table ===

impl Table {
    /// Waits until no route is between being handed over and being opened, for a moment at most.
    pub(crate) fn await_none_held(&self) {
        let deadline = Instant::now() + HELD_LIMIT;
        while self.holds_any() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }

    /// Everything, for a successor.
    pub(crate) fn hand_over(&self) -> Result<Vec<(Listed, Arc<Served>)>, Refusal> {
        if self.holds_any() {
            let reason = "a daemon is handing over routes just now; try again".to_owned();
            return Err(Refusal::Untimely { reason });
        }
        Ok(self.list())
    }

    fn holds_any(&self) -> bool {
        self.lock().entries.values().any(|entry| entry.phase == Phase::Held)
    }

    /// Lets go of all sockets and flows; connections go on.
    pub(crate) fn leave(&self) -> Vec<(PassedFlow, OwnedFd)> {
        let _order = self.order();
        let flows = self.all_flows();
        let mut ids = HashMap::new();
        let mut sockets = Vec::new();
        let mut state = self.lock();
        state.left = true;
        for entry in state.entries.values_mut() {
            let shared = &entry.served.shared;
            ids.insert(shared.key, shared.route.id.clone());
            sockets.push(entry.vacate());
        }
        drop(state);
        flows.into_iter().filter_map(|(token, flow)| pass(&ids, token, flow)).collect()
    }

    /// Whether a successor serves.
    pub(crate) fn has_left(&self) -> bool {
        self.lock().left
    }

    /// Whether anything is carried, here or in a predecessor.
    pub(crate) fn is_busy(&self) -> bool {
        self.carries() || self.lock().inherited.living
    }

    /// Whether connections are open here.
    pub(crate) fn carries(&self) -> bool {
        self.context.totals.connections_open.get() > 0
    }

    /// Resets all connections; what they counted stays known.
    pub(crate) fn cut_all(&self) {
        let now = self.context.milliseconds(Instant::now());
        let state = self.lock();
        let routes = state.entries.values().map(|entry| &entry.served.shared);
        routes.chain(&state.leaving).for_each(|shared| shared.end_at(now));
        drop(state);
        self.context.tell_all(|| Command::Cut);
    }

    /// Takes in a predecessor's flows.
    pub(crate) fn take_flows(&self, flows: Vec<PassedFlow>, sockets: Vec<OwnedFd>) {
        let now = Instant::now();
        let known = self.list();
        let by_id: HashMap<&str, &Arc<Served>> =
            known.iter().map(|(listed, served)| (listed.route.id.as_str(), served)).collect();
        for (flow, socket) in flows.into_iter().zip(sockets) {
            let Some(served) = by_id.get(flow.route.as_str()) else { continue };
            let token = Token { route: served.shared.key, socket: flow.socket };
            let watcher = token.watchers(self.context.seats.len(), true).next();
            let seat = watcher.and_then(|place| self.context.seats.get(place));
            if let Some(seat) = seat {
                let flow = receive(flow, socket, now);
                seat.tell(Command::TakeFlow { served: Arc::clone(served), token, flow });
            }
        }
    }

    /// Takes note of what a predecessor carries.
    pub(crate) fn inherit(&self, listed: Vec<Listed>) {
        let (removed, known): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|listed| listed.ends_in_seconds.is_some());
        let mut state = self.lock();
        state.inherited.leaving = removed;
        state.inherited.stats = known.into_iter().map(|l| (l.route.id, l.stats)).collect();
    }

    /// Takes note of how many connections a predecessor has.
    pub(crate) fn inherit_open(&self, connections_open: u64) {
        let mut state = self.lock();
        (state.inherited.connections_open, state.inherited.living) = (connections_open, true);
    }

    /// The predecessor has ended: what it carried stays counted, and nothing is open there.
    pub(crate) fn inherit_no_more(&self) {
        let mut state = self.lock();
        let inherited = &mut state.inherited;
        (inherited.connections_open, inherited.living) = (0, false);
        inherited.leaving.clear();
        for stats in inherited.stats.values_mut() {
            (stats.connections_open, stats.flows_open) = (0, 0);
        }
    }

    /// The connections of tenants are ended, but not their leases.
    pub(crate) fn orphan_leases(&self) {
        let now = Some(Instant::now());
        let mut state = self.lock();
        state.orphans = true;
        for entry in state.entries.values_mut() {
            if let Some(lease) = &mut entry.lease {
                *lease = Lease { owner: NOBODY, orphaned: now };
            }
        }
    }

    /// Takes in routes that a predecessor had leased, for their tenants to come back to.
    pub(crate) fn lease_to_nobody(&self, ids: &[String]) {
        let mut state = self.lock();
        let keys: Vec<u32> = ids.iter().filter_map(|id| state.keys.get(id).copied()).collect();
        let lease = Lease { owner: NOBODY, orphaned: Some(Instant::now()) };
        state.orphans |= !keys.is_empty();
        keys.into_iter().for_each(|key| state.lease(key, Some(lease)));
    }

    /// Whether leases are without a tenant.
    pub(crate) fn has_orphans(&self) -> bool {
        self.lock().orphans
    }

    /// Removes the routes whose tenants did not come back, and returns them.
    pub(crate) fn drop_orphans(&self) -> Vec<String> {
        let late =
            |entry: &Entry| entry.orphaned().is_some_and(|since| since.elapsed() >= ORPHAN_LIMIT);
        let gone = self.ids_where(late);
        if !gone.is_empty() {
            tracing::info!(routes = gone.len(), "nobody came back for leased routes");
            self.remove(&gone, None);
        }
        let mut state = self.lock();
        state.orphans = state.entries.values().any(|entry| entry.orphaned().is_some());
        drop(state);
        gone
    }

    /// Has every loop let go of all sockets and of its flows.
    fn all_flows(&self) -> Vec<(Token, FlowInTransit)> {
        let (out, flows) = sync_channel(self.context.seats.len());
        self.context.tell_all(|| Command::Leave { out: out.clone() });
        drop(out);
        let deadline = Instant::now() + LET_GO_LIMIT;
        let mut all = Vec::new();
        while let Ok(some) = flows.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            all.extend(some);
        }
        all
    }
}

// === impl Inherited ===

impl Inherited {
    pub(super) fn add_to(&self, listed: &mut Listed) {
        if let Some(stats) = self.stats.get(&listed.route.id) {
            listed.stats.add(stats);
        }
    }

    /// A route of this identity is removed; the next one is another.
    pub(super) fn forget(&mut self, id: &str) {
        self.stats.remove(id);
    }
}

// === impl Entry ===

impl Entry {
    /// Takes the sockets out.
    fn vacate(&mut self) -> Arc<Served> {
        self.phase = Phase::Leaving;
        self.lease = None;
        let empty = Arc::new(self.served.vacated());
        std::mem::replace(&mut self.served, empty)
    }

    fn orphaned(&self) -> Option<Instant> {
        self.lease.and_then(|lease| lease.orphaned)
    }
}

fn pass(
    ids: &HashMap<u32, String>,
    token: Token,
    flow: FlowInTransit,
) -> Option<(PassedFlow, OwnedFd)> {
    let ago = |at: Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
    let passed = PassedFlow {
        route: ids.get(&token.route)?.clone(),
        socket: token.socket,
        client: flow.client,
        port: flow.port,
        asked: flow.asked.map(|local| (local.address, local.interface)),
        age_ms: ago(flow.begun),
        quiet_ms: ago(flow.last),
        answered: flow.answered,
        streams: flow.streams,
    };
    Some((passed, flow.socket))
}

fn receive(flow: PassedFlow, socket: OwnedFd, now: Instant) -> FlowInTransit {
    let ago = |ms: u64| now.checked_sub(Duration::from_millis(ms)).unwrap_or(now);
    FlowInTransit {
        client: flow.client,
        port: flow.port,
        asked: flow.asked.map(|(address, interface)| Local { address, interface }),
        begun: ago(flow.age_ms),
        last: ago(flow.quiet_ms),
        answered: flow.answered,
        streams: flow.streams,
        socket,
    }
}
