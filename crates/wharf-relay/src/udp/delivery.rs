//! Datagrams of one turn of the loop, sent together.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use wharf_host::datagram::{Sent, Train};
use wharf_host::outbox::{Delivered, Outbox};

use super::Udp;
use super::carry::{note_in, note_out};
use super::flows::{Flow, Flows};
use crate::stats::Loss;

/// The lowest bit of a token tells the two ways of a flow apart.
const OUT: u64 = 1;

/// What waits for the end of a turn.
#[derive(Debug)]
pub(super) struct Departures {
    outbox: Outbox,
    /// Whether several sockets are served in this turn.
    gathers: bool,
    /// Not on kernels whose ring takes no control data for datagrams (before Linux 5.12).
    answers_wait: bool,
}

/// Which way a datagram of a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the target.
    In(u64),
    /// To the client.
    Out(u64),
}

// === impl Udp ===

impl Udp {
    /// Has single datagrams wait for [`Self::deliver`], or not.
    pub(crate) fn gather(&mut self, gathers: bool) {
        self.departures.gathers = gathers;
    }

    /// Sends what was gathered.
    pub(crate) fn deliver(&mut self) {
        self.departures.deliver(&mut self.flows);
    }
}

// === impl Departures ===

impl Departures {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox, gathers: false, answers_wait: true }
    }

    /// Keeps a small datagram to be sent with others, if that is what is done now or the socket it
    /// came from gives `many`. Sends what waits if not, or if some of it goes the same way: one that
    /// fails is sent again after the others, and nothing shall overtake it.
    pub(super) fn post(
        &mut self,
        train: Train<'_>,
        way: Way,
        many: bool,
        flows: &mut Flows,
    ) -> bool {
        let Some(datagram) = train.only().filter(|_| self.may_wait(way, many)) else {
            self.deliver(flows);
            return false;
        };
        if self.outbox.is_full() || self.outbox.holds(way.into()) {
            self.deliver(flows);
        }
        let path = match way {
            Way::In(_) => None,
            Way::Out(id) => flows.get(id).map(Flow::path_back),
        };
        let posted = self.outbox.post_datagram(datagram, way.into(), path);
        if !posted {
            self.deliver(flows);
        }
        posted
    }

    fn may_wait(&self, way: Way, many: bool) -> bool {
        (self.gathers || many) && (self.answers_wait || matches!(way, Way::In(_)))
    }

    fn deliver(&mut self, flows: &mut Flows) {
        // A single one is sent sooner without a ring.
        if self.outbox.len() > 1 {
            self.outbox.deliver(|token| match Way::from(token) {
                Way::In(id) => Some(flows.get(id)?.socket.as_fd()),
                Way::Out(id) => flows.get(id)?.way_out(),
            });
        }
        let answers_wait = &mut self.answers_wait;
        self.outbox.settle(|delivered| {
            let way = Way::from(delivered.token);
            let error = delivered.error.as_ref().and_then(Errno::from_io_error);
            *answers_wait &= error != Some(Errno::INVAL) || matches!(way, Way::In(_));
            let (Way::In(id) | Way::Out(id)) = way;
            if let Some(flow) = flows.get_mut(id) {
                flow.settle(way, &delivered);
            }
        });
    }
}

// === impl Flow ===

impl Flow {
    /// The socket that answers leave from.
    pub(super) fn way_out(&self) -> Option<BorrowedFd<'_>> {
        let own = self.answers_by.as_ref().map(|answerer| answerer.socket.as_fd());
        own.or_else(|| self.served.socket(self.key.token))
    }

    /// Counts what was sent with others. What failed is sent once more by itself, which says why and
    /// gets past an ICMP error of an earlier one.
    fn settle(&mut self, way: Way, delivered: &Delivered<'_>) {
        let (train, error) = (Train::new(delivered.bytes, None), delivered.error.as_ref());
        let is_over = error.is_none_or(|error| error.kind() == ErrorKind::WouldBlock);
        if !delivered.tried || !is_over {
            return match way {
                Way::In(_) => self.send_in(train, 0, error),
                Way::Out(_) => self.send_out(train, error),
            };
        }
        let counters = &self.served.shared.counters;
        match (way, error) {
            (_, Some(_)) => counters.dropped(Loss::BufferFull, 1),
            (Way::In(_), None) => note_in(counters, 1, &Sent::one(train.bytes()), 0),
            (Way::Out(_), None) => note_out(counters, 1, &Sent::one(train.bytes())),
        }
    }
}

// === impl Way ===

impl From<Way> for u64 {
    fn from(way: Way) -> Self {
        match way {
            Way::In(id) => id << 1,
            Way::Out(id) => id << 1 | OUT,
        }
    }
}

impl From<u64> for Way {
    fn from(token: u64) -> Self {
        if token & OUT == 0 { Self::In(token >> 1) } else { Self::Out(token >> 1) }
    }
}

#[cfg(test)]
mod tests;
