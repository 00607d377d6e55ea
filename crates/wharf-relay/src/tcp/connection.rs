//! One connection: the client's leg, the target's leg, and what goes between them.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_quickack;
use socket2::{SockRef, TcpKeepalive};

use crate::context::Context;
use crate::limits::{Budget, Share};
use crate::poller::Ready;
use crate::route::Shared;
use crate::tcp::copier::Copier;
use crate::tcp::direction::{Direction, Progress};
use crate::tcp::moving::Looked;
use crate::tcp::near::{self, Way};
use crate::worker::tokens::Side;

/// A peer that vanished without a word is noticed after 60 s + 4 × 15 s: two minutes, so that
/// pairs of sockets do not pile up, at less than a packet a minute for idle connections.
pub(super) const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// So often the way to a client is looked at: the first round trips of a busy one may be long.
const LOOKS: u8 = 4;

/// An accepted, allowed and counted connection.
#[derive(Debug)]
pub(super) struct Admitted {
    context: Arc<Context>,
    pub(super) shared: Arc<Shared>,
    pub(super) port: usize,
    _share: Share,
}

/// A connection that a loop carries.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) admitted: Admitted,
    pub(super) peer: SocketAddr,
    /// Shared with another loop while that sends something.
    client: Arc<OwnedFd>,
    target: Arc<OwnedFd>,
    pub(super) stage: Stage,
    inwards: Direction,
    outwards: Direction,
    /// The side that failed first.
    broken: Option<Side>,
    /// Whether it waits for its turn in the loop.
    pub(super) queued: bool,
    /// Whether the options of a connection that lasts are set.
    seasoned: bool,
    /// How often the way to the client may still be looked at, to decide whether its leg is paced.
    looks: u8,
    /// When, and with what result, it was last asked where its ends are.
    pub(super) looked: Looked,
    /// Whether the target did not answer a first attempt.
    pub(super) redialed: bool,
    /// Whether the target refused at the address of the client's family.
    pub(super) turned: bool,
    begun: Instant,
    moved: Instant,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The target has not answered.
    Dialing {
        /// When this attempt was begun.
        since: Instant,
        /// When this attempt is given up.
        until: Instant,
        /// Whether it has the client's address.
        as_client: bool,
    },
    /// Both legs stand.
    Open,
}

/// What is to be done with a connection after an event.
#[derive(Debug)]
pub(super) enum Verdict {
    Waiting,
    Unfinished,
    Done,
    Failed(io::Error),
}

// === impl Admitted ===

