//! A route in service: what its sockets, connections and flows share.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::protocol::{Place, Route, Source};
use crate::route::inside::Inside;
use crate::route::way_back::WayBack;
use crate::stats::Counters;

pub(crate) mod inside;
pub(crate) mod way_back;

const NEVER: u64 = u64::MAX;

/// What connections and flows of a route share, and keep after its removal. A change of the route
/// makes another value with the same key, counters and life.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The route's number in this process, never given to another one.
    pub(crate) key: u32,
    pub(crate) route: Route,
    /// Where the target is, if not in the network namespace of this process.
    pub(crate) inside: Option<Inside>,
    pub(crate) counters: Arc<Counters>,
    life: Arc<Life>,
    way_back: Arc<WayBack>,
}

/// What stays the same when a route is changed.
#[derive(Debug)]
struct Life {
    /// Open connections of each port of the range.
    per_port: Vec<AtomicUsize>,
    /// When connections that are still open are cut, in milliseconds of the relay's life.
    end: AtomicU64,
}

/// A route with its sockets, as long as it is in service.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) shared: Arc<Shared>,
    sockets: Arc<[OwnedFd]>,
}

/// A place in an epoll set: which route, and which of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) route: u32,
    pub(crate) socket: u32,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        key: u32,
        route: Route,
        inside: Option<Inside>,
        way_back: Arc<WayBack>,
    ) -> Self {
        let per_port = (0..route.host_ports.count()).map(|_| AtomicUsize::new(0)).collect();
        let life = Arc::new(Life { per_port, end: AtomicU64::new(NEVER) });
        Self { key, route, inside, counters: Arc::default(), life, way_back }
    }

    /// What takes its place when the route is changed to `route`.
    fn changed(&self, route: Route, inside: Option<Inside>, way_back: Arc<WayBack>) -> Self {
        let (counters, life) = (Arc::clone(&self.counters), Arc::clone(&self.life));
        Self { key: self.key, route, inside, counters, life, way_back }
    }

    /// Whether a client's conversation that was begun under `before` can go on under this route.
    pub(crate) fn continues(&self, before: &Self, client: SocketAddr, port: usize) -> bool {
        let place = |shared: &Self| shared.inside.as_ref().map(Inside::identity);
        self.route.allows(client.ip())
            && place(self) == place(before)
            && self.route.leads_alike(&before.route, client, port)
    }

    /// Decides when open connections are cut: once decided, it can only become earlier.
    pub(crate) fn end_at(&self, milliseconds: u64) {
        self.life.end.fetch_min(milliseconds, Ordering::Relaxed);
    }

    /// When open connections are cut, if that is decided.
    pub(crate) fn ends_at(&self) -> Option<u64> {
        let end = self.life.end.load(Ordering::Relaxed);
        (end != NEVER).then_some(end)
    }

    /// Whether connections are open.
    pub(crate) fn carries(&self) -> bool {
        self.counters.connections_open.get() > 0
    }

    /// Notes that connections from a client's address get no answer.
    pub(crate) fn distrust_until(&self, milliseconds: u64) {
        self.way_back.distrust_until(milliseconds);
    }

    /// Notes that a connection from a client's address was answered.
    pub(crate) fn way_back_is_open_at(&self, milliseconds: u64) {
        self.way_back.is_open_at(milliseconds);
    }

    /// Whether such a connection was answered since then, so that silence has another reason.
    pub(crate) fn way_back_was_open_since(&self, milliseconds: u64) -> bool {
        self.way_back.was_open_since(milliseconds)
    }

    /// Whether the client's address is worth trying. Who was promised it gets it or nothing, whatever
    /// others to the same target have found.
    pub(crate) fn trusts_source(&self, milliseconds: u64) -> bool {
        self.route.source == Source::ClientOnly || self.way_back.is_trusted(milliseconds)
    }

    /// The place within the port range that a socket stands for; `None` where it stands for all.
    pub(crate) fn port_of(&self, token: Token) -> Option<usize> {
        let index = usize::try_from(token.socket).unwrap_or(usize::MAX);
        (!self.route.steered).then(|| index / self.route.listeners.len().max(1))
    }

    /// What a socket listens on.
    pub(crate) fn listener(&self, token: Token) -> Option<Place> {
        let index = usize::try_from(token.socket).unwrap_or(usize::MAX);
        self.route.listeners.get(index % self.route.listeners.len().max(1)).copied()
    }

    /// The number of open connections of one port after adding one; `None` above `limit`.
    pub(crate) fn enter(&self, port: usize, limit: usize) -> Option<usize> {
        let more = |open: usize| (open < limit).then_some(open + 1);
        self.life.per_port.get(port)?.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()
    }

    /// Takes one connection of one port off.
    pub(crate) fn leave(&self, port: usize) {
        if let Some(open) = self.life.per_port.get(port) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// === impl Served ===

impl Served {
    pub(crate) fn new(shared: Arc<Shared>, sockets: Vec<OwnedFd>) -> Self {
        Self { shared, sockets: sockets.into() }
    }

    /// The same without sockets.
    pub(crate) fn vacated(&self) -> Self {
        Self::new(Arc::clone(&self.shared), Vec::new())
    }

    /// The same sockets with a changed route.
    pub(crate) fn changed(
        &self,
        route: Route,
        inside: Option<Inside>,
        way_back: Arc<WayBack>,
    ) -> Self {
        let shared = Arc::new(self.shared.changed(route, inside, way_back));
        Self { shared, sockets: Arc::clone(&self.sockets) }
    }

    /// Everything another relay needs, in the order of the protocol.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let inside = self.shared.inside.iter().filter(|_| !self.sockets.is_empty());
        self.sockets.iter().map(AsFd::as_fd).chain(inside.flat_map(Inside::descriptors))
    }

    /// The number of sockets.
    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Every socket with its token.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (Token, BorrowedFd<'_>)> {
        let route = self.shared.key;
        self.sockets.iter().zip(0..).map(move |(fd, socket)| (Token { route, socket }, fd.as_fd()))
    }

    /// The socket behind a token of this route.
    pub(crate) fn socket(&self, token: Token) -> Option<BorrowedFd<'_>> {
        self.sockets.get(usize::try_from(token.socket).ok()?).map(AsFd::as_fd)
    }
}

// === impl Token ===

impl Token {
    /// The loops that watch this socket, of `loops`: one for UDP, whose flows live in one loop;
    /// a few for TCP, since each costs an entry of some 200 bytes for each socket.
    pub(crate) fn watchers(self, loops: usize, udp: bool) -> impl Iterator<Item = usize> {
        const MOST: usize = 4;
        let first = usize::try_from(self.route.wrapping_add(self.socket)).unwrap_or(0);
        let count = if udp { 1 } else { loops.min(MOST) };
        (0..count).map(move |nth| (first + nth) % loops)
    }
}
