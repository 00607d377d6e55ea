//! Connections that move to the loop where their ends are.
//!
//! While a loop stays on a processor (`crate::worker::home`), a connection whose two ends both run on
//! another one is in the wrong place: each message wakes somebody across processors, which costs more than
//! the rest of its way. Between two turns a connection without anything on the way is two sockets and a few
//! words, so that it can go over as it is.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::connection::Connection;
use super::{ROUND, Tcp};
use crate::context::Command;
use crate::poller::Ready;
use crate::worker::home::{Home, PERIOD};
use crate::worker::tokens::{Side, Subject};

/// A connection on its way to another loop.
#[derive(Debug)]
pub(crate) struct Moved {
    connection: Connection,
}

/// How long it is believed where an end was seen.
const LATELY: Duration = Duration::from_millis(100);

/// Where the ends of a connection were the last time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    pub(super) at: Instant,
    /// The loops at the client's and the target's processor.
    pub(super) seats: [Option<usize>; 2],
    /// Whether it is to go to the loop where both are.
    pub(super) leaves: bool,
}

// === impl Tcp ===

impl Tcp {
    /// Looks where the ends of connections are that were served `now`, and finds those that have to go.
    pub(crate) fn look(&mut self, served: &[Ready], home: &mut Home, now: Instant) {
        for event in served {
            let Subject::Leg { slot, .. } = event.token.into() else { continue };
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            if !connection.looked.is_due(now) || !home.may_look() {
                continue;
            }
            let looked = Looked { at: now, seats: connection.seats(home), leaves: false };
            let before = std::mem::replace(&mut connection.looked, looked);
            // One packet may have come from anywhere: two looks have to agree.
            let elsewhere = looked.common().is_some_and(|seat| seat != self.seat);
            if elsewhere && looked.common() == before.common() {
                connection.looked.leaves = true;
                self.leaving.push(slot);
            }
        }
    }

    /// Sends connections to the loops where both of their ends are; for the end of a turn. One that has
    /// something on its way goes when that has arrived.
    pub(crate) fn depart(&mut self) {
        let mut leaving: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for slot in std::mem::take(&mut self.leaving) {
            let connection = self.connections.get_mut(slot).filter(|it| it.looked.leaves);
            let Some(connection) = connection.filter(|it| it.rests()) else { continue };
            connection.looked.leaves = false;
            if let Some(seat) = connection.looked.common() {
                leaving.entry(seat).or_default().push(slot);
            }
        }
        leaving.into_iter().for_each(|(seat, slots)| self.move_to(seat, slots));
    }

    /// Not while loops are being told something: it would overtake a connection on its way.
    fn move_to(&mut self, seat: usize, slots: Vec<u32>) {
        let context = Arc::clone(&self.context);
        let Some(_order) = context.in_order(self.seat) else { return };
        let (Some(own), Some(other)) = (context.seats.get(self.seat), context.seats.get(seat))
        else {
            return;
        };
        let mut moved = Vec::new();
        for slot in slots.into_iter().take(room(own.busy(), other.busy())) {
            let Some(connection) = self.connections.take(slot) else { continue };
            self.unfollow(&connection);
            context.carry(self.seat, false);
            context.carry(seat, true);
            context.totals.connections_moved.up();
            moved.push(Moved { connection });
        }
        if !moved.is_empty() {
            other.tell(Command::Move(moved));
        }
    }

    /// Goes on with connections of another loop.
    pub(crate) fn take_over(&mut self, moved: Vec<Moved>, now: Instant) {
        for Moved { connection } in moved {
            match self.connections.insert(connection) {
                // What has happened meanwhile is reported at once.
                Ok(slot) if self.follow(slot, Side::Client) && self.follow(slot, Side::Target) => {
                    self.next_round.get_or_insert(now + ROUND);
                }
                Ok(slot) => {
                    if let Some(connection) = self.take(slot) {
                        connection.fail();
                    }
                }
                Err(connection) => {
                    self.context.carry(self.seat, false);
                    connection.fail();
                }
            }
        }
    }
}

// === impl Looked ===

impl Looked {
    /// Most connections end before it would pay; one that lasts is looked at in each period.
    fn is_due(&self, now: Instant) -> bool {
        now >= self.at + PERIOD
    }

    /// The loop at the processor of one end, if it was seen there lately.
    pub(super) fn seat(&self, side: Side, now: Instant) -> Option<usize> {
        let [client, target] = self.seats;
        let seat = if side == Side::Client { client } else { target };
        seat.filter(|_| now < self.at + LATELY)
    }

    /// The loop at whose processor both ends are.
    fn common(&self) -> Option<usize> {
        let [client, target] = self.seats;
        client.filter(|_| client == target)
    }
}

// === impl Connection ===

impl Connection {
    /// The loops at the processors of both ends.
    fn seats(&self, home: &Home) -> [Option<usize>; 2] {
        [self.client(), self.target()].map(|leg| home.seat_at(processor(leg)?))
    }

    fn fail(self) {
        self.admitted.shared.counters.errors.up();
        self.reset();
    }
}

/// How many may go from a loop with `own` busy connections to one with `other`: afterwards that has no
/// more than half as many again, or is not idle any more. All ends may seem to be where a network card's
/// packets are taken in.
fn room(own: usize, other: usize) -> usize {
    let fair = (own * 3).saturating_sub(other * 2) / 5;
    fair.max(usize::from(other == 0))
}

/// Where the last packet of a leg was taken in: without packet steering, the processor of its sender,
/// if that is on this host, or the one that serves the network card.
fn processor(leg: BorrowedFd<'_>) -> Option<usize> {
    SockRef::from(&leg).cpu_affinity().ok()
}

#[cfg(test)]
mod tests;
