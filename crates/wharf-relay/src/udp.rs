//! UDP: what one event loop does about flows, without ever waiting for anyone.
//!
//! A flow is a client's address and port together with the listener and the local address it
//! asked; each has its own connected socket to the target. Answers leave from the address and
//! port that was asked. What a full buffer cannot take is dropped and counted, as the network
//! would; ICMP errors are counted and end nothing, for the target may come back.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use wharf_host::datagram::{
    Coalescer, LISTENER_QUEUE, enable_asked_port, enable_gro, enlarge_buffers,
};
use wharf_host::outbox::Outbox;

use crate::context::{Context, Seat};
use crate::limits::Share;
use crate::route::{Served, Shared, Token};
use crate::stats::Loss;
use crate::table::change::Changed;
use crate::table::succession::FlowInTransit;
use crate::tcp::dial::kept;
use crate::udp::answering::{Answerer, Answering};
use crate::udp::delivery::Departures;
use crate::udp::flows::{Flow, Flows};
use crate::udp::key::Key;
use crate::udp::open::{Opened, open};
use crate::udp::turn::Habit;
use crate::worker::tokens::Subject;

mod answering;
mod carry;
mod delivery;
mod flows;
mod key;
mod open;
mod turn;

/// The flows of one loop.
#[derive(Debug)]
pub(crate) struct Udp {
    context: Arc<Context>,
    seat: usize,
    flows: Flows,
    /// Of listeners that have given something.
    habits: HashMap<Token, Habit>,
    /// How often the loop was woken.
    round: u64,
    /// Keyed by flow; empty between two calls.
    coalescer: Coalescer<u64>,
    /// For what is longer than it came.
    room: Vec<u8>,
    departures: Departures,
    answering: Answering,
}

/// Has a listener queue what comes while its loop is busy, and hand it over in trains. From then
/// on whoever reads the socket must know of trains.
pub(crate) fn tune_listener(
    served: &Served,
    token: Token,
    socket: BorrowedFd<'_>,
) -> std::io::Result<()> {
    enlarge_buffers(socket, LISTENER_QUEUE);
    // Before Linux 5.0 everything comes singly.
    enable_gro(socket);
    match served.shared.listener(token).filter(|_| served.shared.route.steered) {
        Some(place) => enable_asked_port(socket, place.address.is_ipv6(), place.dual),
        None => Ok(()),
    }
}

// === impl Udp ===

impl Udp {
    pub(crate) fn new(context: Arc<Context>, seat: usize) -> Self {
        let flows = Flows::new(&context.limits, context.seats.len());
        let outbox = context.seats.get(seat).map_or_else(Outbox::without_ring, Seat::outbox);
        Self {
            departures: Departures::new(outbox),
            context,
            seat,
            flows,
            habits: HashMap::new(),
            round: 0,
            coalescer: Coalescer::new(),
            room: Vec::new(),
            answering: Answering::default(),
        }
    }

