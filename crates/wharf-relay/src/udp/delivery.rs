//! Datagrams of one turn of the loop, sent together.

use std::os::fd::{AsFd, BorrowedFd};

use wharf_host::datagram::{Sent, Train, send_train};
use wharf_host::outbox::{Delivered, Outbox};

use super::Udp;
use super::carry::{note_in, note_out};
use super::flows::{Flow, Flows};

/// The lowest bit of a token tells the two ways of a flow apart.
const OUT: u64 = 1;

/// What waits for the end of a turn.
#[derive(Debug)]
pub(super) struct Departures {
    outbox: Outbox,
    /// Whether several sockets are served in this turn.
    gathers: bool,
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
        Self { outbox, gathers: false }
    }

    /// Keeps a small datagram to be sent with others, if that is what is done now or the socket it
    /// came from gives `many`. Sends what waits if not: nothing may overtake it.
    pub(super) fn post(
        &mut self,
        train: Train<'_>,
        way: Way,
        many: bool,
        flows: &mut Flows,
    ) -> bool {
        let (Way::In(id) | Way::Out(id)) = way;
        let only = train.only().filter(|_| self.gathers || many);
        let path = flows.get(id).filter(|_| way == Way::Out(id)).map(Flow::path_back);
        if self.outbox.is_full() {
            self.deliver(flows);
        }
        if only.is_some_and(|datagram| self.outbox.post_datagram(datagram, way.into(), path)) {
            return true;
        }
        self.deliver(flows);
        false
    }

    fn deliver(&mut self, flows: &mut Flows) {
        if self.outbox.is_empty() {
            return;
        }
        self.outbox.deliver(|token| match Way::from(token) {
            Way::In(id) => Some(flows.get(id)?.socket.as_fd()),
            Way::Out(id) => flows.get(id)?.way_out(),
        });
        self.outbox.settle(|delivered| {
            let (Way::In(id) | Way::Out(id)) = Way::from(delivered.token);
            if let Some(flow) = flows.get_mut(id) {
                flow.settle(&delivered);
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

    /// Counts what was sent with others; what was not is sent once more by itself, which says why and
    /// gets past an ICMP error of an earlier one.
    fn settle(&mut self, delivered: &Delivered<'_>) {
        let train = Train::new(delivered.bytes, None);
        let Some(error) = &delivered.error else {
            let sent = Sent::one(train.bytes());
            return match Way::from(delivered.token) {
                Way::In(_) => note_in(&self.served.shared.counters, 1, &sent, 0),
                Way::Out(_) => note_out(&self.served.shared.counters, 1, &sent),
            };
        };
        match Way::from(delivered.token) {
            Way::In(_) => {
                let sent = send_train(&self.socket, train, None, &mut self.inwards).after(error);
                note_in(&self.served.shared.counters, 1, &sent, 0);
            }
            Way::Out(_) => self.send_out(train, Some(error)),
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
