//! UDP: what one event loop does about flows, without ever waiting for anyone.
//!
//! A flow is a client's address and port together with the listener and the local address it
//! asked; each has its own connected socket to the target. Answers leave from the address and
//! port that was asked. What a full buffer cannot take is dropped and counted, as the network
//! would; ICMP errors are counted and end nothing, for the target may come back.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};
use wharf_host::reserve::pktinfo::{self, Arrival, Local};

use crate::context::Context;
use crate::route::{Served, Shared, Token};
use crate::stats::Counters;
use crate::table::succession::FlowInTransit;
use crate::udp::flows::{Flow, Flows, Key};
use crate::worker::tokens::Subject;

mod flows;

/// The largest UDP payload is 65,527 bytes (over IPv6).
const BUFFER: usize = 64 << 10;
/// Datagrams taken from one socket before the others get their turn.
const BURST: usize = 64;

/// The flows of one loop.
#[derive(Debug)]
pub(crate) struct Udp {
    context: Arc<Context>,
    seat: usize,
    flows: Flows,
    buffer: Vec<u8>,
}

// === impl Udp ===

impl Udp {
    pub(crate) fn new(context: Arc<Context>, seat: usize) -> Self {
        let flows = Flows::new(&context.limits, context.seats.len());
        Self { context, seat, flows, buffer: vec![0; BUFFER] }
    }

