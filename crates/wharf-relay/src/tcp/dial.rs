//! A connection to the target, on its way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

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

/// Starts connecting, from the address `source` if the kernel lets us.
pub(super) fn dial(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<Dialed> {
    if let Some(source) = source {
        // Its port, too, if that is free towards this target; else any port of this address.
        for port in [source.port(), 0] {
            if let Ok(socket) = dial_from(target, Some(SocketAddr::new(source.ip(), port))) {
                return Ok(Dialed { socket, as_client: true });
            }
        }
    }
    Ok(Dialed { socket: dial_from(target, None)?, as_client: false })
}

fn dial_from(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    // Small messages go at once. Failure costs latency only.
    drop(socket.set_tcp_nodelay(true));
    if let Some(source) = source {
        be(&socket, source)?;
    }
    match socket.connect(&SockAddr::from(target)) {
        Err(error) if error.raw_os_error() != Some(libc_einprogress()) => Err(error),
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

fn libc_einprogress() -> i32 {
    rustix::io::Errno::INPROGRESS.raw_os_error()
}