impl Admitted {
    pub(super) fn new(
        context: Arc<Context>,
        shared: Arc<Shared>,
        port: usize,
        share: Share,
    ) -> Self {
        shared.counters.connections_total.up();
        shared.counters.connections_open.up();
        context.totals.connections_open.up();
        Self { context, shared, port, _share: share }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.leave(self.port);
        self.shared.counters.connections_open.down();
        self.context.totals.connections_open.down();
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(
        admitted: Admitted,
        peer: SocketAddr,
        client: OwnedFd,
        target: OwnedFd,
        stage: Stage,
        now: Instant,
    ) -> Self {
        Self {
            admitted,
            peer,
            client: Arc::new(client),
            target: Arc::new(target),
            stage,
            inwards: Direction::default(),
            outwards: Direction::default(),
            broken: None,
            queued: false,
            seasoned: false,
            looks: LOOKS,
            looked: Looked { at: now, seats: [None; 2], leaves: false },
            redialed: false,
            turned: false,
            begun: now,
            moved: now,
        }
    }

    pub(super) fn client(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    pub(super) fn target(&self) -> BorrowedFd<'_> {
        self.target.as_fd()
    }

    /// One of the legs, for another loop to send by.
    pub(super) fn leg(&self, side: Side) -> &Arc<OwnedFd> {
        match side {
            Side::Client => &self.client,
            Side::Target => &self.target,
        }
    }

    /// Puts a new attempt in the place of the last.
    pub(super) fn redial(&mut self, target: OwnedFd, stage: Stage) {
        (self.target, self.stage, self.redialed) = (Arc::new(target), stage, true);
    }

    /// Goes on with a socket to the target's address of the other family, as if the first had never
    /// failed.
    pub(super) fn turn(&mut self, target: OwnedFd, stage: Stage) {
        (self.target, self.stage, self.turned) = (Arc::new(target), stage, true);
        (self.outwards, self.broken) = (Direction::default(), None);
    }

    /// Puts bytes ahead of what the client sends.
    pub(super) fn prefix(&mut self, bytes: Vec<u8>) {
        self.inwards.prefix(bytes);
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, side: Side, ready: Ready) {
        match side {
            Side::Client => self.inwards.note(ready),
            Side::Target => self.outwards.note(ready),
        }
        if ready.failed() {
            self.broken.get_or_insert(side);
        }
        if side == Side::Target && !ready.failed() && ready.writable() {
            self.stage = Stage::Open;
        }
    }

    /// Moves what can be moved.
    pub(super) fn advance(&mut self, copier: &mut Copier, now: Instant) -> Verdict {
        if self.is_away() {
            return Verdict::Waiting;
        }
        if let Some(side) = self.broken {
            return Verdict::Failed(self.last_words(side, copier));
        }
        if self.stage != Stage::Open {
            return Verdict::Waiting;
        }
        let verdict = self.carry(copier);
        if self.inwards.has_moved() | self.outwards.has_moved() {
            self.moved = now;
        }
        verdict.unwrap_or_else(Verdict::Failed)
    }

    /// Moves what can be moved, both ways. Where writing to a side fails, it may have answered before
    /// it closed, which is passed on as its last words.
    fn carry(&mut self, copier: &mut Copier) -> io::Result<Verdict> {
        let (client, target) = (self.client.as_fd(), self.target.as_fd());
        let had_ended = (self.inwards.is_over(), self.outwards.is_over());
        let counters = &self.admitted.shared.counters;
        copier.receiver.side = Side::Target;
        let inwards = self.inwards.run(client, target, copier, &counters.bytes_in);
        if inwards.is_err() {
            self.outwards.read_what_is_left();
        }
        copier.receiver.side = Side::Client;
        let outwards = self.outwards.run(target, client, copier, &counters.bytes_out);
        if outwards.is_err() && inwards.is_ok() {
            self.inwards.read_what_is_left();
            copier.receiver.side = Side::Target;
            // What broke the connection is told already.
            drop(self.inwards.run(client, target, copier, &counters.bytes_in));
        }
        let (inwards, outwards) = (inwards?, outwards?);
        match (inwards, outwards) {
            // Closing says the same as shutting down, once nothing is to come any more.
            (Progress::Over, Progress::Over) => return Ok(Verdict::Done),
            (Progress::Over, _) if !had_ended.0 => finish(target)?,
            (_, Progress::Over) if !had_ended.1 => finish(client)?,
            _ => {}
        }
        let unfinished = [inwards, outwards].contains(&Progress::Unfinished);
        Ok(if unfinished { Verdict::Unfinished } else { Verdict::Waiting })
    }

    /// Whether something of it is in the loop's outbox.
    pub(super) fn is_posted(&self) -> bool {
        self.inwards.is_posted() || self.outwards.is_posted()
    }

    /// Whether there is something to go on with: to be read, to be sent, or a failure.
    pub(super) fn is_ready(&self) -> bool {
        self.inwards.is_ready() || self.outwards.is_ready() || self.broken.is_some()
    }

    /// Notes that the message to `receiver` goes to another loop, and answers by what to send it.
    pub(super) fn hand_on(&mut self, receiver: Side) -> Arc<OwnedFd> {
        match receiver {
            Side::Target => self.inwards.hand_on(),
            Side::Client => self.outwards.hand_on(),
        }
        Arc::clone(self.leg(receiver))
    }

    /// Whether another loop is sending something of it. Nothing is done with it meanwhile: what a side
    /// has said or failed by comes after that, and who fails is known when it comes back.
    pub(super) fn is_away(&self) -> bool {
        self.inwards.is_away() || self.outwards.is_away()
    }

    /// Notes that a side failed, as another loop found, which has taken the error off the socket.
    pub(super) fn has_failed(&mut self, side: Side) {
        self.broken.get_or_insert(side);
    }

    /// Takes back what the outbox could not send to `receiver`.
    pub(super) fn take_back(&mut self, receiver: Side, left: &[u8], waiting: &Arc<Budget>) {
        match receiver {
            Side::Target => self.inwards.take_back(left, waiting),
            Side::Client => self.outwards.take_back(left, waiting),
        }
    }

    /// Whether it was the target's side that failed.
    pub(super) fn target_failed(&self) -> bool {
        self.broken == Some(Side::Target)
    }

    /// Passes on what a side sent before it failed, an error page perhaps, and answers with what
    /// broke it.
    fn last_words(&mut self, side: Side, copier: &mut Copier) -> io::Error {
        if self.stage != Stage::Open {
            return self.error();
        }
        let (client, target) = (self.client.as_fd(), self.target.as_fd());
        let counters = &self.admitted.shared.counters;
        let ran = match side {
            Side::Client => {
                copier.receiver.side = Side::Target;
                self.inwards.read_what_is_left();
                self.inwards.run(client, target, copier, &counters.bytes_in)
            }
            Side::Target => {
                copier.receiver.side = Side::Client;
                self.outwards.read_what_is_left();
                self.outwards.run(target, client, copier, &counters.bytes_out)
            }
        };
        ran.err().unwrap_or_else(|| self.error())
    }

    /// What broke a leg.
    fn error(&self) -> io::Error {
        let pending = |fd: &OwnedFd| SockRef::from(fd).take_error().ok().flatten();
        let found = pending(&self.target).or_else(|| pending(&self.client));
        found.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// Sets what only a connection that lasts needs: most do not live that long, and each option
    /// is a system call.
    pub(super) fn look_after(&mut self, now: Instant) {
        if !self.seasoned && self.stage == Stage::Open && now > self.begun {
            self.seasoned = true;
            // Failure means that a vanished target is noticed late.
            drop(SockRef::from(&self.target).set_tcp_keepalive(&KEEPALIVE));
            // If this process is killed, both sides shall see a failure and not an end.
            reset_on_close(&self.client);
            reset_on_close(&self.target);
        }
    }

    /// Gives the pipes of directions that have not moved since the last call to others.
    pub(super) fn give_pipes_back(&mut self, copier: &mut Copier) -> io::Result<()> {
        self.inwards.give_pipe_back(copier)?;
        self.outwards.give_pipe_back(copier)
    }

    /// As [`Self::pace_if_lasting_and_far`], for a stream that begins; looks once.
    pub(super) fn pace_if_streaming_and_far(&mut self, name: &str) {
        if self.looks == LOOKS && self.outwards.streams() {
            self.pace_if_far(name);
        }
    }

    /// Gives the leg of a client that is far the congestion control `name`. Called now and then: most
    /// connections carry little and end soon, and each look is a system call.
    pub(super) fn pace_if_lasting_and_far(&mut self, name: &str) {
        if self.looks > 0 && self.seasoned {
            self.pace_if_far(name);
        }
    }

    fn pace_if_far(&mut self, name: &str) {
        let client = self.client.as_fd();
        self.looks -= 1;
        match Way::of(client) {
            Way::Short => self.looks = 0,
            Way::Unsure if self.looks > 0 => {}
            Way::Unsure | Way::Long => {
                self.looks = 0;
                near::pace(client, name);
            }
        }
    }

    /// Whether one of its directions is a stream.
    pub(super) fn streams(&self) -> bool {
        self.inwards.streams() || self.outwards.streams()
    }

    /// Whether both legs stand and nothing of it is anywhere but in their sockets.
    pub(super) fn rests(&self) -> bool {
        let quiet = self.inwards.rests() && self.outwards.rests();
        quiet && !self.queued && self.stage == Stage::Open && self.broken.is_none()
    }

    /// Tells a target that hears nothing from the client yet that the connection stands: it may be
    /// the one to speak first. See [`super::dial`] for why the kernel has not done so.
    pub(super) fn announce(&self) {
        if !self.inwards.has_begun() {
            // Failure means that it is told 40 ms later.
            let _told = set_tcp_quickack(&self.target, true);
        }
    }

    /// How long it has carried nothing.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved)
    }

    /// Closes both legs in peace.
    pub(super) fn close(self) {
        if self.seasoned {
            for leg in [&self.client, &self.target] {
                // It fails only for what is no socket.
                drop(SockRef::from(leg).set_linger(None));
            }
        }
    }

    /// Closes both legs with a reset.
    pub(super) fn reset(self) {
        reset_on_close(&self.client);
        reset_on_close(&self.target);
    }
}

/// Tells a side that nothing more will come.
fn finish(to: BorrowedFd<'_>) -> io::Result<()> {
    match SockRef::from(&to).shutdown(Shutdown::Write) {
        // It has closed already, and what it closed with is about to be read.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}

/// Makes closing a socket send a reset.
pub(super) fn reset_on_close(socket: &impl AsFd) {
    // It fails only for what is no socket.
    drop(SockRef::from(&socket.as_fd()).set_linger(Some(Duration::ZERO)));
}
