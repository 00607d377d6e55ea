//! Datagrams as a relay needs them: with the local address they were sent to, in trains, and
//! from sockets bound to another host's address.
//!
//! A wildcard UDP socket would answer from whatever address routing prefers; a client that asked
//! another address of the host would not recognise the answer. So every arrival names the local
//! address, and every answer the one it leaves from.
//!
//! With UDP GRO (Linux 5.0) the kernel hands over datagrams of one sender that came together as
//! one buffer, a [`Train`]; it goes out again in one call by UDP GSO (Linux 4.18), which cuts it
//! at the same places. Boundaries are kept, and the way through the stack is paid once per train.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{SockAddr, SockAddrStorage};

use crate::datagram::control::{Control, Labels};

mod coalesce;
mod control;
mod envelope;
mod flow;
#[cfg(test)]
mod tests;
mod train;

pub use coalesce::Coalescer;
pub(crate) use envelope::Envelope;
pub use flow::{answering_socket, flow_socket, flow_socket_inside};
pub use train::{Segmentation, Sent, Train, send_train};

/// Bytes of a buffer that no datagram and no train outgrows: the length field of UDP has 16
/// bits, and GRO ends a train below 65,536 bytes (`GRO_LEGACY_MAX_SIZE`) whatever the device's
/// `gro_max_size` allows for TCP.
pub const BUFFER: usize = 64 << 10;
/// What a socket that anybody may send to should queue each way, in bytes, for
/// [`enlarge_buffers`]: at 10 Gbit/s some 2 ms, the longest that a busy reader is away.
pub const LISTENER_QUEUE: usize = 4 << 20;

/// One datagram or train, as received by a socket that anybody may send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its length in bytes, which may be 0.
    pub length: usize,
    /// Whether it was longer than the buffer.
    pub truncated: bool,
    /// For a train, the length of each datagram but the last, which may be shorter; `None` when
    /// there is one datagram only.
    pub segment: Option<u16>,
    /// Who sent it; an IPv4 client of a dual-stack socket is given as IPv4.
    pub from: SocketAddr,
    /// The local address it was sent to, and the interface it came in by.
    pub to: Option<Local>,
    /// The local port it was sent to, if [`enable_asked_port`] was called.
    pub port: Option<u16>,
}

/// One datagram or train, as received by a connected socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its length in bytes, which may be 0.
    pub length: usize,
    /// Whether it was longer than the buffer.
    pub truncated: bool,
    /// As [`Arrival::segment`].
    pub segment: Option<u16>,
}

/// A local address of this host, as named by a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Local {
    /// The address; IPv4 on a dual-stack socket is given as IPv4.
    pub address: IpAddr,
    /// The interface's index.
    pub interface: u32,
}

/// The ends of a datagram sent by a socket that is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Whom it is for.
    pub to: SocketAddr,
    /// The local address it leaves from; without one routing decides.
    pub from: Option<Local>,
    /// Whether the socket is a dual-stack one, for which IPv4 is written as mapped IPv6.
    pub dual: bool,
}

/// Asks the kernel to report local addresses; on a dual-stack socket for both families.
pub fn enable_pktinfo(socket: impl AsFd, ipv6: bool, dual: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    if ipv6 {
        set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
    }
    if !ipv6 || dual {
        set_flag(fd, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    }
    Ok(())
}

/// Asks the kernel to report the ports that datagrams were sent to, which for a socket of a steered
/// range is hardly ever its own; on a dual-stack socket for both families.
pub fn enable_asked_port(socket: impl AsFd, ipv6: bool, dual: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    if ipv6 {
        set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR)?;
    }
    if !ipv6 || dual {
        set_flag(fd, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR)?;
    }
    Ok(())
}

/// Asks the kernel for trains; `false` when it has none (before Linux 5.0), which changes nothing
/// but speed. A reader of the socket must look at `segment` from then on.
pub fn enable_gro(socket: impl AsFd) -> bool {
    set_flag(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO).is_ok()
}

/// Lets a socket queue at least `bytes` each way, as the kernel counts them: with its own
/// overhead, which is more than half of a 1400-byte datagram. More than net.core.rmem_max and
/// wmem_max needs CAP_NET_ADMIN; without that those are what one gets, and this is no error.
/// A socket that somebody with the capability has prepared is left as it is.
pub fn enlarge_buffers(socket: impl AsFd, bytes: usize) {
    use rustix::net::sockopt;
    // The kernel doubles what it is given.
    let (socket, half) = (socket.as_fd(), bytes / 2);
    let is_less = |size: rustix::io::Result<usize>| size.is_ok_and(|size| size < bytes);
    if is_less(sockopt::socket_recv_buffer_size(socket))
        && sockopt::set_socket_recv_buffer_size_force(socket, half).is_err()
    {
        sockopt::set_socket_recv_buffer_size(socket, half).unwrap_or_default();
    }
    if is_less(sockopt::socket_send_buffer_size(socket))
        && sockopt::set_socket_send_buffer_size_force(socket, half).is_err()
    {
        sockopt::set_socket_send_buffer_size(socket, half).unwrap_or_default();
    }
}

