//! Connections that move to the loop where their ends are.
//!
//! While loops stay on a processor each (`crate::worker::home`), a connection whose two ends both run on
//! another one is in the wrong place: each message wakes somebody across processors, which costs more than
//! the rest of its way. Between two turns a connection without anything on the way is two sockets and a few
//! words, so that it can go over as it is.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use socket2::SockRef;

use super::connection::Connection;
use super::{ROUND, Tcp};
use crate::context::Command;
use crate::route::Shared;
use crate::worker::tokens::Side;

/// Connections looked at in one go, each with two system calls.
const LOOKED_AT: usize = 64;
/// A loop that has so many times as many connections is sent no more.
const CROWDED: usize = 2;

/// A connection on its way to another loop.
#[derive(Debug)]
pub(crate) struct Moved {
    connection: Connection,
}

// === impl Moved ===

impl Moved {
    /// The key of the route it came by.
    pub(crate) fn route(&self) -> u32 {
        self.connection.admitted.shared.key
    }
}

// === impl Tcp ===

impl Tcp {
    /// Looks at some connections, others each time, and sends those away whose ends are both at home at
    /// another loop; `seat_at` knows which loop is on a processor.
    pub(crate) fn send_home(&mut self, seat_at: impl Fn(usize) -> Option<usize>) {
        let next: Vec<u32> =
            self.connections.numbers_from(self.looked_at).take(LOOKED_AT).collect();
        self.looked_at =
            if next.len() < LOOKED_AT { 0 } else { next.last().map_or(0, |it| it + 1) };
        for slot in next {
            let Some(connection) = self.connections.get(slot) else { continue };
            let home = connection.home(&seat_at).filter(|home| *home != self.seat);
            if let Some(home) = home.filter(|home| self.has_room(*home)) {
                self.move_to(home, slot);
            }
        }
    }

    fn has_room(&self, seat: usize) -> bool {
        let carried = |seat| self.context.carried(seat);
        carried(seat) < carried(self.seat) * CROWDED
    }

    fn move_to(&mut self, home: usize, slot: u32) {
        let (Some(own), Some(other)) =
            (self.context.seats.get(self.seat), self.context.seats.get(home))
        else {
            return;
        };
        let Some(connection) = self.connections.take(slot) else { return };
        self.context.totals.connections_moved.up();
        own.poller.remove(connection.client());
        own.poller.remove(connection.target());
        self.context.carry(self.seat, false);
        self.context.carry(home, true);
        other.tell(Command::Move(Box::new(Moved { connection })));
    }

    /// Goes on with a connection of another loop. Its route may have changed on its way: `route` is the
    /// one that counts, if it is still there.
    pub(crate) fn take_over(&mut self, route: Option<&Arc<Shared>>, moved: Moved, now: Instant) {
        let mut connection = moved.connection;
        if let Some(route) = route {
            connection.admitted.shared = Arc::clone(route);
        }
        let shared = &connection.admitted.shared;
        if !shared.route.allows(connection.peer.ip()) {
            shared.counters.refused_not_allowed.up();
            self.context.carry(self.seat, false);
            return connection.reset();
        }
        match self.connections.insert(connection) {
            // What has happened meanwhile is reported at once.
            Ok(slot) if self.follow(slot, Side::Client) && self.follow(slot, Side::Target) => {
                self.next_round.get_or_insert(now + ROUND);
            }
            Ok(slot) => self.reset(slot),
            Err(connection) => {
                self.context.carry(self.seat, false);
                connection.reset();
            }
        }
    }
}

// === impl Connection ===

impl Connection {
    /// The loop at whose processor both ends are, if it may go there now.
    fn home(&self, seat_at: impl Fn(usize) -> Option<usize>) -> Option<usize> {
        let seat_of = |leg| seat_at(processor(leg)?);
        let home = seat_of(self.client()).filter(|_| self.rests())?;
        (seat_of(self.target()) == Some(home)).then_some(home)
    }
}

/// Where the last packet of a leg was taken in: a sender of this host does that itself.
fn processor(leg: BorrowedFd<'_>) -> Option<usize> {
    SockRef::from(&leg).cpu_affinity().ok()
}

#[cfg(test)]
mod tests;