    /// When something is to be done though nothing happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.flows.next_check()
    }

    /// Ends a round of the loop, and the flows that were without traffic for too long.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.round += 1;
        if self.flows.next_check().is_some_and(|due| due <= now) {
            for flow in self.flows.expired(now) {
                self.end(flow);
            }
        }
    }

    /// Ends the flows of routes.
    pub(crate) fn withdraw(&mut self, routes: &HashSet<u32>) {
        if routes.is_empty() {
            return;
        }
        self.habits.retain(|token, _| !routes.contains(&token.route));
        for flow in self.flows.take_all_of(routes) {
            self.end(flow);
        }
    }

    /// Leads the flows of changed routes on, and ends those that led elsewhere: the next datagram
    /// of such a client begins one that does not.
    pub(crate) fn change(&mut self, changed: &Changed) {
        for flow in self.flows.change(changed) {
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
            self.count_out(&flow);
            passed.push(flow.pass_on());
        }
        passed
    }

    /// Goes on with a flow that another relay carried, if its answers can leave from where the client
    /// expects them; else the client's next datagram begins another, as soon as they can.
    pub(crate) fn take_over(&mut self, served: &Arc<Served>, token: Token, flow: FlowInTransit) {
        let key = Key::in_transit(token, &flow, served);
        let Ok(answers_by) = self.answers_by(&key, served) else { return };
        let Ok(share) = self.make_room(&served.shared) else { return };
        let mut flow = Flow::take_over(key, Arc::clone(served), flow, share);
        flow.answers_by = answers_by;
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
        self.count_out(&flow);
        // Closing the socket takes it out of the epoll set: nobody has a copy of it.
        drop(flow);
    }

    fn count_out(&self, flow: &Flow) {
        flow.served.shared.counters.flows_open.down();
        self.context.totals.flows_open.down();
    }

    /// The flow that `count` datagrams belong to; `None` if they go nowhere.
    fn flow_of(
        &mut self,
        key: Key,
        served: &Arc<Served>,
        count: usize,
        now: Instant,
    ) -> Option<u64> {
        let counters = &served.shared.counters;
        if !served.shared.route.allows(key.client.ip()) {
            counters.refused_not_allowed.add(count);
            return None;
        }
        let Some(id) = self.flows.find(&key) else {
            let begun = self.begin(key, served, now);
            return begun.inspect_err(|loss| counters.dropped(*loss, count)).ok();
        };
        let unheard = self.flows.get(id).is_some_and(Flow::is_unheard);
        if unheard && !self.trusts_source(&served.shared, now) {
            self.begin_again(id);
        }
        Some(id)
    }

    fn begin(&mut self, key: Key, served: &Arc<Served>, now: Instant) -> Result<u64, Loss> {
        // A socket takes a while to open, by far the longest in another namespace.
        self.deliver();
        let shared = &served.shared;
        let opened = self.open_for(&key, shared, now)?;
        let answers_by = self.answers_by(&key, served)?;
        // Not before it can begin; until then its socket is one of those that are kept free.
        let share = self.make_room(shared)?;
        let mut flow = Flow::new(key, Arc::clone(served), opened, share, now);
        flow.answers_by = answers_by;
        shared.counters.flows_total.up();
        self.insert(flow).ok_or(Loss::NoRoom)
    }

    /// The socket that answers leave from, if not from the one that listens.
    fn answers_by(&mut self, key: &Key, served: &Served) -> Result<Option<Arc<Answerer>>, Loss> {
        self.answering.socket(key, served, &self.context).map_err(|error| {
            let route = &served.shared.route.id;
            tracing::debug!(route, %error, "no socket to answer from");
            Loss::Unreachable
        })
    }

    /// A socket to where a flow leads.
    fn open_for(&self, key: &Key, shared: &Shared, now: Instant) -> Result<Opened, Loss> {
        let port = usize::from(key.port);
        let target = shared.route.target(key.client.ip(), port).ok_or(Loss::Unreachable)?;
        let target = SocketAddr::from(target);
        let trusted = self.trusts_source(shared, now);
        let source = kept(&shared.route, key.client, target).filter(|_| trusted);
        let source = source.map(|source| source.ip());
        let inside = shared.inside.as_ref();
        let opened = open(inside, target, source).or_else(|error| {
            // There may be no address of the client's family in there.
            let other = shared.route.other_target(key.client.ip(), port).ok_or(error)?;
            open(inside, other.into(), None)
        });
        opened.map_err(|error| {
            tracing::debug!(route = shared.route.id, %target, %error, "no flow to the target");
            shared.counters.target_failed(&error);
            Loss::Unreachable
        })
    }

    /// Gives a flow that was never answered the gateway's address, for the way back to the
    /// client's seems to be missing.
    fn begin_again(&mut self, id: u64) {
        let (Some(flow), Some(seat)) = (self.flows.get_mut(id), self.context.seats.get(self.seat))
        else {
            return;
        };
        let Some(target) = flow.target() else { return };
        let inside = flow.served.shared.inside.as_ref();
        let Ok(opened) = open(inside, target, None) else { return };
        if seat.poller.watch(&opened.socket, Subject::Flow(id).into()).is_ok() {
            seat.poller.remove(&flow.socket);
            flow.served.shared.counters.source_fallbacks.up();
            flow.reconnect(opened);
        }
    }

    fn trusts_source(&self, shared: &Shared, now: Instant) -> bool {
        let life = now.saturating_duration_since(self.context.began);
        shared.trusts_source(u64::try_from(life.as_millis()).unwrap_or(u64::MAX))
    }

    /// A descriptor for one more flow and a place in the table, another flow's if there is none.
    fn make_room(&mut self, wanting: &Shared) -> Result<Share, Loss> {
        let free = if self.flows.is_full() { None } else { self.context.budget.take(1) };
        free.or_else(|| self.evict()).ok_or_else(|| {
            if wanting.counters.refused_total_limit.first() {
                tracing::warn!(route = wanting.route.id, "no room for UDP flows");
            }
            Loss::NoRoom
        })
    }

    /// Ends the flow that is to make room; its descriptor.
    fn evict(&mut self) -> Option<Share> {
        // Nothing of it may be left behind.
        self.deliver();
        let flow = self.flows.evict()?;
        flow.served.shared.counters.flows_evicted.up();
        self.count_out(&flow);
        Some(flow.give_way())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use wharf_spec::PortRange;

    use super::*;
    use crate::limits::{Budget, Limits};
    use crate::protocol::{Place, Route, example};

    /// A route of which one socket gets what is sent to two ports.
    fn steered() -> (Arc<Served>, Token) {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let first = listener.local_addr().unwrap().port();
        let route = Route {
            listeners: vec![Place { address: "127.0.0.1".parse().unwrap(), dual: false }],
            host_ports: PortRange::new(first, first.checked_add(1).unwrap()).unwrap(),
            steered: true,
            ..example()
        };
        let shared = Arc::new(Shared::new(0, route, None, Arc::default()));
        let served = Arc::new(Served::new(shared, vec![listener.into()]));
        (served, Token { route: 0, socket: 0 })
    }

    fn in_transit(port: u16) -> FlowInTransit {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.1:9").unwrap();
        FlowInTransit {
            client: "127.0.0.1:9".parse().unwrap(),
            port,
            asked: None,
            begun: Instant::now(),
            last: Instant::now(),
            answered: true,
            streams: true,
            socket: socket.into(),
        }
    }

    #[test]
    fn a_flow_that_cannot_answer_from_its_port_is_not_taken_over() {
        let limits = Limits { loops: Some(1), ..Limits::default() };
        let mut context = Context::new(limits, 0).unwrap();
        // For a flow, and no socket besides.
        context.budget = Arc::new(Budget::new(1));
        let context = Arc::new(context);
        let (served, token) = steered();
        let mut udp = Udp::new(Arc::clone(&context), 0);
        // It answers from the listener.
        udp.take_over(&served, token, in_transit(0));
        assert_eq!(context.totals.flows_open.get(), 1);
        udp.take_over(&served, token, in_transit(1));
        let counters = &served.shared.counters;
        assert_eq!((counters.flows_open.get(), counters.flows_evicted.get()), (1, 0));
        let kept: Vec<u16> = udp.pass_on().iter().map(|(_, flow)| flow.port).collect();
        assert_eq!(kept, [0]);
    }
}
