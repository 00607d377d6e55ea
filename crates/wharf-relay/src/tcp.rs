//! TCP: one thread accepts for every listener, a task carries each connection.
//!
//! A connection that cannot be had at the target is reset, never closed cleanly; neither is one
//! that either side resets midway.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::limits::{Limits, Share};
use crate::proxy_header;
use crate::table::{Shared, Table, Token};

mod pump;

/// Connections taken from one listener before the others get their turn.
const BURST: usize = 64;
/// A peer that vanished without a word is noticed after 60 s + 4 × 15 s: two minutes, so that
/// pairs of sockets do not pile up, at less than a packet a minute for idle connections.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// The thread that accepts.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) table: Arc<Table>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) runtime: Handle,
    pub(crate) stop: Arc<AtomicBool>,
}

/// An accepted, allowed and counted connection.
#[derive(Debug)]
struct Admitted {
    table: Arc<Table>,
    shared: Arc<Shared>,
    port: usize,
    _share: Share,
}

/// Makes a leg end with a reset unless it came to its proper end, also when the task is dropped.
struct ResetOnDrop<'a>(Option<&'a TcpStream>);

/// What became of one attempt to accept.
enum Accept {
    One(OwnedFd, SocketAddr),
    Again,
    Empty,
    Exhausted(Errno),
    Broken(Errno),
}

// === impl Acceptor ===

impl Acceptor {
    /// Accepts until told to stop.
    pub(crate) fn run(&self) {
        let mut ready = Vec::new();
        let mut quiet = true;
        while !self.stop.load(Ordering::Relaxed) {
            self.table.tcp.wait(&mut ready, None);
            for word in ready.drain(..) {
                let Err(error) = self.accept_from(Token::from(word)) else { continue };
                self.table.totals.accept_pauses.up();
                // Once per relay: what follows is in the counter.
                if std::mem::take(&mut quiet) {
                    tracing::error!(%error, "out of descriptors or memory, accepting pauses");
                }
                std::thread::sleep(self.limits.accept_pause);
            }
        }
    }

