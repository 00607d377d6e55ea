//! Small messages of one turn of the loop, sent together.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::tcp::Tcp;
use crate::tcp::connection::Connection;
use crate::tcp::direction::Copier;
use crate::tcp::slots::Slots;
use crate::worker::tokens::{Side, Subject};

// === impl Tcp ===

impl Tcp {
    /// Has small messages wait for [`Self::deliver`], or not.
    pub(crate) fn gather(&mut self, gathers: bool) {
        self.copier.gathers = gathers;
    }

    /// Sends what was gathered. What there was no room for waits in its connection; a connection that
    /// turns out to be broken is told so by sending to it again.
    pub(crate) fn deliver(&mut self, now: Instant) {
        if self.copier.outbox.is_empty() {
            return;
        }
        let mut broken = Vec::new();
        let Copier { outbox, waiting, .. } = &mut self.copier;
        outbox.deliver(|token| receiver(&self.connections, token));
        outbox.settle(|delivered| {
            let Subject::Leg { slot, side } = delivered.token.into() else { return };
            // One that failed meanwhile was reset, and its messages with it.
            let Some(connection) = self.connections.get_mut(slot) else { return };
            connection.take_back(side, delivered.left, waiting);
            if delivered.failed {
                broken.push(slot);
            }
        });
        for slot in broken {
            self.advance(slot, now);
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
