//! Carrying datagrams: what waits at a socket leaves as trains, each datagram as it was.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Instant;

use wharf_host::datagram::{self, Sent, Train, send_train};

use crate::proxy_header;
use crate::route::{Served, Token};
use crate::stats::{Counters, Loss};
use crate::udp::Udp;
use crate::udp::delivery::{Departures, Way};
use crate::udp::flows::{Flow, Flows};
use crate::udp::key::Key;

// === impl Udp ===

impl Udp {
    /// Carries what clients sent to a listener.
    pub(crate) fn take_in(&mut self, served: &Arc<Served>, token: Token, now: Instant) {
        let Some(socket) = served.socket(token) else { return };
        let mut turn = self.habits.entry(token).or_default().begin(self.round);
        let mut last = None;
        while turn.goes_on() {
            let arrival = match datagram::receive(socket, self.coalescer.room()) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // An ICMP error that answers an earlier reply of ours: the client is gone.
                Err(_) => continue,
            };
            let received = arrival.received();
            turn.note(received);
            let Some(key) = Key::of(token, &arrival, served) else { continue };
            let known = last.filter(|(before, _)| *before == key).map(|(_, id)| id);
            let id = known.or_else(|| self.flow_of(key, served, received.count(), now));
            let Some(id) = id else { continue };
            last = Some((key, id));
            let many = turn.takes_many();
            let Self { flows, coalescer, room, departures, .. } = self;
            let train = coalescer.push(id, received);
            carry_in(flows, departures, train, In { served, room, many, now });
        }
        let many = turn.takes_many();
        let Self { flows, coalescer, room, departures, .. } = self;
        carry_in(flows, departures, coalescer.take(), In { served, room, many, now });
        self.habits.entry(token).or_default().end(&turn);
    }

    /// Carries what the target sent to a flow.
    pub(crate) fn take_out(&mut self, id: u64, now: Instant) {
        let Self { flows, coalescer, departures, .. } = self;
        let Some(flow) = flows.get_mut(id) else { return };
        let mut turn = flow.habit.begin(self.round);
        while turn.goes_on() {
            let Some(flow) = flows.get(id) else { break };
            match datagram::receive_connected(&flow.socket, coalescer.room()) {
                Ok(received) => {
                    turn.note(received);
                    carry_out(flows, departures, coalescer.push(id, received), turn.takes_many());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The target's port is closed just now, or it cannot be reached.
                Err(error) => flow.served.shared.counters.target_failed(&error),
            }
        }
        carry_out(flows, departures, coalescer.take(), turn.takes_many());
        if let Some(flow) = flows.get_mut(id) {
            flow.habit.end(&turn);
        }
        if !turn.is_empty() {
            flows.answered(id, now);
        }
    }
}

/// What else is to be known of a train to the target.
struct In<'a> {
    served: &'a Served,
    /// For what is longer than it came.
    room: &'a mut Vec<u8>,
    /// Whether the listener gives many datagrams in this turn.
    many: bool,
    now: Instant,
}

fn carry_in(
    flows: &mut Flows,
    departures: &mut Departures,
    train: Option<(u64, Train<'_>)>,
    to: In<'_>,
) {
    let Some((id, train)) = train else { return };
    let Some(flow) = flows.touch(id, to.now) else {
        // It was given up for another one, just now.
        return to.served.shared.counters.dropped(Loss::NoRoom, train.count());
    };
    let is_greeted = flow.served.shared.route.proxy_protocol.is_some();
    if !is_greeted && departures.post(train, Way::In(id), to.many, flows) {
        return;
    }
    if let Some(flow) = flows.get_mut(id) {
        flow.carry_in(train, to.room);
    }
}

fn carry_out(
    flows: &mut Flows,
    departures: &mut Departures,
    train: Option<(u64, Train<'_>)>,
    many: bool,
) {
    let Some((id, train)) = train else { return };
    if departures.post(train, Way::Out(id), many, flows) {
        return;
    }
    if let Some(flow) = flows.get_mut(id) {
        flow.send_out(train, None);
    }
}

/// The train with `header` ahead of each datagram.
fn greeted<'a>(train: Train<'_>, header: &[u8], room: &'a mut Vec<u8>) -> Train<'a> {
    room.clear();
    for datagram in train.datagrams() {
        room.extend_from_slice(header);
        room.extend_from_slice(datagram);
    }
    let longer = |segment: u16| u16::try_from(usize::from(segment) + header.len()).ok();
    Train::new(room, train.segment().and_then(longer))
}

/// Counts what became of `count` datagrams to the target, each `ahead` bytes longer than it came.
pub(super) fn note_in(counters: &Counters, count: usize, sent: &Sent, ahead: usize) {
    counters.datagrams_in.add(sent.datagrams);
    counters.bytes_in.add(sent.bytes.saturating_sub(sent.datagrams * ahead));
    note_rest(counters, count, sent);
}

pub(super) fn note_out(counters: &Counters, count: usize, sent: &Sent) {
    counters.datagrams_out.add(sent.datagrams);
    counters.bytes_out.add(sent.bytes);
    note_rest(counters, count, sent);
}

fn note_rest(counters: &Counters, count: usize, sent: &Sent) {
    if sent.datagrams < count {
        let loss = sent.error.as_ref().map_or(Loss::Unreachable, Loss::from);
        counters.dropped(loss, count - sent.datagrams);
    }
    counters.target_refused.add(sent.refused);
}

// === impl Flow ===

impl Flow {
    fn carry_in(&mut self, train: Train<'_>, room: &mut Vec<u8>) {
        match self.header() {
            Some(header) => self.send_in(greeted(train, &header, room), header.len(), None),
            None => self.send_in(train, 0, None),
        }
    }

    /// Sends a train to the target, each datagram `ahead` bytes longer than it came, after an attempt
    /// that may have `failed`.
    pub(super) fn send_in(&mut self, train: Train<'_>, ahead: usize, failed: Option<&Error>) {
        let mut sent = send_train(&self.socket, train, None, &mut self.inwards);
        if let Some(failed) = failed {
            sent = sent.after(failed);
        }
        note_in(&self.served.shared.counters, train.count(), &sent, ahead);
    }

    /// Sends a train to the client, after an attempt that may have `failed`.
    pub(super) fn send_out(&mut self, train: Train<'_>, failed: Option<&Error>) {
        let counters = &self.served.shared.counters;
        let Some(socket) = self.way_out() else {
            return counters.dropped(Loss::Unreachable, train.count());
        };
        let mut memory = self.outwards;
        let mut sent = send_train(socket, train, Some(&self.path_back()), &mut memory);
        if let Some(failed) = failed {
            sent = sent.after(failed);
        }
        note_out(counters, train.count(), &sent);
        self.outwards = memory;
    }

    /// What the target wants to know of the client, ahead of each datagram.
    fn header(&self) -> Option<Vec<u8>> {
        self.served.shared.route.proxy_protocol?;
        Some(proxy_header::encode_datagram(self.key.client, self.asked()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_datagrams_apart() {
        let mut room = Vec::new();
        let train = greeted(Train::new(b"aabbc", Some(2)), b"--", &mut room);
        assert_eq!((train.count(), train.segment()), (3, Some(4)));
        assert!(train.datagrams().eq([b"--aa".as_slice(), b"--bb", b"--c"]));
        for alone in [b"".as_slice(), b"alone"] {
            let train = greeted(Train::new(alone, None), b"--", &mut room);
            assert!(train.datagrams().eq([[b"--", alone].concat()]));
        }
    }
}