    fn accept_from(&self, token: Token) -> Result<(), Errno> {
        for _ in 0..BURST {
            let attempt = self.table.with_socket(token, |shared, socket| {
                (Arc::clone(shared), attempt(rustix::net::acceptfrom_with(socket, FLAGS)))
            });
            let Some((shared, outcome)) = attempt else { return Ok(()) };
            match outcome {
                Accept::One(stream, peer) => self.admit(stream, peer, shared, token),
                Accept::Again => {}
                Accept::Empty => return Ok(()),
                Accept::Exhausted(error) => return Err(error),
                Accept::Broken(error) => {
                    tracing::error!(%error, route = shared.route.id, "listener broken");
                    self.table.with_socket(token, |_, socket| self.table.tcp.remove(socket));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn admit(&self, stream: OwnedFd, peer: SocketAddr, shared: Arc<Shared>, token: Token) {
        let stream = std::net::TcpStream::from(stream);
        let (port, _) = shared.locate(token);
        match self.admission(&shared, peer.ip(), port) {
            Some(share) => {
                let table = Arc::clone(&self.table);
                let admitted = Admitted::new(table, shared, port, share);
                let connect = self.limits.connect;
                self.runtime.spawn(async move { admitted.serve(stream, peer, connect).await });
            }
            None => reset(&SockRef::from(&stream)),
        }
    }

    fn admission(&self, shared: &Shared, client: IpAddr, port: usize) -> Option<Share> {
        let counters = &shared.counters;
        if !shared.route.allows(client) {
            counters.refused_not_allowed.up();
            return None;
        }
        // The client's socket and the target's.
        let Some(share) = self.table.budget.take(2) else {
            if counters.refused_total_limit.first() {
                tracing::warn!(route = shared.route.id, "no descriptors left for connections");
            }
            return None;
        };
        let limit = self.table.budget.connections_per_port();
        if shared.enter(port, limit).is_none() {
            if counters.refused_port_limit.first() {
                tracing::warn!(route = shared.route.id, limit, "too many connections to a port");
            }
            return None;
        }
        Some(share)
    }
}

fn attempt(result: rustix::io::Result<(OwnedFd, Option<rustix::net::SocketAddrAny>)>) -> Accept {
    match result {
        Ok((stream, peer)) => match peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
            Some(peer) => Accept::One(stream, canonical(peer)),
            None => Accept::Again,
        },
        Err(Errno::AGAIN) => Accept::Empty,
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
            Accept::Exhausted(error)
        }
        Err(error @ (Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP)) => {
            Accept::Broken(error)
        }
        // accept(2): errors of the new connection are passed on here and mean nothing to others.
        Err(_) => Accept::Again,
    }
}

// === impl Admitted ===

impl Admitted {
    fn new(table: Arc<Table>, shared: Arc<Shared>, port: usize, share: Share) -> Self {
        shared.counters.connections_total.up();
        shared.counters.connections_open.up();
        table.totals.connections_open.up();
        Self { table, shared, port, _share: share }
    }

    /// Carries the connection until it ends or its route does.
    async fn serve(self, client: std::net::TcpStream, peer: SocketAddr, connect: Duration) {
        let Ok(client) = TcpStream::from_std(client) else { return };
        let guard = ResetOnDrop::new(&client);
        let carried = tokio::select! {
            carried = self.carry(&client, peer, connect) => carried,
            () = self.shared.ended() => return,
        };
        if carried.is_ok() {
            guard.disarm();
        }
    }

    async fn carry(
        &self,
        client: &TcpStream,
        peer: SocketAddr,
        connect: Duration,
    ) -> io::Result<()> {
        tune(client);
        let target = tokio::select! {
            target = self.connect(peer.ip(), connect) => target?,
            error = pump::failure(client) => {
                self.shared.counters.errors.up();
                return Err(error);
            }
        };
        let guard = ResetOnDrop::new(&target);
        tune(&target);
        let carried = self.exchange(client, &target, peer).await;
        match carried {
            Ok(()) => guard.disarm(),
            Err(_) => self.shared.counters.errors.up(),
        }
        carried
    }

    async fn exchange(
        &self,
        client: &TcpStream,
        target: &TcpStream,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let counters = &self.shared.counters;
        if let Some(version) = self.shared.route.proxy_protocol {
            let asked = canonical(client.local_addr()?);
            pump::write_all(target, &proxy_header::encode(version, peer, asked)).await?;
        }
        pump::both_ways(client, target, &counters.bytes_in, &counters.bytes_out).await
    }

    async fn connect(&self, client: IpAddr, limit: Duration) -> io::Result<TcpStream> {
        let Shared { route, counters, .. } = &*self.shared;
        let limit = route.connect_timeout_ms.map_or(limit, |ms| Duration::from_millis(ms.into()));
        let target = route.target(client, self.port).ok_or(io::ErrorKind::AddrNotAvailable)?;
        match tokio::time::timeout(limit, dial(target.into())).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::debug!(route = route.id, ?target, %error, "target refused");
                counters.target_refused.up();
                Err(error)
            }
            Err(_) => {
                tracing::debug!(route = route.id, ?target, "target timed out");
                counters.target_timeouts.up();
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.leave(self.port);
        self.shared.counters.connections_open.down();
        self.table.totals.connections_open.down();
    }
}

// === impl ResetOnDrop ===

impl<'a> ResetOnDrop<'a> {
    fn new(stream: &'a TcpStream) -> Self {
        Self(Some(stream))
    }

    fn disarm(mut self) {
        if let Some(stream) = self.0.take() {
            // It fails only for what is no socket.
            drop(SockRef::from(stream).set_linger(None));
        }
    }
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.0 {
            reset(&SockRef::from(stream));
        }
    }
}

/// Connects to the target. Until [`ResetOnDrop::disarm`], closing the socket resets it: a dial
/// given up may have come through just now, and must not look like a client with nothing to say.
async fn dial(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    reset(&SockRef::from(&socket));
    socket.connect(target).await
}

/// Small messages go at once, and vanished peers are noticed.
fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // Failure costs latency or a late notice, not correctness.
    drop(socket.set_tcp_nodelay(true));
    drop(socket.set_tcp_keepalive(&KEEPALIVE));
}

/// Makes closing the socket send a reset.
fn reset(socket: &SockRef<'_>) {
    // It fails only for what is no socket.
    drop(socket.set_linger(Some(Duration::ZERO)));
}

/// An IPv4 peer of a dual-stack socket, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    }
}
