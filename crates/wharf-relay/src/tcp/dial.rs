//! A connection to the target, on its way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_quickack;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use wharf_host::opener::Kind;
use wharf_host::transparent::MARK;

use crate::protocol::{Route, Source};
use crate::route::inside::Inside;
use crate::tcp::near;

/// A socket that is connecting.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) socket: OwnedFd,
    /// Whether it has the client's address.
    pub(super) as_client: bool,
}

/// Where a connection goes, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) target: SocketAddr,
    /// Whether a congestion control without pacing is chosen.
    pub(super) unpaced: bool,
    /// The network namespace of the target, if it is another one.
    pub(super) inside: Option<&'a Inside>,
}

/// The client's address, if the target may see it.
///
/// A loopback or link-local address means nothing to the target, one of the other family cannot
/// be written into the packets, and what a neighbour is answered never passes here.
pub(crate) fn kept(route: &Route, client: SocketAddr, target: SocketAddr) -> Option<SocketAddr> {
    let bound_to_its_link = match client.ip() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    let near = route.neighbours.iter().any(|net| net.contains(&client.ip()));
    let keeps = route.source != Source::Gateway && client.is_ipv4() == target.is_ipv4();
    (keeps && !bound_to_its_link && !near).then_some(client)
}

/// Starts connecting, from the address `source` if the kernel lets us.
pub(super) fn dial(way: Way<'_>, source: Option<SocketAddr>) -> io::Result<Dialed> {
    if let Some(source) = source {
        // Its port, too, if that is free towards this target; else any port of this address.
        for port in [source.port(), 0] {
            if let Ok(socket) = way.dial(Some(SocketAddr::new(source.ip(), port))) {
                return Ok(Dialed { socket, as_client: true });
            }
        }
    }
    Ok(Dialed { socket: way.dial(None)?, as_client: false })
}

// === impl Way ===

impl Way<'_> {
    fn dial(self, source: Option<SocketAddr>) -> io::Result<OwnedFd> {
        let socket = self.socket()?;
        // Small messages go at once. Failure costs latency only.
        drop(socket.set_tcp_nodelay(true));
        // As on the client's leg: an urgent byte is a byte of the stream.
        drop(socket.set_out_of_band_inline(true));
        if self.unpaced {
            near::take_pacing_off(socket.as_fd());
        }
        // The last packet of the handshake waits for the client's first bytes, which are usually
        // here already, and travels with them.
        let _delayed = set_tcp_quickack(&socket, false);
        if let Some(source) = source {
            be(&socket, source)?;
            if self.inside.is_some() {
                // In there it is the mark that leads answers back, see `wharf_host::transparent`.
                socket.set_mark(MARK.value)?;
            }
        }
        match socket.connect(&SockAddr::from(self.target)) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                Err(error)
            }
            _ => Ok(socket.into()),
        }
    }

    fn socket(self) -> io::Result<Socket> {
        if let Some(inside) = self.inside {
            return Ok(inside.open(self.target, Kind::Stream)?.into());
        }
        let kind = Type::STREAM.nonblocking().cloexec();
        Socket::new_raw(Domain::for_address(self.target), kind, Some(Protocol::TCP))
    }
}

/// Binds an address that need not be ours.
fn be(socket: &Socket, source: SocketAddr) -> io::Result<()> {
    let options = SockRef::from(socket);
    if source.is_ipv4() {
        options.set_ip_transparent_v4(true)?;
    } else {
        options.set_ip_transparent_v6(true)?;
    }
    // One client port may lead to several targets.
    options.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(source))
}