/// Receives one datagram or train without waiting.
///
/// # Errors
/// `WouldBlock` when there is none; a pending ICMP error of an earlier send otherwise.
#[expect(unsafe_code, reason = "socket2 has no safe way from raw storage to an address")]
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut name = SockAddrStorage::zeroed();
    let (received, labels, named) = receive_message(socket.as_fd(), buffer, Some(&mut name))?;
    // SAFETY: the kernel wrote an address of `named` bytes into zeroed storage.
    // JUSTIFICATION: see the item.
    let from = unsafe { SockAddr::new(name, named) }
        .as_socket()
        .ok_or_else(|| io::Error::other("datagram without the address of its sender"))?;
    let Received { length, truncated, segment } = received;
    let (from, to, port) = (canonical(from), labels.local, labels.port);
    Ok(Arrival { length, truncated, segment, from, to, port })
}

/// Receives one datagram or train of a connected socket's peer without waiting.
///
/// # Errors
/// As [`receive`].
pub fn receive_connected(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    receive_message(socket.as_fd(), buffer, None).map(|(received, ..)| received)
}

#[expect(unsafe_code, reason = "recvmsg with control data has no safe wrapper among our crates")]
fn receive_message(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    name: Option<&mut SockAddrStorage>,
) -> io::Result<(Received, Labels, libc::socklen_t)> {
    let mut control = Control::new();
    let mut data = [IoSliceMut::new(buffer)];
    let mut header = empty_header();
    if let Some(name) = name {
        header.msg_namelen = name.size_of();
        header.msg_name = (&raw mut *name).cast();
    }
    header.msg_iov = data.as_mut_ptr().cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.capacity() as _;
    // SAFETY: every pointer in `header` refers to a live value of the length given beside it, and
    // IoSliceMut is ABI-compatible with iovec on Unix.
    // JUSTIFICATION: local addresses and train lengths come only through recvmsg control data.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: recvmsg has just filled `header`, and `control` is still there.
    // JUSTIFICATION: see the item.
    let labels = unsafe { Labels::read(&header) };
    let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
    let segment = labels.segment.filter(|segment| usize::from(*segment) < length);
    Ok((Received { length, truncated, segment }, labels, header.msg_namelen))
}

/// Sends `payload` along `path` without waiting: as one datagram, or cut by the kernel every
/// `segment` bytes. [`send_train`] knows the limits of that and what to do beyond them.
///
/// # Errors
/// `WouldBlock` when the socket's buffer is full; a pending ICMP error of an earlier send, and
/// nothing is sent then; for segments also what [`send_train`] falls back on.
pub fn send(
    socket: impl AsFd,
    payload: &[u8],
    path: &Path,
    segment: Option<u16>,
) -> io::Result<usize> {
    send_message(socket.as_fd(), payload, Some(path), segment)
}

/// Sends `payload` to a connected socket's peer without waiting, otherwise like [`send`].
///
/// # Errors
/// As [`send`].
pub fn send_connected(
    socket: impl AsFd,
    payload: &[u8],
    segment: Option<u16>,
) -> io::Result<usize> {
    send_message(socket.as_fd(), payload, None, segment)
}

#[expect(unsafe_code, reason = "sendmsg with control data has no safe wrapper among our crates")]
fn send_message(
    fd: BorrowedFd<'_>,
    payload: &[u8],
    path: Option<&Path>,
    segment: Option<u16>,
) -> io::Result<usize> {
    let data = [IoSlice::new(payload)];
    let mut envelope = Envelope::new(path, segment);
    let header = envelope.header(&data);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer in `header` refers to a live local of the length given beside it, and
    // sendmsg does not write through them.
    // JUSTIFICATION: source addresses and segments can be given only through control data.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[expect(unsafe_code, reason = "libc gives no other way to an empty msghdr")]
fn empty_header() -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid msghdr: null pointers with zero lengths.
    // JUSTIFICATION: musl and glibc differ in private padding fields, so no struct literal.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

#[expect(unsafe_code, reason = "neither rustix nor socket2 offers these options")]
fn set_flag(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: `on` lives across the call and its size is passed; `fd` is a live descriptor.
    // JUSTIFICATION: the options have no safe wrapper among our crates.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const on).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddrV4::new(v4, v6.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

// === impl Arrival ===

impl Arrival {
    /// What came, whoever sent it.
    pub fn received(&self) -> Received {
        let Self { length, truncated, segment, .. } = *self;
        Received { length, truncated, segment }
    }
}

// === impl Received ===

impl Received {
    /// The number of datagrams, at least 1.
    pub fn count(&self) -> usize {
        self.segment.map_or(1, |segment| self.length.div_ceil(usize::from(segment)))
    }
}

// === impl Path ===

impl Path {
    fn name(&self) -> SocketAddr {
        match self.to {
            SocketAddr::V4(v4) if self.dual => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            to => to,
        }
    }
}
