//! What all event loops of a relay share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use wharf_host::outbox::Outbox;

use crate::error::Result;
use crate::limits::{Budget, Limits};
use crate::poller::Poller;
use crate::route::{Served, Shared, Token};
use crate::stats::Totals;
use crate::table::change::Changed;
use crate::table::succession::FlowInTransit;
use crate::tcp::Accepted;
use crate::tcp::errands::Errands;
use crate::tcp::moving::Moved;
use crate::tcp::near::hosts_pacing;
use crate::worker::pace::Lookers;

/// Limits, counters, and the way to each loop.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) limits: Limits,
    /// Descriptors.
    pub(crate) budget: Arc<Budget>,
    /// Bytes that wait for slow receivers.
    pub(crate) waiting: Arc<Budget>,
    /// Pipes to splice through.
    pub(crate) pipes: Arc<Budget>,
    pub(crate) totals: Totals,
    pub(crate) seats: Vec<Seat>,
    /// Held by whoever tells all loops something, or moves a connection that stands to another one.
    order: Mutex<()>,
    pub(crate) lookers: Lookers,
    pub(crate) began: Instant,
    /// The congestion control by which connections of this host pace themselves, if they do.
    pub(crate) pacing: Option<String>,
}

/// One loop, as the others see it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) poller: Poller,
    inbox: Mutex<Vec<Command>>,
    errands: Mutex<Vec<Errands>>,
    /// Messages of other loops that it has not sent yet.
    pub(crate) burden: AtomicUsize,
    /// One for TCP and one for UDP, for the loop to take; a confined process could not make them any
    /// more.
    outboxes: Mutex<Vec<Outbox>>,
    /// TCP connections it carries, those on their way to it included.
    pub(crate) connections: AtomicUsize,
    /// Those that had carried nothing for a while when all were looked at last.
    pub(crate) idle: AtomicUsize,
    /// Whether it stays on its processor, and sends for others there.
    pub(crate) stays: AtomicBool,
}

/// What a loop is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A route is in service.
    Serve(Arc<Served>),
    /// Routes are not any more; `done` is told when the loop has let go of their sockets.
    Withdraw { keys: Arc<[u32]>, done: SyncSender<()> },
    /// Routes have changed; `done` is told when the loop goes by it.
    Change { changed: Arc<Changed>, done: SyncSender<()> },
    /// A successor serves: everything but connections is let go of, flows are passed on.
    Leave { out: SyncSender<Vec<(Token, FlowInTransit)>> },
    /// A flow that another relay carried.
    TakeFlow { served: Arc<Served>, token: Token, flow: FlowInTransit },
    /// The end of some route's connections was decided.
    Cut,
    /// A connection accepted by a busier loop.
    Adopt(Box<Accepted>),
    /// Connections whose ends are at home where this loop is.
    Move(Vec<Moved>),
    /// Everything ends.
    Stop,
}

// === impl Context ===

impl Context {
    pub(crate) fn new(limits: Limits, descriptors: u64) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let loops = limits.loops.unwrap_or(cores).max(1);
        // Each loop has an epoll set, an eventfd and two rings; what is kept free anyway has room for some.
        let own = 4 * u64::try_from(loops.saturating_sub(32)).unwrap_or(0);
        let seats: Result<Vec<Seat>> = (0..loops).map(|_| Seat::new()).collect();
        Ok(Self {
            budget: Arc::new(Budget::of_descriptors(descriptors.saturating_sub(own))),
            waiting: Arc::new(Budget::new(limits.waiting_bytes)),
            pipes: Arc::new(Budget::new(limits.pipes)),
            totals: Totals::default(),
            seats: seats?,
            order: Mutex::default(),
            lookers: Lookers::new(cores),
            began: Instant::now(),
            pacing: hosts_pacing(),
            limits,
        })
    }

    /// Tells every loop.
    pub(crate) fn tell_all(&self, command: impl Fn() -> Command) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        for seat in &self.seats {
            seat.tell(command());
        }
    }

    /// Keeps what is told to all from coming between; called by the loop at `seat`, which must have
    /// obeyed all of it. `None` if it has not, or somebody is just telling.
    ///
    /// What this loop tells another one meanwhile is found there after everything this one has obeyed,
    /// and before everything it has not.
    pub(crate) fn in_order(&self, seat: usize) -> Option<MutexGuard<'_, ()>> {
        let order = match self.order.try_lock() {
            Ok(order) => order,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let inbox = &self.seats.get(seat)?.inbox;
        let has_obeyed = inbox.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        has_obeyed.then_some(order)
    }

    /// The place of the loop with the fewest connections, unless `own` is about as idle.
    pub(crate) fn less_busy_than(&self, own: usize) -> Option<usize> {
        let load = |seat: &Seat| seat.connections.load(Ordering::Relaxed);
        let mine = self.seats.get(own).map(load)?;
        let (place, least) = self.seats.iter().map(load).enumerate().min_by_key(|(_, n)| *n)?;
        (mine > least + 1).then_some(place)
    }

    /// Counts a connection of the loop at `seat` in, or out.
    pub(crate) fn carry(&self, seat: usize, comes: bool) {
        let Some(seat) = self.seats.get(seat) else { return };
        if comes {
            seat.connections.fetch_add(1, Ordering::Relaxed);
        } else {
            seat.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A moment, in milliseconds of the relay's life.
    pub(crate) fn milliseconds(&self, at: Instant) -> u64 {
        let life = at.saturating_duration_since(self.began);
        u64::try_from(life.as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Whether a route's connections end now, at the latest.
    pub(crate) fn is_over(&self, shared: &Shared, now: Instant) -> bool {
        shared.ends_at().is_some_and(|ms| now.duration_since(self.began).as_millis() >= ms.into())
    }
}

// === impl Seat ===

impl Seat {
    fn new() -> Result<Self> {
        let outboxes = Mutex::new(vec![Outbox::new(), Outbox::new()]);
        Ok(Self {
            poller: Poller::new()?,
            inbox: Mutex::default(),
            errands: Mutex::default(),
            burden: AtomicUsize::new(0),
            outboxes,
            connections: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            stays: AtomicBool::new(false),
        })
    }

    /// TCP connections that carry something, about.
    pub(crate) fn busy(&self) -> usize {
        self.connections.load(Ordering::Relaxed).saturating_sub(self.idle.load(Ordering::Relaxed))
    }

    /// One of the loop's outboxes.
    pub(crate) fn outbox(&self) -> Outbox {
        let outbox = self.outboxes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        outbox.unwrap_or_else(Outbox::without_ring)
    }

    /// Leaves a command and wakes the loop.
    pub(crate) fn tell(&self, command: Command) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.poller.wake();
    }

    /// Leaves messages that another loop is to send, or has sent. They stand in no order to commands.
    pub(crate) fn leave(&self, errands: Errands) {
        let mut left = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = left.is_empty();
        left.push(errands);
        drop(left);
        // Whoever left the first ones wakes it for all.
        if is_first {
            self.poller.wake();
        }
    }

    /// The messages left since the last call.
    pub(crate) fn errands(&self) -> Vec<Errands> {
        std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The commands left since the last call.
    pub(crate) fn heard(&self) -> Vec<Command> {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
