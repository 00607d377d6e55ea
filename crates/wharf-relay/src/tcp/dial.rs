//! A connection to the target, on its way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::protocol::{Route, Source};

/// A socket that is connecting.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) socket: OwnedFd,
    /// Whether it has the client's address.
    pub(super) as_client: bool,
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
    let keeps = route.source == Source::Client && client.is_ipv4() == target.is_ipv4();
    (keeps && !bound_to_its_link && !near).then_some(client)
}

/// Whether connections pace themselves unless told otherwise: BBR does.
///
/// Towards a target on this host that is all cost and no use: there is no bottleneck to be found,
/// and each connection keeps a timer going to send no faster than it has guessed.
pub(crate) fn default_is_paced() -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    let name = socket.map_err(|_| Errno::NOMEM).and_then(tcp_congestion);
    name.is_ok_and(|name| name.starts_with("bbr"))
}

/// Starts connecting, from the address `source` if the kernel lets us. With `unpaced`, a
/// congestion control without pacing is chosen.
pub(super) fn dial(
    target: SocketAddr,
    source: Option<SocketAddr>,
    unpaced: bool,
) -> io::Result<Dialed> {
    if let Some(source) = source {
        // Its port, too, if that is free towards this target; else any port of this address.
        for port in [source.port(), 0] {
            if let Ok(socket) = dial_from(target, Some(SocketAddr::new(source.ip(), port)), unpaced)
            {
                return Ok(Dialed { socket, as_client: true });
            }
        }
    }
    Ok(Dialed { socket: dial_from(target, None, unpaced)?, as_client: false })
}

fn dial_from(target: SocketAddr, source: Option<SocketAddr>, unpaced: bool) -> io::Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    // Small messages go at once. Failure costs latency only.
    drop(socket.set_tcp_nodelay(true));
    if unpaced {
        // The one that every kernel has and every process may choose.
        let _chosen = set_tcp_congestion(&socket, "reno");
    }
    if let Some(source) = source {
        be(&socket, source)?;
    }
    match socket.connect(&SockAddr::from(target)) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
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
