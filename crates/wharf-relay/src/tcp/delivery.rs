//! Small messages of one turn of the loop, sent together.

use std::os::fd::BorrowedFd;

use crate::tcp::Tcp;
use crate::tcp::connection::Connection;
use crate::tcp::copier::Copier;
use crate::tcp::slots::Slots;
use crate::worker::tokens::{Side, Subject};

// === impl Tcp ===

impl Tcp {
    /// Has small messages wait for [`Self::deliver`], or not.
    pub(crate) fn gather(&mut self, gathers: bool) {
        self.copier.gathers = gathers;
    }

    /// Sends what was gathered. What there was no room for, or what failed, waits in its connection,
    /// whose turn comes after everything else that is ready: sending again tells what is the matter.
    pub(crate) fn deliver(&mut self) {
        if self.copier.outbox.is_empty() {
            return;
        }
        let Copier { outbox, waiting, .. } = &mut self.copier;
        outbox.deliver(|token| receiver(&self.connections, token));
        outbox.settle(|delivered| {
            let Subject::Leg { slot, side } = delivered.token.into() else { return };
            let Some(connection) = self.connections.get_mut(slot) else { return };
            connection.take_back(side, delivered.left, waiting);
            let goes_on = delivered.failed() || !delivered.left.is_empty();
            if goes_on && !std::mem::replace(&mut connection.queued, true) {
                self.unfinished.push_back(slot);
            }
        });
    }

    /// Sends what was gathered where it would have to wait: for a stream, or for want of room. And where
    /// it belongs before what is to be done for the same connection.
    pub(super) fn deliver_ahead_of(&mut self, slot: u32) {
        let precedes = |connection: &Connection| connection.is_posted() || connection.streams();
        if self.copier.outbox.is_full() || self.connections.get(slot).is_some_and(precedes) {
            self.deliver();
        }
    }
}

fn receiver(connections: &Slots<Connection>, token: u64) -> Option<BorrowedFd<'_>> {
    let Subject::Leg { slot, side } = token.into() else { return None };
    let connection = connections.get(slot)?;
    Some(match side {
        Side::Client => connection.client(),
        Side::Target => connection.target(),
    })
}

#[cfg(test)]
mod tests;
