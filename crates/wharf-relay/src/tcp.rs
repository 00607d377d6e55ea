//! TCP: what one event loop does about connections.
//!
//! A connection that cannot be had at the target is reset, never closed cleanly; neither is one
//! that either side resets midway.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::SockRef;

use crate::context::Context;
use crate::poller::{Poller, Ready};
use crate::proxy_header;
use crate::route::Shared;
use crate::tcp::connection::{Admitted, Connection, KEEPALIVE, Stage, Verdict, reset_on_close};
use crate::tcp::dial::{Way, dial, kept};
use crate::tcp::direction::Copier;
use crate::tcp::pipes::Pipes;
use crate::tcp::slots::Slots;
use crate::worker::tokens::{Side, Subject};

mod accept;
mod connection;
pub(crate) mod dial;
mod direction;
mod pipes;
mod slots;

/// How often every connection is looked at: for idle limits, counters and ends.
const ROUND: Duration = Duration::from_secs(1);
/// How long the client's address is not tried again after it got no answer.
const DISTRUST: Duration = Duration::from_secs(10);

/// The connections of one loop.
#[derive(Debug)]
pub(crate) struct Tcp {
    context: Arc<Context>,
    seat: usize,
    connections: Slots<Connection>,
    copier: Copier,
    /// Those that would have gone on, were it not for the others.
    unfinished: VecDeque<u32>,
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
/// place, and vanished clients are noticed.
pub(crate) fn tune_listener(socket: BorrowedFd<'_>) {
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
        let copier = Copier::new(pipes, Arc::clone(&context.waiting));
        Self {
            context,
            seat,
            connections: Slots::new(),
            copier,
            unfinished: VecDeque::new(),
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
        self.follow(slot, Side::Client);
        self.follow(slot, Side::Target);
        self.await_dial(slot, stage);
        self.next_round.get_or_insert(now + ROUND);
        Some(())
    }

    /// Starts to connect to the target, from the client's address if `as_client` and that can be.
    fn dial(
        &self,
        shared: &Shared,
        peer: SocketAddr,
        port: usize,
        as_client: bool,
        now: Instant,
    ) -> Option<(OwnedFd, Stage)> {
        let limits = &self.context.limits;
        let target = SocketAddr::from(shared.route.target(peer.ip(), port)?);
        let trusted = as_client && shared.trusts_source(self.milliseconds(now));
        let source = if trusted { kept(&shared.route, peer, target) } else { None };
        let unpaced = shared.route.on_host && self.context.paced;
        let way = Way { target, unpaced, inside: shared.inside.as_ref() };
        let dialed = dial(way, source).inspect_err(|error| refused(shared, target, error));
        let dialed = dialed.ok()?;
        let limit = shared.route.connect_timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let limit = limit.unwrap_or(limits.connect);
        let limit = if dialed.as_client { limit.min(limits.transparent) } else { limit };
        let stage = Stage::Dialing { until: now + limit, as_client: dialed.as_client };
        Some((dialed.socket, stage))
    }

    fn await_dial(&mut self, slot: u32, stage: Stage) {
        if let Stage::Dialing { until, .. } = stage {
            self.dialing.push(slot);
            self.next_deadline = Some(self.next_deadline.map_or(until, |next| next.min(until)));
        }
    }

    fn follow(&mut self, slot: u32, side: Side) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let leg = match side {
            Side::Client => connection.client(),
            Side::Target => connection.target(),
        };
        let word = Subject::Leg { slot, side }.into();
        let Some(seat) = self.context.seats.get(self.seat) else { return };
        // Without memory for an entry the dialing limit ends the connection.
        if let Err(error) = seat.poller.follow(leg, word) {
            tracing::warn!(%error, "connection cannot be watched");
        }
    }

