//! Datagrams with the local address they were sent to, and replies that leave from it.
//!
//! A wildcard UDP socket would answer from whatever address routing prefers; a client that
//! asked another address of the host would not recognise the answer.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{SockAddr, SockAddrStorage};

/// Room for an `in6_pktinfo` beside an `in_pktinfo` (72 bytes), rounded up; as `u64`s because
/// the kernel's control headers are aligned like one.
const CONTROL_WORDS: usize = 16;

/// One datagram, as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its length, which may be 0.
    pub length: usize,
    /// Whether it was longer than the buffer.
    pub truncated: bool,
    /// Who sent it; an IPv4 client of a dual-stack socket is given as IPv4.
    pub from: SocketAddr,
    /// The local address it was sent to, and the interface it came in by.
    pub to: Option<Local>,
}

/// A local address of this host, as named by a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Local {
    /// The address; IPv4 on a dual-stack socket is given as IPv4.
    pub address: IpAddr,
    /// The interface's index.
    pub interface: u32,
}

/// Asks the kernel to report local addresses; on a dual-stack socket for both families.
pub fn enable(socket: impl AsFd, ipv6: bool, dual: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    if ipv6 {
        set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
    }
    if !ipv6 || dual {
        set_flag(fd, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "neither rustix nor socket2 offers IP_PKTINFO")]
fn set_flag(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` lives across the call and its size is passed; `fd` is a live descriptor.
    // JUSTIFICATION: the option has no safe wrapper among our crates.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            socklen(size_of_val(&on)),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives one datagram without waiting.
///
/// # Errors
/// `WouldBlock` when there is none; a pending ICMP error of an earlier send otherwise.
#[expect(unsafe_code, reason = "recvmsg with IP_PKTINFO has no safe wrapper among our crates")]
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut name = SockAddrStorage::zeroed();
    let mut control = [0u64; CONTROL_WORDS];
    let mut data = [IoSliceMut::new(buffer)];
    // SAFETY: all-zero bytes are a valid msghdr: null pointers with zero lengths.
    // JUSTIFICATION: musl and glibc differ in private padding fields, so no struct literal.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = name.size_of();
    header.msg_iov = data.as_mut_ptr().cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let fd = socket.as_fd();
    // SAFETY: every pointer in `header` refers to a live local of the length given beside it, and
    // IoSliceMut is ABI-compatible with iovec on Unix.
    // JUSTIFICATION: the local address of a datagram comes only through recvmsg control data.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel wrote an address of `msg_namelen` bytes into zeroed storage.
    // JUSTIFICATION: socket2 has no safe way from raw storage to an address.
    let name = unsafe { SockAddr::new(name, header.msg_namelen) };
    let from = name
        .as_socket()
        .ok_or_else(|| io::Error::other("datagram without the address of its sender"))?;
    let to = local(&header);
    Ok(Arrival {
        length,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        from: canonical(from),
        to,
    })
}

/// Sends one datagram to `to`, leaving from the local address `from` when one is given.
///
/// `dual` says that the socket is a dual-stack one, for which IPv4 is written as mapped IPv6.
#[expect(unsafe_code, reason = "sendmsg with IP_PKTINFO has no safe wrapper among our crates")]
pub fn send(
    socket: impl AsFd,
    payload: &[u8],
    to: SocketAddr,
    from: Option<Local>,
    dual: bool,
) -> io::Result<usize> {
    let name = SockAddr::from(if dual { mapped(to) } else { to });
    let data = [IoSlice::new(payload)];
    let mut control = [0u64; CONTROL_WORDS];
    // SAFETY: all-zero bytes are a valid msghdr: null pointers with zero lengths.
    // JUSTIFICATION: musl and glibc differ in private padding fields, so no struct literal.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = data.as_ptr().cast_mut().cast();
    header.msg_iovlen = 1;
    if let Some(from) = from {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        header.msg_controllen = write_local(&header, from, dual) as _;
    }
    let fd = socket.as_fd();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer in `header` refers to a live local of the length given beside it, and
    // sendmsg does not write through them.
    // JUSTIFICATION: the source address can be chosen only through sendmsg control data.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Writes the control message and returns the length of the control data.
#[expect(unsafe_code, reason = "control messages are written through libc's macros")]
fn write_local(header: &libc::msghdr, from: Local, dual: bool) -> usize {
    let address = match from.address {
        IpAddr::V4(v4) if !dual => {
            // The interface is left 0: the address alone decides, and routing stays free to
            // answer through another interface than the question came by.
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            // SAFETY: `header` names a zeroed control buffer of CONTROL_WORDS u64s, enough for this.
            // JUSTIFICATION: see the item.
            return unsafe { write_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info) };
        }
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let info = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
        // A link-local address means nothing without its interface.
        ipi6_ifindex: if address.is_unicast_link_local() { from.interface } else { 0 },
    };
    // SAFETY: as above.
    // JUSTIFICATION: see the item.
    unsafe { write_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info) }
}

/// # Safety
/// `header` must name a control buffer with room for one message of type `T`.
#[expect(unsafe_code, reason = "control messages are written through libc's macros")]
unsafe fn write_control<T>(header: &libc::msghdr, level: i32, kind: i32, value: T) -> usize {
    let size = u32::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the caller promises room for the header and the value; CMSG_DATA points behind the
    // header, and the value is written unaligned.
    // JUSTIFICATION: CMSG_* are the only portable way to lay control data out.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() {
            return 0;
        }
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
        usize::try_from(libc::CMSG_SPACE(size)).unwrap_or(0)
    }
}

/// Reads the local address out of received control data. A dual-stack socket reports an IPv4
/// datagram both ways; the IPv4 report is the better one, see below.
#[expect(unsafe_code, reason = "control messages are read through libc's macros")]
fn local(header: &libc::msghdr) -> Option<Local> {
    let mut v6 = None;
    // SAFETY: `header` was filled by recvmsg, so CMSG_FIRSTHDR and CMSG_NXTHDR stay within the
    // control data, and a message of this level and type carries the struct read from it.
    // JUSTIFICATION: CMSG_* are the only portable way to walk control data.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let data = libc::CMSG_DATA(message);
            match (found.cmsg_level, found.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    // Not ipi_addr: for a broadcast that is the broadcast address, which no
                    // answer can leave from.
                    let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    let interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
                    return Some(Local { address: address.into(), interface });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical();
                    v6 = Some(Local { address, interface: info.ipi6_ifindex });
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    v6
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

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(_) => address,
    }
}

fn socklen(length: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(length).unwrap_or(0)
}
