//! A route in service: what its sockets, connections and flows share.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use wharf_host::opener::{Domain, Kind, Opener};

use crate::protocol::Route;
use crate::route::way_back::WayBack;
use crate::stats::Counters;

pub(crate) mod way_back;

const NEVER: u64 = u64::MAX;

/// What connections and flows of a route share, and keep after its removal.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The route's number in this process, never used twice.
    pub(crate) key: u32,
    pub(crate) route: Route,
    /// Where the target is, if not in the network namespace of this process.
    pub(crate) inside: Option<Inside>,
    pub(crate) counters: Counters,
    /// Open connections of each port of the range.
    per_port: Vec<AtomicUsize>,
    /// When connections that are still open are cut, in milliseconds of the relay's life.
    end: AtomicU64,
    way_back: Arc<WayBack>,
}

/// A network namespace that sockets are opened in by another process.
#[derive(Debug)]
pub(crate) struct Inside {
    opener: Opener,
    namespace: OwnedFd,
}

/// A route with its sockets, as long as it is in service.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) shared: Arc<Shared>,
    sockets: Vec<OwnedFd>,
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
        let (counters, end) = (Counters::default(), AtomicU64::new(NEVER));
        Self { key, per_port, route, inside, counters, end, way_back }
    }

    /// Decides when open connections are cut.
    pub(crate) fn end_at(&self, milliseconds: u64) {
        self.end.store(milliseconds, Ordering::Relaxed);
    }

    /// When open connections are cut, if that is decided.
    pub(crate) fn ends_at(&self) -> Option<u64> {
        let end = self.end.load(Ordering::Relaxed);
        (end != NEVER).then_some(end)
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

    /// Whether the client's address is worth trying.
    pub(crate) fn trusts_source(&self, milliseconds: u64) -> bool {
        self.way_back.is_trusted(milliseconds)
    }

    /// The place within the port range, and whether the socket is a dual-stack one.
    pub(crate) fn locate(&self, token: Token) -> (usize, bool) {
        let index = usize::try_from(token.socket).unwrap_or(usize::MAX);
        let places = self.route.listeners.len().max(1);
        let dual = self.route.listeners.get(index % places).is_some_and(|place| place.dual);
        (index / places, dual)
    }

    /// The number of open connections of one port after adding one; `None` above `limit`.
    pub(crate) fn enter(&self, port: usize, limit: usize) -> Option<usize> {
        let more = |open: usize| (open < limit).then_some(open + 1);
        self.per_port.get(port)?.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()
    }

    /// Takes one connection of one port off.
    pub(crate) fn leave(&self, port: usize) {
        if let Some(open) = self.per_port.get(port) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// === impl Inside ===

impl Inside {
    pub(crate) fn new(opener: OwnedFd, namespace: OwnedFd) -> Self {
        Self { opener: Opener::over(opener), namespace }
    }

    /// A socket of the family of `target`. Takes some 70 µs, and a second at most.
    pub(crate) fn open(&self, target: SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
        let domain = if target.is_ipv4() { Domain::Ipv4 } else { Domain::Ipv6 };
        self.opener.open(self.namespace.as_fd(), domain, kind)
    }

    /// What another relay needs, too.
    fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.opener.as_fd(), self.namespace.as_fd()]
    }
}

// === impl Served ===

impl Served {
    pub(crate) fn new(shared: Arc<Shared>, sockets: Vec<OwnedFd>) -> Self {
        Self { shared, sockets }
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