    /// Something happened to one side of a connection.
    pub(crate) fn event(&mut self, slot: u32, side: Side, ready: Ready, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let dialing = connection.stage != Stage::Open;
        connection.note(side, ready);
        let opened = dialing && connection.stage == Stage::Open;
        if opened {
            self.greet(slot);
        }
        self.advance(slot, now);
        if opened && let Some(connection) = self.connections.get_mut(slot) {
            connection.announce();
        }
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
        match connection.advance(&mut self.copier, now) {
            Verdict::Waiting => {
                if self.context.paced {
                    connection.take_pacing_off();
                }
            }
            Verdict::Unfinished => {
                if self.context.paced {
                    connection.take_pacing_off();
                }
                if !std::mem::replace(&mut connection.queued, true) {
                    self.unfinished.push_back(slot);
                }
            }
            Verdict::Done => {
                if let Some(connection) = self.take(slot) {
                    connection.close();
                }
            }
            Verdict::Failed(error) => self.fail(slot, &error),
        }
    }

    fn fail(&mut self, slot: u32, error: &io::Error) {
        let Some(connection) = self.take(slot) else { return };
        let shared = &connection.admitted.shared;
        match connection.stage {
            Stage::Open => shared.counters.errors.up(),
            Stage::Dialing { .. } => {
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

    fn give_up_dialing(&mut self, now: Instant) {
        self.next_deadline = None;
        for slot in std::mem::take(&mut self.dialing) {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            match connection.stage {
                Stage::Dialing { until, as_client } if until <= now => {
                    self.not_answered(slot, as_client, now);
                }
                stage => self.await_dial(slot, stage),
            }
        }
    }

    /// The target did not answer in time. From the gateway's address it may, if somebody took
    /// away what leads its answers to the client's address back here.
    fn not_answered(&mut self, slot: u32, as_client: bool, now: Instant) {
        let Some(mut connection) = self.connections.take(slot) else { return };
        let shared = Arc::clone(&connection.admitted.shared);
        let again = match as_client {
            true => self.dial(&shared, connection.peer, connection.admitted.port, false, now),
            false => None,
        };
        let Some((target, stage)) = again else {
            self.context.carry(self.seat, false);
            tracing::debug!(route = shared.route.id, "target timed out");
            shared.counters.target_timeouts.up();
            return connection.reset();
        };
        let until = self.milliseconds(now + DISTRUST);
        if shared.counters.source_fallbacks.first() {
            tracing::warn!(route = shared.route.id, "client address not kept: no answer came back");
        }
        shared.distrust_until(until);
        connection.redial(target, stage);
        match self.connections.insert(connection) {
            Ok(slot) => {
                self.rejoin(slot);
                self.await_dial(slot, stage);
            }
            Err(connection) => connection.reset(),
        }
    }

    /// Watches a connection that has moved to another slot.
    fn rejoin(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let client = connection.client();
        if let Some(seat) = self.context.seats.get(self.seat) {
            seat.poller.remove(client);
        }
        self.follow(slot, Side::Client);
        self.follow(slot, Side::Target);
    }

    /// Looks at every connection, now and then.
    fn look_after_all(&mut self, now: Instant) {
        self.copier.pipes.shrink();
        self.next_round = (self.connections.len() > 0).then_some(now + ROUND);
        let slots: Vec<u32> = self.connections.numbers().collect();
        for slot in slots {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            connection.look_after(now);
            let route = &connection.admitted.shared.route;
            let limit = route.idle_timeout_seconds.map(|s| Duration::from_secs(s.into()));
            let limit = limit.or(self.context.limits.idle);
            if limit.is_some_and(|limit| connection.idle(now) >= limit) {
                connection.admitted.shared.counters.idle_timeouts.up();
                self.reset(slot);
            }
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

    fn milliseconds(&self, at: Instant) -> u64 {
        let life = at.saturating_duration_since(self.context.began);
        u64::try_from(life.as_millis()).unwrap_or(u64::MAX - 1)
    }
}

fn refused(shared: &Shared, target: SocketAddr, error: &io::Error) {
    tracing::debug!(route = shared.route.id, %target, %error, "target refused");
    shared.counters.target_refused.up();
}

/// An IPv4 peer of a dual-stack socket, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    }
}