    /// When something is to be done though nothing happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.flows.next_check()
    }

    /// Ends the flows that were without traffic for too long.
    pub(crate) fn tidy(&mut self, now: Instant) {
        if self.flows.next_check().is_some_and(|due| due <= now) {
            for flow in self.flows.expired(now) {
                self.end(flow);
            }
        }
    }

    /// Ends the flows of a route.
    pub(crate) fn withdraw(&mut self, route: u32) {
        for flow in self.flows.take_all_of(route) {
            self.end(flow);
        }
    }

    /// Gives up every flow, for a successor to go on with.
    pub(crate) fn pass_on(&mut self) -> Vec<(Token, FlowInTransit)> {
        let seat = self.context.seats.get(self.seat);
        let mut passed = Vec::new();
        for flow in self.flows.take_all() {
            if let Some(seat) = seat {
                // Closing will not do: the successor has the socket.
                seat.poller.remove(&flow.socket);
            }
            flow.served.shared.counters.flows_open.down();
            self.context.totals.flows_open.down();
            passed.push(flow.pass_on());
        }
        passed
    }

    /// Goes on with a flow that another relay carried.
    pub(crate) fn take_over(&mut self, served: &Arc<Served>, token: Token, flow: FlowInTransit) {
        let Some(share) = self.context.budget.take(1) else { return };
        let dual = served.shared.locate(token).1;
        let flow = Flow::take_over(token, Arc::clone(served), dual, flow, share);
        self.insert(flow);
    }

    /// Watches a flow and counts it in.
    fn insert(&mut self, flow: Flow) -> Option<u64> {
        let id = self.flows.next_id();
        let seat = self.context.seats.get(self.seat)?;
        seat.poller.watch(&flow.socket, Subject::Flow(id).into()).ok()?;
        flow.served.shared.counters.flows_open.up();
        self.context.totals.flows_open.up();
        self.flows.insert(flow);
        Some(id)
    }

    fn end(&self, flow: Flow) {
        flow.served.shared.counters.flows_open.down();
        self.context.totals.flows_open.down();
        // Closing the socket takes it out of the epoll set: nobody has a copy of it.
        drop(flow);
    }

    /// Takes what clients sent to a listener.
    pub(crate) fn take_in(&mut self, served: &Arc<Served>, token: Token, now: Instant) {
        let Some(socket) = served.socket(token) else { return };
        for _ in 0..BURST {
            match pktinfo::receive(socket, &mut self.buffer) {
                Ok(arrival) => self.inwards(token, served, arrival, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error that answers an earlier reply of ours: the client is gone.
                Err(_) => {}
            }
        }
    }

    fn inwards(&mut self, token: Token, served: &Arc<Served>, arrival: Arrival, now: Instant) {
        let shared = &served.shared;
        let counters = &shared.counters;
        if !shared.route.allows(arrival.from.ip()) {
            counters.refused_not_allowed.up();
            return;
        }
        let key = Key { token, client: arrival.from, asked: arrival.to.map(significant) };
        let id = match self.flows.find(&key) {
            Some(id) => id,
            None => match self.begin(key, served, now) {
                Some(id) => id,
                None => return counters.datagrams_dropped.up(),
            },
        };
        let payload = self.buffer.get(..arrival.length).unwrap_or_default();
        let Some(flow) = self.flows.touch(id, now) else { return };
        match send_past_errors(&flow.socket, payload, counters) {
            Ok(()) => {
                counters.datagrams_in.up();
                counters.bytes_in.add(arrival.length);
            }
            Err(_) => counters.datagrams_dropped.up(),
        }
    }

    fn begin(&mut self, key: Key, served: &Arc<Served>, now: Instant) -> Option<u64> {
        let shared = &served.shared;
        let (port, dual) = shared.locate(key.token);
        let target = SocketAddr::from(shared.route.target(key.client.ip(), port)?);
        if self.flows.is_full() {
            self.evict(shared)?;
        }
        let share = loop {
            match self.context.budget.take(1) {
                Some(share) => break share,
                None => self.evict(shared)?,
            }
        };
        let socket = connected(target).inspect_err(|error| {
            tracing::debug!(route = shared.route.id, %target, %error, "no flow to the target");
            shared.counters.target_refused.up();
        });
        let flow = Flow::new(key, Arc::clone(served), dual, socket.ok()?, share, now);
        shared.counters.flows_total.up();
        self.insert(flow)
    }

    /// Makes room; `None` when every flow is a streaming one and none may be given up.
    fn evict(&mut self, wanting: &Shared) -> Option<()> {
        let Some(flow) = self.flows.evict() else {
            if wanting.counters.refused_total_limit.first() {
                tracing::warn!(route = wanting.route.id, "no room for UDP flows");
            }
            return None;
        };
        flow.served.shared.counters.flows_evicted.up();
        self.end(flow);
        Some(())
    }

    /// Takes what the target sent to a flow.
    pub(crate) fn take_out(&mut self, id: u64, now: Instant) {
        for _ in 0..BURST {
            let Some(flow) = self.flows.get(id) else { return };
            match flow.socket.recv(&mut self.buffer) {
                Ok(length) => self.outwards(id, length, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The target's port is closed just now, or it cannot be reached.
                Err(_) => flow.served.shared.counters.target_refused.up(),
            }
        }
    }

    fn outwards(&mut self, id: u64, length: usize, now: Instant) {
        let Some(flow) = self.flows.answered(id, now) else { return };
        let payload = self.buffer.get(..length).unwrap_or_default();
        let Key { token, client, asked } = flow.key;
        let Some(socket) = flow.served.socket(token) else { return };
        let counters = &flow.served.shared.counters;
        match pktinfo::send(socket, payload, client, asked, flow.dual) {
            Ok(_) => {
                counters.datagrams_out.up();
                counters.bytes_out.add(length);
            }
            Err(_) => counters.datagrams_dropped.up(),
        }
    }
}

/// Sends a datagram, past the ICMP errors of earlier ones: each pending error fails one send
/// without sending anything.
fn send_past_errors(socket: &UdpSocket, payload: &[u8], counters: &Counters) -> io::Result<()> {
    match socket.send(payload) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            counters.target_refused.up();
            socket.send(payload).map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(target), kind, Some(Protocol::UDP))?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

/// The interface is part of an address only if that is link-local; otherwise a flow may move
/// between interfaces.
fn significant(local: Local) -> Local {
    match local.address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => local,
        address => Local { address, interface: 0 },
    }
}
