//! Messages that another loop sends, because their receivers are on its processor.
//!
//! Sending wakes the receiver. Across processors that takes longer than all the rest, and interrupts
//! whoever runs there; the loop that is there anyway wakes it for next to nothing. So while loops stay on
//! a processor each, small messages for somebody on another one are left to the loop there, all of one turn at
//! once.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Tcp;
use super::connection::Connection;
use super::copier::Copier;
use super::slots::Slots;
use crate::context::Seat;
use crate::worker::tokens::{Side, Subject};

/// Fewer messages than this for one loop are sent across: waking the loop is no cheaper.
const WORTH_IT: usize = 2;
/// Messages, about, that a loop may have to send for others: no more are left to it by any. Where one
/// processor takes in all of a network card's packets, everybody seems to be there.
const MOST: usize = 64;

/// Messages of one turn for the receivers on one processor.
#[derive(Debug)]
pub(crate) struct Errands {
    /// The loop that carries the connections.
    from: usize,
    bytes: Vec<u8>,
    list: Vec<Errand>,
}

#[derive(Debug)]
struct Errand {
    slot: u32,
    side: Side,
    to: Arc<OwnedFd>,
    /// What is to be sent, of the bytes of all; what is left of it, afterwards.
    left: Range<usize>,
    /// Whether the receiver had gone. Its socket does not say so any more.
    is_gone: bool,
}

/// Whom a gathered message is for.
struct Receiver<'a> {
    connection: &'a Connection,
    side: Side,
}

// === impl Tcp ===

impl Tcp {
    /// Whether nothing keeps it from sending for others: it has what it takes, and no streams.
    pub(crate) fn may_help(&self) -> bool {
        self.copier.outbox.has_ring() && self.unfinished.is_empty()
    }

    /// Leaves gathered messages to other loops; for the end of a turn, while this loop stays.
    pub(crate) fn hand_on(&mut self, now: Instant) {
        if self.copier.outbox.len() < WORTH_IT {
            return;
        }
        let helpers = self.helpers(now);
        if helpers.is_empty() {
            return;
        }
        for (at, errands) in self.bundles(&helpers, now) {
            let Some(seat) = self.context.seats.get(at) else { continue };
            self.context.totals.messages_handed_on.add(errands.list.len());
            seat.burden.fetch_add(errands.list.len(), Ordering::Relaxed);
            seat.leave(errands);
        }
    }

    /// The loops that something may be left to.
    fn helpers(&self, now: Instant) -> Vec<usize> {
        let mut wanted: BTreeMap<usize, usize> = BTreeMap::new();
        for token in self.copier.outbox.tokens() {
            if let Some(at) = self.connections.receiver(token).and_then(|to| to.home(now)) {
                *wanted.entry(at).or_default() += 1;
            }
        }
        let may_be_asked = |at: usize, count: usize| {
            let seat = self.context.seats.get(at).filter(|_| at != self.seat && count >= WORTH_IT);
            seat.is_some_and(|seat| seat.takes(count))
        };
        let helpers = wanted.into_iter().filter(|(at, count)| may_be_asked(*at, *count));
        helpers.map(|(at, _)| at).collect()
    }

    /// What each of the helpers is to send, taken out of the outbox.
    fn bundles(&mut self, helpers: &[usize], now: Instant) -> BTreeMap<usize, Errands> {
        let mut bundles: BTreeMap<usize, Errands> = BTreeMap::new();
        let Self { connections, copier, seat: own, .. } = self;
        copier.outbox.take_out(|token, bytes| {
            let to = connections.receiver(token).and_then(|to| to.home(now));
            let Some(at) = to.filter(|at| helpers.contains(at)) else { return false };
            let bundle = bundles.entry(at).or_insert_with(|| Errands::of(*own));
            bundle.push(connections, token, bytes)
        });
        bundles
    }

