//! Connections at the door: taken, admitted or turned away, and dealt to the loops.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::connection::{Admitted, reset_on_close};
use super::{Accepted, Exhausted, Tcp, canonical};
use crate::context::Command;
use crate::route::{Served, Shared, Token};

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// What became of one attempt to accept.
enum Attempt {
    One(OwnedFd, SocketAddr),
    Again,
    Empty,
    Exhausted(Errno),
    Broken(Errno),
}

// === impl Tcp ===

impl Tcp {
    /// Accepts a connection that waits at a listener. Where there are more, the listener is
    /// reported again at once: a call in vain to find out costs more, and with one connection at a
    /// time the loops share them evenly.
    pub(crate) fn accept(
        &mut self,
        served: &Served,
        token: Token,
        now: Instant,
    ) -> Result<(), Exhausted> {
        let Some(socket) = served.socket(token) else { return Ok(()) };
        match attempt(rustix::net::acceptfrom_with(socket, FLAGS)) {
            Attempt::One(stream, peer) => self.admit(stream, peer, &served.shared, token, now),
            Attempt::Again | Attempt::Empty => {}
            Attempt::Exhausted(error) => return Err(Exhausted(error)),
            Attempt::Broken(error) => {
                tracing::error!(%error, route = served.shared.route.id, "listener broken");
                served.shared.counters.accept_errors.up();
                self.poller(|poller| poller.remove(socket));
            }
        }
        Ok(())
    }

    fn admit(
        &mut self,
        stream: OwnedFd,
        peer: SocketAddr,
        shared: &Arc<Shared>,
        token: Token,
        now: Instant,
    ) {
        let Some(port) = shared.port_of(token).or_else(|| port_asked(shared, &stream)) else {
            return reset_on_close(&stream);
        };
        let Some(admitted) = self.admission(shared, peer.ip(), port) else {
            return reset_on_close(&stream);
        };
        let accepted = Accepted { admitted, stream, peer };
        match self.context.less_busy_than(self.seat) {
            Some(place) if place != self.seat => self.pass_on(accepted, place),
            _ => {
                self.context.carry(self.seat, true);
                self.adopt(accepted, now);
            }
        }
    }

    fn pass_on(&self, accepted: Accepted, place: usize) {
        self.context.carry(place, true);
        if let Some(seat) = self.context.seats.get(place) {
            seat.tell(Command::Adopt(Box::new(accepted)));
        }
    }

    fn admission(&self, shared: &Arc<Shared>, client: IpAddr, port: usize) -> Option<Admitted> {
        let counters = &shared.counters;
        if !shared.route.allows(client) {
            counters.refused_not_allowed.up();
            return None;
        }
        // The client's socket and the target's.
        let Some(share) = self.context.budget.take(2) else {
            if counters.refused_total_limit.first() {
                tracing::warn!(route = shared.route.id, "no descriptors left for connections");
            }
            return None;
        };
        let limit = self.context.budget.connections_per_port();
        if shared.enter(port, limit).is_none() {
            if counters.refused_port_limit.first() {
                tracing::warn!(route = shared.route.id, limit, "too many connections to a port");
            }
            return None;
        }
        Some(Admitted::new(Arc::clone(&self.context), Arc::clone(shared), port, share))
    }
}

/// The place within a steered range that a client has asked: its connection has that port, whatever
/// the listener's is.
fn port_asked(shared: &Shared, stream: &OwnedFd) -> Option<usize> {
    let local = rustix::net::getsockname(stream).ok()?;
    shared.route.place_of(SocketAddr::try_from(local).ok()?.port())
}

fn attempt(result: rustix::io::Result<(OwnedFd, Option<rustix::net::SocketAddrAny>)>) -> Attempt {
    match result {
        Ok((stream, peer)) => match peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
            Some(peer) => Attempt::One(stream, canonical(peer)),
            None => Attempt::Again,
        },
        Err(Errno::AGAIN) => Attempt::Empty,
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
            Attempt::Exhausted(error)
        }
        Err(error @ (Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP)) => {
            Attempt::Broken(error)
        }
        // accept(2): errors of the new connection are passed on here and mean nothing to others.
        Err(_) => Attempt::Again,
    }
}
