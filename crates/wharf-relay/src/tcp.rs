//! TCP: what one event loop does about connections.
//!
//! A connection that cannot be had at the target is reset, never closed cleanly; neither is one
//! that either side resets midway.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::SockRef;
use wharf_host::outbox::Outbox;

use crate::context::{Context, Seat};
use crate::poller::{Poller, Ready};
use crate::proxy_header;
use crate::route::Shared;
use crate::tcp::connection::{Admitted, Connection, KEEPALIVE, Stage, Verdict, reset_on_close};
use crate::tcp::copier::Copier;
use crate::tcp::pipes::Pipes;
use crate::tcp::slots::Slots;
use crate::worker::tokens::{Side, Subject};

mod accept;
mod attempt;
mod change;
mod connection;
mod copier;
mod delivery;
pub(crate) mod dial;
mod direction;
pub(crate) mod errands;
pub(crate) mod moving;
pub(crate) mod near;
mod pipes;
mod slots;
#[cfg(test)]
mod tests;

/// How often every connection is looked at: for idle limits, counters and ends.
const ROUND: Duration = Duration::from_secs(1);
/// The connections of one loop.
#[derive(Debug)]
pub(crate) struct Tcp {
    context: Arc<Context>,
    seat: usize,
    connections: Slots<Connection>,
    copier: Copier,
    /// Those that would have gone on, were it not for the others.
    unfinished: VecDeque<u32>,
    /// Those that are to go to other loops.
    leaving: Vec<u32>,
    /// Those that may still be dialing, and when the first of them gives up.
    dialing: Vec<u32>,
    next_deadline: Option<Instant>,
    next_round: Option<Instant>,
}

/// An accepted, allowed and counted connection on its way to the loop that carries it.
#[derive(Debug)]
pub(crate) struct Accepted {
    admitted: Admitted,
    stream: OwnedFd,
    peer: SocketAddr,
}

/// Descriptors or memory ran out.
#[derive(Debug)]
pub(crate) struct Exhausted(pub(crate) Errno);

/// Sets what accepted connections inherit: small messages go at once, urgent bytes stay in their
/// place, vanished clients are noticed, and where the host's connections are `paced`, these are not
/// until the way proves long.
pub(crate) fn tune_listener(socket: BorrowedFd<'_>, paced: bool) {
    near::tune_listener(socket, paced);
    let socket = SockRef::from(&socket);
    // Failure costs latency or a late notice, not correctness.
    drop(socket.set_tcp_nodelay(true));
    drop(socket.set_out_of_band_inline(true));
    drop(socket.set_tcp_keepalive(&KEEPALIVE));
}

// === impl Tcp ===

impl Tcp {
    pub(crate) fn new(context: Arc<Context>, seat: usize) -> Self {
        let pipes = Pipes::new(Arc::clone(&context.pipes), Arc::clone(&context.budget));
        let outbox = context.seats.get(seat).map_or_else(Outbox::without_ring, Seat::outbox);
        let paced = context.pacing.is_some();
        let copier = Copier::new(pipes, Arc::clone(&context.waiting), outbox, paced);
        Self {
            context,
            seat,
            connections: Slots::new(),
            copier,
            unfinished: VecDeque::new(),
            leaving: Vec::new(),
            dialing: Vec::new(),
            next_deadline: None,
            next_round: None,
        }
    }

