//! Routes that are removed: all of a request at once, and what becomes of their connections.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{Entry, LET_GO_LIMIT, Owner, State, Table};
use crate::context::Command;
use crate::protocol::{Listed, Phase};
use crate::route::Shared;

/// The longest that removed routes may keep their connections; a daemon that wants more has
/// misunderstood the unit.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Loops that were told something and say when it is done.
#[derive(Debug)]
pub(super) struct Told {
    done: Receiver<()>,
    loops: usize,
}

/// What a removal found.
#[derive(Debug)]
struct Removed {
    entries: Vec<Entry>,
    /// Of earlier removals under the same names.
    again: Vec<Arc<Shared>>,
    unknown: Vec<String>,
}

// === impl Table ===

impl Table {
    /// Closes routes and returns the identities that named none. What earlier routes of these
    /// names still carry ends earlier now, if this says so, but never later.
    pub(crate) fn remove(&self, ids: &[String], drain: Option<Duration>) -> Vec<String> {
        let drain = drain.unwrap_or_default().min(LONGEST_DRAIN);
        let order = self.order();
        let Removed { entries, again, unknown } = self.lock().take_all(ids);
        let over = self.context.milliseconds(Instant::now() + drain);
        let shared = entries.iter().map(|entry| Arc::clone(&entry.served.shared));
        let shared: Vec<Arc<Shared>> = shared.chain(again).collect();
        shared.iter().for_each(|shared| shared.end_at(over));
        let told = self.withdraw(entries.iter().filter(|entry| entry.phase == Phase::Open));
        drop(order);
        told.await_all();
        // The last copies of the sockets that this process has.
        drop(entries);
        let carry: Vec<_> = shared.into_iter().filter(|shared| shared.carries()).collect();
        if drain.is_zero() && !carry.is_empty() {
            self.context.tell_all(|| Command::Cut);
        }
        self.lock().leaving.extend(carry);
        unknown
    }

    /// Removes what a control connection added and never opened, and what it leased, which is
    /// returned.
    pub(crate) fn forget(&self, owner: Owner) -> Vec<String> {
        let left = self.ids_where(|entry| entry.belongs_to(owner));
        let leased = self.ids_where(|entry| entry.belongs_to(owner) && entry.lease.is_some());
        if !left.is_empty() {
            tracing::info!(routes = left.len(), "control connection ended, and its routes with it");
            self.remove(&left, None);
        }
        leased
    }

    /// Closes everything.
    pub(crate) fn clear(&self) {
        let ids: Vec<String> = self.lock().keys.keys().cloned().collect();
        self.remove(&ids, None);
    }

    /// Removed routes that still carry something here or in a predecessor, one for each identity.
    pub(crate) fn leaving(&self) -> Vec<Listed> {
        let now = self.context.milliseconds(Instant::now());
        let mut state = self.lock();
        state.leaving.retain(|shared| shared.carries());
        let own = state.leaving.iter().map(|shared| listed(shared, now));
        let mut all = BTreeMap::<String, Listed>::new();
        for listed in own.chain(state.inherited.leaving.iter().cloned()) {
            match all.get_mut(&listed.route.id) {
                Some(known) => {
                    known.stats.add(&listed.stats);
                    known.ends_in_seconds = known.ends_in_seconds.max(listed.ends_in_seconds);
                }
                None => drop(all.insert(listed.route.id.clone(), listed)),
            }
        }
        all.into_values().collect()
    }

    pub(super) fn ids_where(&self, chosen: impl Fn(&Entry) -> bool) -> Vec<String> {
        let state = self.lock();
        let entries = state.entries.values().filter(|entry| chosen(entry));
        entries.map(|entry| entry.served.shared.route.id.clone()).collect()
    }

    /// Tells every loop to let go of the sockets of routes, all in one message.
    pub(super) fn withdraw<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Told {
        let keys: Arc<[u32]> = entries.map(|entry| entry.served.shared.key).collect();
        self.tell(keys.is_empty(), |done| Command::Withdraw { keys: Arc::clone(&keys), done })
    }

    /// Tells every loop something to be done, unless it is nothing.
    pub(super) fn tell(&self, nothing: bool, command: impl Fn(SyncSender<()>) -> Command) -> Told {
        let loops = if nothing { 0 } else { self.context.seats.len() };
        let (told, done) = sync_channel(loops);
        if loops > 0 {
            self.context.tell_all(|| command(told.clone()));
        }
        Told { done, loops }
    }
}

fn listed(shared: &Shared, now: u64) -> Listed {
    let left = shared.ends_at().unwrap_or(now).saturating_sub(now).div_ceil(1000);
    Listed {
        route: shared.route.clone(),
        phase: Phase::Leaving,
        stats: shared.counters.snapshot(),
        leased: false,
        ends_in_seconds: Some(u32::try_from(left).unwrap_or(u32::MAX)),
    }
}

// === impl State ===

impl State {
    fn take_all(&mut self, ids: &[String]) -> Removed {
        self.leaving.retain(|shared| shared.carries());
        let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let (again, rest) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|shared| wanted.contains(shared.route.id.as_str()));
        self.leaving = rest;
        let mut removed = Removed { entries: Vec::new(), again, unknown: Vec::new() };
        for id in ids {
            match self.take(id) {
                Some(entry) => removed.entries.push(entry),
                None => removed.unknown.push(id.clone()),
            }
        }
        let left = removed.again.iter().map(|shared| &shared.route.id);
        let left: HashSet<&String> =
            left.chain(self.inherited.leaving.iter().map(|listed| &listed.route.id)).collect();
        removed.unknown.retain(|id| !left.contains(id));
        removed
    }
}

// === impl Told ===

impl Told {
    /// Waits until all have done it, for a while at most.
    pub(super) fn await_all(self) {
        let deadline = Instant::now() + LET_GO_LIMIT;
        for _ in 0..self.loops {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(RecvTimeoutError::Timeout) = self.done.recv_timeout(left) {
                tracing::error!("an event loop did not do in time what it was told");
                return;
            }
        }
    }
}
