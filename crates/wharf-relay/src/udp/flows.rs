//! The table of UDP flows: bounded, and emptied by age.
//!
//! A flow is short-lived until it streams: until it was answered and lasted a while. Which one makes
//! room for a new one goes by that, too. How many streams a client may have is bounded.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use socket2::SockRef;
use wharf_host::datagram::{Path, Segmentation};

use crate::limits::{Limits, Share};
use crate::route::{Served, Token};
use crate::table::change::Changed;
use crate::table::succession::FlowInTransit;
use crate::udp::answering::Answerer;
use crate::udp::flows::ranks::{Ranks, Standing};
use crate::udp::flows::streams::Streams;
use crate::udp::key::Key;
use crate::udp::open::Opened;
use crate::udp::turn::Habit;

mod ranks;
mod streams;
#[cfg(test)]
mod tests;

/// The least each loop may hold, however many loops share the total.
const LEAST: usize = 1024;
/// Streams that every client may have, however small the table.
const FEW: usize = 16;

/// One client's conversation with the target.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) key: Key,
    pub(super) served: Arc<Served>,
    dual: bool,
    pub(super) socket: OwnedFd,
    /// Where answers leave from, if not from the socket that listens.
    pub(super) answers_by: Option<Arc<Answerer>>,
    /// Whether the target sees the client's address.
    as_client: bool,
    pub(super) habit: Habit,
    /// To the target, and to the client.
    pub(super) inwards: Segmentation,
    pub(super) outwards: Segmentation,
    begun: Instant,
    last: Instant,
    standing: Standing,
    share: Share,
}

/// All flows.
#[derive(Debug)]
pub(super) struct Flows {
    limits: Limits,
    flows: HashMap<u64, Flow>,
    by_key: HashMap<Key, u64>,
    next_id: u64,
    /// One entry for each flow, and some of evicted ones: when to look again. Traffic does not touch this.
    checks: BinaryHeap<Reverse<(Instant, u64)>>,
    ranks: Ranks,
    streams: Streams,
}

// === impl Flow ===

impl Flow {
    pub(super) fn new(
        key: Key,
        served: Arc<Served>,
        opened: Opened,
        share: Share,
        now: Instant,
    ) -> Self {
        let Opened { socket, as_client } = opened;
        let dual = served.shared.listener(key.token).is_some_and(|place| place.dual);
        Self {
            key,
            served,
            dual,
            socket,
            answers_by: None,
            as_client,
            habit: Habit::default(),
            inwards: Segmentation::default(),
            outwards: Segmentation::default(),
            begun: now,
            last: now,
            standing: Standing::Unanswered,
            share,
        }
    }

    /// A flow that another relay carried, under `key`.
    pub(super) fn take_over(
        key: Key,
        served: Arc<Served>,
        from: FlowInTransit,
        share: Share,
    ) -> Self {
        let as_client = local_address(&from.socket) == Some(from.client.ip());
        let opened = Opened { socket: from.socket, as_client };
        let flow = Self::new(key, served, opened, share, from.last);
        let standing = match from.answered {
            _ if from.streams => Standing::Streams { seen: from.last },
            true => Standing::Answered,
            false => Standing::Unanswered,
        };
        Self { begun: from.begun, standing, ..flow }
    }

    /// What another relay needs to go on.
    pub(super) fn pass_on(self) -> (Token, FlowInTransit) {
        let flow = FlowInTransit {
            client: self.key.client,
            port: self.key.port,
            asked: self.key.asked,
            begun: self.begun,
            last: self.last,
            answered: self.is_answered(),
            streams: self.streams(),
            socket: self.socket,
        };
        (self.key.token, flow)
    }

    /// How answers go to the client.
    pub(super) fn path_back(&self) -> Path {
        Path { to: self.key.client, from: self.key.asked, dual: self.dual }
    }

    /// The address and port the client asked.
    pub(super) fn asked(&self) -> SocketAddr {
        let shared = &self.served.shared;
        let port = shared.route.host_ports.first().saturating_add(self.key.port);
        let any = match self.key.client {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(self.key.asked.map_or(any, |local| local.address), port)
    }

    /// Where it leads.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        let shared = &self.served.shared;
        let port = usize::from(self.key.port);
        shared.route.target(self.key.client.ip(), port).map(SocketAddr::from)
    }

    /// Goes on with another socket.
    pub(super) fn reconnect(&mut self, opened: Opened) {
        (self.socket, self.as_client) = (opened.socket, opened.as_client);
        (self.habit, self.inwards) = (Habit::default(), Segmentation::default());
    }

    /// Whether it leads where it would lead under a changed route.
    fn continues(&self, changed: &Served) -> bool {
        let shared = &self.served.shared;
        changed.shared.continues(shared, self.key.client, usize::from(self.key.port))
    }

    /// Whether nothing has come back to the client's address.
    pub(super) fn is_unheard(&self) -> bool {
        self.as_client && !self.is_answered()
    }

    /// Ends it, for another one to have its descriptor.
    pub(super) fn give_way(self) -> Share {
        self.share
    }

    fn is_answered(&self) -> bool {
        self.standing != Standing::Unanswered
    }

    fn streams(&self) -> bool {
        matches!(self.standing, Standing::Streams { .. })
    }

    fn expires(&self, limits: &Limits) -> Instant {
        self.last + if self.streams() { limits.stream_idle } else { limits.flow_idle }
    }
}