    /// When something is to be done though nothing happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        if !self.unfinished.is_empty() {
            return Some(self.context.began);
        }
        [self.next_deadline, self.next_round].into_iter().flatten().min()
    }

    /// Takes a connection in and dials its target.
    pub(crate) fn adopt(&mut self, accepted: Accepted, now: Instant) {
        if self.try_adopt(accepted, now).is_none() {
            self.context.carry(self.seat, false);
        }
    }

    fn try_adopt(&mut self, accepted: Accepted, now: Instant) -> Option<()> {
        let Accepted { admitted, stream, peer } = accepted;
        let dialed = self.dial(&admitted.shared, peer, admitted.port, true, now);
        let Some((target, stage)) = dialed else {
            reset_on_close(&stream);
            return None;
        };
        let connection = Connection::new(admitted, peer, stream, target, stage, now);
        let slot = self.connections.insert(connection).map_err(|full| full.reset()).ok()?;
        if !self.follow(slot, Side::Client) || !self.follow(slot, Side::Target) {
            self.connections.take(slot)?.reset();
            return None;
        }
        self.await_dial(slot, stage);
        self.next_round.get_or_insert(now + ROUND);
        Some(())
    }

    /// Watches one side; false without memory for it.
    fn follow(&mut self, slot: u32, side: Side) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else { return false };
        let leg = match side {
            Side::Client => connection.client(),
            Side::Target => connection.target(),
        };
        let word = Subject::Leg { slot, side }.into();
        let Some(seat) = self.context.seats.get(self.seat) else { return false };
        let followed = seat.poller.follow(leg, word);
        if let Err(error) = followed {
            tracing::warn!(%error, "connection cannot be watched");
        }
        followed.is_ok()
    }

    fn unfollow(&self, connection: &Connection) {
        if let Some(seat) = self.context.seats.get(self.seat) {
            seat.poller.remove(connection.client());
            seat.poller.remove(connection.target());
        }
    }

    /// Something happened to one side of a connection.
    pub(crate) fn event(&mut self, slot: u32, side: Side, ready: Ready, now: Instant) {
        self.deliver_ahead_of(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let before = connection.stage;
        connection.note(side, ready);
        let mut opened = false;
        if let (Stage::Dialing { as_client, .. }, Stage::Open) = (before, connection.stage) {
            opened = true;
            self.opened(slot, as_client, now);
        }
        self.advance(slot, now);
        if opened && let Some(connection) = self.connections.get_mut(slot) {
            connection.announce();
        }
    }

    fn opened(&mut self, slot: u32, as_client: bool, now: Instant) {
        self.greet(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let connection: &Connection = connection;
        Self::learn(&self.context, connection, as_client, now);
    }

    /// Sends ahead what the target wants to know of the client.
    fn greet(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let Some(version) = connection.admitted.shared.route.proxy_protocol else { return };
        let asked = SockRef::from(&connection.client()).local_addr();
        // It fails only for what is no socket.
        if let Some(asked) = asked.ok().and_then(|address| address.as_socket()) {
            let header = proxy_header::encode(version, connection.peer, canonical(asked));
            connection.prefix(header);
        }
    }

    fn advance(&mut self, slot: u32, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        self.copier.receiver.slot = slot;
        match connection.advance(&mut self.copier, now) {
            Verdict::Waiting => self.pace_if_far(slot),
            Verdict::Unfinished => {
                if !std::mem::replace(&mut connection.queued, true) {
                    self.unfinished.push_back(slot);
                }
                self.pace_if_far(slot);
            }
            Verdict::Done => {
                if let Some(connection) = self.take(slot) {
                    connection.close();
                }
            }
            Verdict::Failed(error) => self.fail(slot, &error, now),
        }
    }

    fn pace_if_far(&mut self, slot: u32) {
        if let Some(name) = &self.context.pacing
            && let Some(connection) = self.connections.get_mut(slot)
        {
            connection.pace_if_streaming_and_far(name);
        }
    }

    fn fail(&mut self, slot: u32, error: &io::Error, now: Instant) {
        if self.tries_other_family(slot, now) {
            return;
        }
        if self.connections.get(slot).is_some_and(Connection::is_posted) {
            // The other side may have it before it hears of the failure.
            self.deliver();
        }
        let Some(connection) = self.take(slot) else { return };
        let shared = &connection.admitted.shared;
        match connection.stage {
            Stage::Open => shared.counters.errors.up(),
            Stage::Dialing { as_client, .. } => {
                if connection.target_failed() && error.kind() == io::ErrorKind::ConnectionRefused {
                    // An answer, too.
                    Self::learn(&self.context, &connection, as_client, now);
                }
                let target = shared.route.target(connection.peer.ip(), connection.admitted.port);
                match target {
                    Some(target) if connection.target_failed() => {
                        refused(shared, target.into(), error);
                    }
                    _ => shared.counters.errors.up(),
                }
            }
        }
        connection.reset();
    }

    fn take(&mut self, slot: u32) -> Option<Connection> {
        let connection = self.connections.take(slot)?;
        self.context.carry(self.seat, false);
        if connection.is_away() {
            // A socket of it stays open until the message comes back, and would be reported under a
            // number that may be another one's by then.
            self.unfollow(&connection);
        }
        Some(connection)
    }

    /// Does what is due: connections that had to wait for others, limits that have passed.
    pub(crate) fn go_on(&mut self, now: Instant) {
        for _ in 0..self.unfinished.len() {
            let Some(slot) = self.unfinished.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.queued = false;
                self.advance(slot, now);
            }
        }
        if self.next_deadline.is_some_and(|due| due <= now) {
            self.give_up_dialing(now);
        }
        if self.next_round.is_some_and(|due| due <= now) {
            self.look_after_all(now);
        }
        self.connections.settle();
    }

    /// Looks at every connection, now and then.
    fn look_after_all(&mut self, now: Instant) {
        self.copier.pipes.shrink();
        self.next_round = (self.connections.len() > 0).then_some(now + ROUND);
        let slots: Vec<u32> = self.connections.numbers().collect();
        let mut idle = 0;
        for slot in slots {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            connection.look_after(now);
            idle += usize::from(connection.idle(now) >= ROUND);
            if let Some(name) = &self.context.pacing {
                connection.pace_if_lasting_and_far(name);
            }
            if let Err(error) = connection.give_pipes_back(&mut self.copier) {
                self.fail(slot, &error, now);
                continue;
            }
            let route = &connection.admitted.shared.route;
            let limit = route.idle_timeout_seconds.map(|s| Duration::from_secs(s.into()));
            let limit = limit.or(self.context.limits.idle);
            if limit.is_some_and(|limit| connection.idle(now) >= limit) {
                connection.admitted.shared.counters.idle_timeouts.up();
                self.reset(slot);
            }
        }
        if let Some(seat) = self.context.seats.get(self.seat) {
            seat.idle.store(idle, Ordering::Relaxed);
        }
        self.cut(now);
    }

    /// Resets the connections of routes that are over.
    pub(crate) fn cut(&mut self, now: Instant) {
        let slots: Vec<u32> = self.connections.numbers().collect();
        for slot in slots {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            if self.context.is_over(&connection.admitted.shared, now) {
                self.reset(slot);
            }
        }
    }

    /// Resets everything.
    pub(crate) fn reset_all(&mut self) {
        let slots: Vec<u32> = self.connections.numbers().collect();
        slots.into_iter().for_each(|slot| self.reset(slot));
    }

    fn reset(&mut self, slot: u32) {
        if let Some(connection) = self.take(slot) {
            connection.reset();
        }
    }

    fn poller(&self, work: impl FnOnce(&Poller)) {
        if let Some(seat) = self.context.seats.get(self.seat) {
            work(&seat.poller);
        }
    }
}

fn refused(shared: &Shared, target: SocketAddr, error: &io::Error) {
    tracing::debug!(route = shared.route.id, %target, %error, "target refused");
    shared.counters.target_failed(error);
}

/// An IPv4 peer of a dual-stack socket, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    }
}
