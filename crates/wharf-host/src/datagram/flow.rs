//! Sockets of flows: connected to a target, and if wanted bound to the client's own address.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::{enable_gro, set_flag};
use crate::reserve::close_to_traffic;
use crate::transparent::RELAY_MARK;

/// What a flow's socket may queue each way, in bytes, as the kernel counts them: a dozen trains
/// or some 450 datagrams of 1400 bytes. The default holds 92 of these, less than one burst.
const QUEUE: usize = 1 << 20;
/// More than fit in [`QUEUE`] (the smallest takes 768 bytes of it).
const MOST_STRAYS: usize = 2048;

/// A non-blocking UDP socket connected to `target`, with GRO; with a `source` it is bound to
/// that foreign address, and to a port that no other socket of this host has.
///
/// A source needs CAP_NET_RAW or CAP_NET_ADMIN in the namespace of the socket, and answers come
/// back only where policy routing delivers packets for the foreign address locally.
///
/// The port is not the foreign host's own: a bound socket keeps every program of this host from
/// binding the wildcard address with its port, so strangers could choose which services of this
/// host cannot start. Besides, two sockets with the same source and the same target, as for one
/// client that asks two published ports of one server, could not tell their answers apart, and
/// neither could the foreign host's own conversation with the target, if that passes here.
///
/// # Errors
/// `EPERM` without the capability; `EADDRINUSE` when all ports of the source are taken;
/// `EADDRNOTAVAIL` and `ENETUNREACH` when routing has no way between the two.
pub fn flow_socket(target: SocketAddr, source: Option<IpAddr>) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(target), kind, Some(Protocol::UDP))?;
    prepare(socket, target, source)
}

/// As [`flow_socket`], with a socket of the right family from another network namespace; one with
/// a source is marked with `mark`, see [`crate::transparent`].
///
/// # Errors
/// As [`flow_socket`].
pub fn flow_socket_inside(
    socket: OwnedFd,
    target: SocketAddr,
    source: Option<IpAddr>,
    mark: u32,
) -> io::Result<OwnedFd> {
    let socket = Socket::from(socket);
    if source.is_some() {
        socket.set_mark(mark)?;
    }
    prepare(socket, target, source)
}

/// A UDP socket at `address` from which answers leave that are due from a port of a steered range. It
/// takes nothing in: while the range is steered nothing comes to it, and what came otherwise would
/// only wait there.
///
/// # Errors
/// `EADDRINUSE` when a program of the host has the port; `EPERM` without CAP_NET_RAW, which it takes
/// to say that it is the relay who binds ([`RELAY_MARK`]).
pub fn answering_socket(address: SocketAddr, dual: bool) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    close_to_traffic(&socket)?;
    // A relay and its successor have the same ports for a moment.
    socket.set_reuse_address(true)?;
    socket.set_mark(RELAY_MARK.value)?;
    socket.bind(&address.into())?;
    // Routing is not to see it.
    socket.set_mark(0)?;
    socket.set_send_buffer_size(QUEUE / 2)?;
    Ok(socket.into())
}

fn prepare(socket: Socket, target: SocketAddr, source: Option<IpAddr>) -> io::Result<OwnedFd> {
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

pub(super) fn bind_foreign(socket: &Socket, source: IpAddr) -> io::Result<()> {
    let (level, name) = match source {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
    };
    set_flag(socket.as_fd(), level, name)?;
    // No SO_REUSEADDR: with it the port could be one that another such socket has.
    socket.bind(&SocketAddr::new(source, 0).into())
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