    /// Sends what other loops have left, and goes on where they have sent what was left to them; for
    /// the beginning of a turn, while the outbox is empty.
    pub(crate) fn run_errands(&mut self) {
        let context = Arc::clone(&self.context);
        let Some(seat) = context.seats.get(self.seat) else { return };
        for errands in seat.errands() {
            if errands.from == self.seat {
                self.take_back(&errands);
            } else {
                self.run(errands);
            }
        }
    }

    /// Sends what another loop has left, without waiting for anyone, and tells it.
    fn run(&mut self, mut errands: Errands) {
        let Errands { from, bytes, list } = &mut errands;
        let outbox = &mut self.copier.outbox;
        for (errand, token) in list.iter().zip(0..) {
            outbox.post_datagram(bytes.get(errand.left.clone()).unwrap_or_default(), token, None);
        }
        let errand = |token: u64| list.get(usize::try_from(token).ok()?);
        outbox.deliver(|token| Some(errand(token)?.to.as_fd()));
        outbox.settle(|delivered| {
            let errand = usize::try_from(delivered.token).ok().and_then(|nth| list.get_mut(nth));
            if let Some(errand) = errand {
                errand.left.start = errand.left.end - delivered.left.len();
                errand.is_gone = delivered.error.as_ref().is_some_and(is_about_the_peer);
            }
        });
        if let Some(own) = self.context.seats.get(self.seat) {
            own.burden.fetch_sub(list.len(), Ordering::Relaxed);
        }
        if let Some(seat) = self.context.seats.get(*from) {
            seat.leave(errands);
        }
    }

    /// Goes on with connections whose messages were left to another loop.
    fn take_back(&mut self, errands: &Errands) {
        let Copier { waiting, .. } = &self.copier;
        for Errand { slot, side, to, left, is_gone } in &errands.list {
            let connection = self.connections.get_mut(*slot);
            // The number may be another one's by now.
            let Some(connection) = connection.filter(|it| Arc::ptr_eq(it.leg(*side), to)) else {
                continue;
            };
            connection.take_back(
                *side,
                errands.bytes.get(left.clone()).unwrap_or_default(),
                waiting,
            );
            if *is_gone {
                connection.has_failed(*side);
            }
            // What was not sent is sent again, which tells why.
            if connection.is_ready() {
                if !std::mem::replace(&mut connection.queued, true) {
                    self.unfinished.push_back(*slot);
                }
            } else if connection.looked.leaves {
                self.leaving.push(*slot);
            }
        }
    }
}

fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionReset | TimedOut)
}

// === impl Slots ===

impl Slots<Connection> {
    fn receiver(&self, token: u64) -> Option<Receiver<'_>> {
        let Subject::Leg { slot, side } = token.into() else { return None };
        Some(Receiver { connection: self.get(slot)?, side })
    }
}

// === impl Receiver ===

impl Receiver<'_> {
    /// The loop on whose processor it was seen lately.
    fn home(&self, now: Instant) -> Option<usize> {
        let Self { connection, side } = self;
        // A stream the other way would stand still meanwhile.
        let goes_on = connection.queued || connection.streams();
        connection.looked.seat(*side, now).filter(|_| !goes_on)
    }
}

// === impl Seat ===

impl Seat {
    /// Whether it sends so many messages more for others.
    fn takes(&self, count: usize) -> bool {
        self.stays.load(Ordering::Relaxed) && self.burden.load(Ordering::Relaxed) + count <= MOST
    }
}

// === impl Errands ===

impl Errands {
    fn of(from: usize) -> Self {
        Self { from, bytes: Vec::new(), list: Vec::new() }
    }

    fn push(&mut self, connections: &mut Slots<Connection>, token: u64, bytes: &[u8]) -> bool {
        let Subject::Leg { slot, side } = token.into() else { return false };
        let Some(connection) = connections.get_mut(slot) else { return false };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let (to, left) = (connection.hand_on(side), start..self.bytes.len());
        self.list.push(Errand { slot, side, to, left, is_gone: false });
        true
    }
}

#[cfg(test)]
mod tests;
