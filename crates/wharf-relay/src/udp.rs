//! UDP: one thread carries every flow, without ever waiting for anyone.
//!
//! A flow is a client's address and port together with the listener and the local address it
//! asked; each has its own connected socket to the target. Answers leave from the address and
//! port that was asked. What a full buffer cannot take is dropped and counted, as the network
//! would; ICMP errors are counted and end nothing, for the target may come back.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use wharf_host::reserve::pktinfo::{self, Arrival, Local};

use crate::limits::Limits;
use crate::stats::Counters;
use crate::table::{Shared, Table, Token};
use crate::udp::flows::{Flow, Flows, Key};

mod flows;

/// The largest UDP payload is 65,527 bytes (over IPv6).
const BUFFER: usize = 64 << 10;
/// Datagrams taken from one socket before the others get their turn.
const BURST: usize = 64;
/// Marks the words of flows in the epoll set; routes never have this bit.
const FLOW_BIT: u64 = 1 << 63;
/// How often flows of removed routes are looked for while nothing else happens.
const SWEEP: Duration = Duration::from_secs(1);

/// The thread that carries flows.
#[derive(Debug)]
pub(crate) struct Carrier {
    table: Arc<Table>,
    stop: Arc<AtomicBool>,
    flows: Flows,
    buffer: Vec<u8>,
}

// === impl Carrier ===

impl Carrier {
    pub(crate) fn new(table: Arc<Table>, limits: Arc<Limits>, stop: Arc<AtomicBool>) -> Self {
        Self { flows: Flows::new(limits), table, stop, buffer: vec![0; BUFFER] }
    }

    /// Carries datagrams until told to stop.
    pub(crate) fn run(mut self) {
        let mut ready = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let limit = if self.flows.is_empty() { None } else { Some(self.pause()) };
            self.table.udp.wait(&mut ready, limit);
            for word in ready.drain(..) {
                if word & FLOW_BIT == 0 {
                    self.take_in(Token::from(word));
                } else {
                    self.take_out(word & !FLOW_BIT);
                }
            }
            self.expire();
        }
    }

    fn pause(&self) -> Duration {
        let next = self.flows.next_check().unwrap_or_else(Instant::now);
        next.saturating_duration_since(Instant::now()).min(SWEEP)
    }

    fn expire(&mut self) {
        let now = Instant::now();
        for flow in self.flows.expired(now) {
            self.end(flow);
        }
        for flow in self.flows.take_orphans(now, |flow| flow.shared.is_removed()) {
            self.end(flow);
        }
    }

    fn end(&self, flow: Flow) {
        flow.shared.counters.flows_open.down();
        self.table.totals.flows_open.down();
        // Closing the socket takes it out of the epoll set: nobody has a copy of it.
        drop(flow);
    }

    fn take_in(&mut self, token: Token) {
        for _ in 0..BURST {
            let buffer = &mut self.buffer;
            let got = self.table.with_socket(token, |shared, socket| {
                (Arc::clone(shared), pktinfo::receive(socket, buffer))
            });
            match got {
                Some((shared, Ok(arrival))) => self.inwards(token, &shared, arrival),
                Some((_, Err(error))) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error that answers an earlier reply of ours: the client is gone.
                Some((_, Err(_))) => {}
                None => return,
            }
        }
    }

    fn inwards(&mut self, token: Token, shared: &Arc<Shared>, arrival: Arrival) {
        let counters = &shared.counters;
        if !shared.route.allows(arrival.from.ip()) {
            counters.refused_not_allowed.up();
            return;
        }
        let key = Key { token, client: arrival.from, asked: arrival.to.map(significant) };
        let now = Instant::now();
        let id = match self.flows.find(&key) {
            Some(id) => id,
            None => match self.begin(key, shared, now) {
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

    fn begin(&mut self, key: Key, shared: &Arc<Shared>, now: Instant) -> Option<u64> {
        let (port, dual) = shared.locate(key.token);
        let target = SocketAddr::from(shared.route.target(key.client.ip(), port)?);
        if self.flows.is_full() {
            self.evict(shared)?;
        }
        let share = loop {
            match self.table.budget.take(1) {
                Some(share) => break share,
                None => self.evict(shared)?,
            }
        };
        let socket = connected(target).inspect_err(|error| {
            tracing::debug!(route = shared.route.id, %target, %error, "no flow to the target");
            shared.counters.target_refused.up();
        });
        let flow = Flow::new(key, Arc::clone(shared), dual, socket.ok()?, share, now);
        let id = self.flows.next_id();
        self.table.udp.add(&flow.socket, id | FLOW_BIT).ok()?;
        shared.counters.flows_total.up();
        shared.counters.flows_open.up();
        self.table.totals.flows_open.up();
        self.flows.insert(flow);
        Some(id)
    }

    /// Makes room; `None` when every flow is a streaming one and none may be given up.
    fn evict(&mut self, wanting: &Shared) -> Option<()> {
        let Some(flow) = self.flows.evict() else {
            if wanting.counters.refused_total_limit.first() {
                tracing::warn!(route = wanting.route.id, "no room for UDP flows");
            }
            return None;
        };
        flow.shared.counters.flows_evicted.up();
        self.end(flow);
        Some(())
    }

    fn take_out(&mut self, id: u64) {
        for _ in 0..BURST {
            let Some(flow) = self.flows.get(id) else { return };
            match flow.socket.recv(&mut self.buffer) {
                Ok(length) => self.outwards(id, length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The target's port is closed just now, or it cannot be reached.
                Err(_) => flow.shared.counters.target_refused.up(),
            }
        }
    }

    fn outwards(&mut self, id: u64, length: usize) {
        let Some(flow) = self.flows.answered(id, Instant::now()) else { return };
        let payload = self.buffer.get(..length).unwrap_or_default();
        let Key { token, client, asked } = flow.key;
        let sent = self.table.with_socket(token, |_, socket| {
            pktinfo::send(socket, payload, client, asked, flow.dual)
        });
        let counters = &flow.shared.counters;
        match sent {
            Some(Ok(_)) => {
                counters.datagrams_out.up();
                counters.bytes_out.add(length);
            }
            Some(Err(_)) | None => counters.datagrams_dropped.up(),
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
