//! Messages that another loop sends, because their receivers are on its processor.
//!
//! Sending wakes the receiver. Across processors that takes longer than all the rest, and interrupts
//! whoever runs there; the loop that is there anyway wakes it for next to nothing. So while loops stay on
//! a processor each, small messages for somebody on another one are left to the loop there, all of one turn at
//! once.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Tcp;
use super::copier::Copier;
use crate::context::Command;
use crate::worker::tokens::{Side, Subject};

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
    failed: bool,
}

// === impl Tcp ===

impl Tcp {
    /// Whether it can send for others.
    pub(crate) fn has_ring(&self) -> bool {
        self.copier.outbox.has_ring()
    }

    /// Leaves gathered messages to other loops.
    pub(super) fn hand_on(&mut self) {
        let context = Arc::clone(&self.context);
        for (at, seat) in context.seats.iter().enumerate() {
            if at != self.seat && seat.stays.load(Ordering::Relaxed) {
                let errands = self.errands_for(at);
                if !errands.list.is_empty() {
                    context.totals.messages_handed_on.add(errands.list.len());
                    seat.tell(Command::Send(errands));
                }
            }
        }
    }

    fn errands_for(&mut self, at: usize) -> Errands {
        let mut errands = Errands { from: self.seat, bytes: Vec::new(), list: Vec::new() };
        let connections = &self.connections;
        self.copier.outbox.take_out(|token, bytes| {
            let Subject::Leg { slot, side } = token.into() else { return false };
            let connection = connections.get(slot);
            let receiver = connection.filter(|it| it.looked.seat(side) == Some(at));
            if let Some(connection) = receiver {
                errands.push(slot, side, Arc::clone(connection.leg(side)), bytes);
            }
            receiver.is_some()
        });
        errands
    }

    /// Sends what another loop has left, without waiting for anyone, and tells it.
    pub(crate) fn run(&mut self, mut errands: Errands) {
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
                errand.failed = delivered.failed();
            }
        });
        if let Some(seat) = self.context.seats.get(*from) {
            seat.tell(Command::Sent(errands));
        }
    }

    /// Goes on with connections whose messages were left to another loop.
    pub(crate) fn take_back(&mut self, errands: &Errands) {
        let Copier { waiting, .. } = &self.copier;
        for errand in &errands.list {
            let Some(connection) = self.connections.get_mut(errand.slot) else { continue };
            if !Arc::ptr_eq(connection.leg(errand.side), &errand.to) {
                continue;
            }
            let left = errands.bytes.get(errand.left.clone()).unwrap_or_default();
            connection.take_back(errand.side, left, waiting);
            // Whatever was to be done with it meanwhile had to wait.
            let goes_on = errand.failed || connection.is_ready();
            if goes_on && !std::mem::replace(&mut connection.queued, true) {
                self.unfinished.push_back(errand.slot);
            } else if connection.looked.leaves {
                self.leaving.push(errand.slot);
            }
        }
    }
}

// === impl Errands ===

impl Errands {
    fn push(&mut self, slot: u32, side: Side, to: Arc<OwnedFd>, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let left = start..self.bytes.len();
        self.list.push(Errand { slot, side, to, left, failed: false });
    }
}

#[cfg(test)]
mod tests;