// === impl Flows ===

impl Flows {
    /// The flows of one of `loops` loops.
    pub(super) fn new(limits: &Limits, loops: usize) -> Self {
        let most = limits.flows / loops.max(1);
        let flows = most.max(LEAST.min(limits.flows));
        // No client may hold more than an eighth: streams are the last to be given up for others.
        let streams_per_client = limits.streams_per_client.min((flows / 8).max(FEW));
        Self {
            limits: Limits { flows, ..limits.clone() },
            flows: HashMap::new(),
            by_key: HashMap::new(),
            next_id: 0,
            checks: BinaryHeap::new(),
            ranks: Ranks::default(),
            streams: Streams::new(streams_per_client),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.flows.len() >= self.limits.flows
    }

    pub(super) fn find(&self, key: &Key) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Flow> {
        self.flows.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Flow> {
        self.flows.get_mut(&id)
    }

    /// The number the next inserted flow will have.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Takes a flow in; one that streams goes on doing so if its client may have one more.
    pub(super) fn insert(&mut self, mut flow: Flow) {
        let id = self.next_id;
        self.next_id += 1;
        if flow.streams() && !self.streams.admit(flow.key.client.ip()) {
            flow.standing = Standing::Answered;
        }
        self.checks.push(Reverse((flow.expires(&self.limits), id)));
        self.ranks.enter(id, flow.standing);
        self.by_key.insert(flow.key, id);
        self.flows.insert(id, flow);
        self.compact();
    }

    /// Drops what evicted flows left in the queue, before it outgrows the flows themselves.
    fn compact(&mut self) {
        let (flows, most) = (&self.flows, 2 * self.limits.flows.max(1));
        if self.checks.len() > most {
            self.checks.retain(|Reverse((_, id))| flows.contains_key(id));
        }
    }

    /// Notes a datagram from the client.
    pub(super) fn touch(&mut self, id: u64, now: Instant) -> Option<&mut Flow> {
        self.note(id, now, false)
    }

    /// Notes a datagram from the target.
    pub(super) fn answered(&mut self, id: u64, now: Instant) {
        self.note(id, now, true);
    }

    fn note(&mut self, id: u64, now: Instant, answer: bool) -> Option<&mut Flow> {
        let flow = self.flows.get_mut(&id)?;
        flow.last = now;
        let before = flow.standing;
        if answer && before == Standing::Unanswered {
            flow.standing = Standing::Answered;
        }
        if flow.standing == Standing::Answered
            && now - flow.begun >= self.limits.stream_after
            && self.streams.admit(flow.key.client.ip())
        {
            flow.standing = Standing::Streams { seen: now };
        }
        if flow.standing != before {
            self.ranks.leave(id, before);
            self.ranks.enter(id, flow.standing);
        }
        Some(flow)
    }

    /// When a flow may expire next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.peek().map(|Reverse((when, _))| *when)
    }

    /// Takes out the flows without traffic for too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Flow> {
        let mut expired = Vec::new();
        while let Some(Reverse((when, id))) = self.checks.peek().copied() {
            if when > now {
                break;
            }
            self.checks.pop();
            match self.flows.get(&id).map(|flow| flow.expires(&self.limits)) {
                Some(expires) if expires > now => self.checks.push(Reverse((expires, id))),
                Some(_) => expired.extend(self.take(id)),
                None => {}
            }
        }
        expired
    }

    /// Takes out the flows of routes.
    pub(super) fn take_all_of(&mut self, routes: &HashSet<u32>) -> Vec<Flow> {
        let ids = self.flows.iter().filter(|(_, flow)| routes.contains(&flow.key.token.route));
        let ids: Vec<u64> = ids.map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// Has flows of changed routes go by them, and takes out those that cannot.
    pub(super) fn change(&mut self, changed: &Changed) -> Vec<Flow> {
        let mut over = Vec::new();
        for (id, flow) in &mut self.flows {
            let Some(served) = changed.get(&flow.key.token.route) else { continue };
            if flow.continues(served) {
                flow.served = Arc::clone(served);
            } else {
                over.push(*id);
            }
        }
        over.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// Takes out every flow, the oldest first.
    pub(super) fn take_all(&mut self) -> Vec<Flow> {
        let mut ids: Vec<u64> = self.flows.keys().copied().collect();
        // So that their order of age passes on.
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// Takes out the flow that is to make room for another one.
    pub(super) fn evict(&mut self) -> Option<Flow> {
        loop {
            let id = self.ranks.next()?;
            let flow = self.flows.get_mut(&id)?;
            match flow.standing {
                // It was not quiet for as long as that.
                Standing::Streams { seen } if seen < flow.last => {
                    self.ranks.leave(id, flow.standing);
                    flow.standing = Standing::Streams { seen: flow.last };
                    self.ranks.enter(id, flow.standing);
                }
                _ => return self.take(id),
            }
        }
    }

    fn take(&mut self, id: u64) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        if self.by_key.get(&flow.key) == Some(&id) {
            self.by_key.remove(&flow.key);
        }
        self.ranks.leave(id, flow.standing);
        if flow.streams() {
            self.streams.leave(flow.key.client.ip());
        }
        Some(flow)
    }
}

fn local_address(socket: impl AsFd) -> Option<IpAddr> {
    SockRef::from(&socket).local_addr().ok()?.as_socket().map(|address| address.ip())
}
