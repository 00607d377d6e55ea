//! Sockets of flows: connected to a target, and if wanted bound to the client's own address.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::{enable_gro, set_flag};

/// What a flow's socket may queue each way, in bytes, as the kernel counts them: a dozen trains
/// or some 450 datagrams of 1400 bytes. The default holds 92 of these, less than one burst.
const QUEUE: usize = 1 << 20;
/// More than fit in [`QUEUE`] (the smallest takes 768 bytes of it).
const MOST_STRAYS: usize = 2048;

/// A non-blocking UDP socket connected to `target`, with GRO; with a `source` it is bound to
/// that foreign address.
///
/// A source needs CAP_NET_RAW or CAP_NET_ADMIN in the namespace of the socket, a port below
/// net.ipv4.ip_unprivileged_port_start CAP_NET_BIND_SERVICE as well, and answers come back only
/// where policy routing delivers packets for the foreign address locally.
///
/// Sockets of several flows may share a source if their targets differ: a connected socket is
/// found only for datagrams of its own peer. For two flows with the same source *and* target the
/// kernel would give every answer to one of them, and this is not noticed here; give all but one
/// of them a source with port 0, which gets a port that no other socket has.
///
/// # Errors
/// `EPERM` without the capability; `EADDRINUSE` when a socket of somebody else has the source;
/// `EADDRNOTAVAIL` and `ENETUNREACH` when routing has no way between the two.
pub fn flow_socket(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(target), kind, Some(Protocol::UDP))?;
    enable_gro(&socket);
    // Not by force: that would be two more system calls, which fail without CAP_NET_ADMIN.
    socket.set_recv_buffer_size(QUEUE / 2)?;
    socket.set_send_buffer_size(QUEUE / 2)?;
    if let Some(source) = source {
        bind_foreign(&socket, source)?;
    }
    socket.connect(&target.into())?;
    if source.is_some() {
        drop_strays(&socket)?;
    }
    Ok(socket.into())
}

pub(super) fn bind_foreign(socket: &Socket, source: SocketAddr) -> io::Result<()> {
    let (level, name) = match source {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
    };
    set_flag(socket.as_fd(), level, name)?;
    // With SO_REUSEADDR port 0 could turn into a port that another such socket has.
    socket.set_reuse_address(source.port() != 0)?;
    socket.bind(&source.into())
}

/// Until it is connected, a bound socket takes what is sent to its address by anybody for whom
/// there is no better match. The target was not asked anything yet, so nothing is lost.
pub(super) fn drop_strays(socket: &Socket) -> io::Result<()> {
    for _ in 0..MOST_STRAYS {
        match socket.recv(&mut []) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            _ => {}
        }
    }
    Err(io::Error::new(ErrorKind::AddrInUse, "the source address is flooded; try another port"))
}
