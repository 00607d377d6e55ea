//! Control data of datagrams: local addresses and the lengths of segments.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Local;

/// Room for an `in6_pktinfo`, an `in_pktinfo`, a `sockaddr_in6`, a `sockaddr_in` and a segment length
/// (176 bytes), rounded up; as `u64`s because the kernel's control headers are aligned like one.
const WORDS: usize = 24;

/// A buffer for control data, and how much of it is written.
#[derive(Debug)]
pub(super) struct Control {
    words: [u64; WORDS],
    used: usize,
}

/// What received control data said.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) local: Option<Local>,
    /// The port it was sent to.
    pub(super) port: Option<u16>,
    pub(super) segment: Option<u16>,
}

// === impl Control ===

impl Control {
    pub(super) fn new() -> Self {
        Self { words: [0; WORDS], used: 0 }
    }

    pub(super) fn capacity(&self) -> usize {
        size_of_val(&self.words)
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u64 {
        self.words.as_mut_ptr()
    }

    /// Appends a message that makes a datagram leave from `from`.
    pub(super) fn push_local(&mut self, from: Local, dual: bool) {
        let address = match from.address {
            IpAddr::V4(v4) if !dual => {
                // The interface is left 0: the address alone decides, and routing stays free to
                // answer through another interface than the question came by.
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                return self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
            // A link-local address means nothing without its interface.
            ipi6_ifindex: if address.is_unicast_link_local() { from.interface } else { 0 },
        };
        self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
    }

    /// Appends a message; one for which there is no room is left out.
    #[expect(unsafe_code, reason = "control messages are laid out by libc's macros")]
    pub(super) fn push<T: Copy>(&mut self, level: i32, kind: i32, value: T) {
        let size = u32::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: both only compute, without touching memory.
        // JUSTIFICATION: CMSG_* are the only portable way to lay control data out.
        let (space, length) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
        let end = self.used + usize::try_from(space).unwrap_or(usize::MAX);
        if end > self.capacity() {
            return;
        }
        // SAFETY: CMSG_SPACE covers the header, its padding and the value, and ends within the
        // buffer; `used` is a sum of CMSG_SPACEs, so the header is aligned; CMSG_DATA points
        // behind the header, and the value is written unaligned.
        // JUSTIFICATION: see above.
        unsafe {
            let message = self.as_mut_ptr().byte_add(self.used).cast::<libc::cmsghdr>();
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = length as _;
            libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
        }
        self.used = end;
    }
}

// === impl Labels ===

impl Labels {
    /// Reads control data. A dual-stack socket reports the local address of an IPv4 datagram both
    /// ways; the IPv4 report is the better one, see [`Labels::note`].
    ///
    /// # Safety
    /// `header` must have been filled by recvmsg, and its control buffer must still be there.
    #[expect(unsafe_code, reason = "control messages are read through libc's macros")]
    pub(super) unsafe fn read(header: &libc::msghdr) -> Self {
        let mut labels = Self::default();
        // SAFETY: after recvmsg CMSG_FIRSTHDR and CMSG_NXTHDR stay within the control data, and
        // what they point to are whole messages.
        // JUSTIFICATION: CMSG_* are the only portable way to walk control data.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(header);
            while let Some(found) = message.as_ref() {
                labels.note(found);
                message = libc::CMSG_NXTHDR(header, message);
            }
        }
        labels
    }

    /// # Safety
    /// `message` must be followed by the data that the kernel writes for its level and type.
    #[expect(unsafe_code, reason = "control messages are read through libc's macros")]
    unsafe fn note(&mut self, message: &libc::cmsghdr) {
        // SAFETY: the caller promises that the struct of this level and type is behind the header.
        // JUSTIFICATION: see the item.
        unsafe {
            let data = libc::CMSG_DATA(message);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    self.local = Some(v4(data.cast::<libc::in_pktinfo>().read_unaligned()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if self.local.is_none() => {
                    self.local = Some(v6(data.cast::<libc::in6_pktinfo>().read_unaligned()));
                }
                (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) => {
                    let asked = data.cast::<libc::sockaddr_in>().read_unaligned();
                    self.port = Some(u16::from_be(asked.sin_port));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR) => {
                    let asked = data.cast::<libc::sockaddr_in6>().read_unaligned();
                    self.port = Some(u16::from_be(asked.sin6_port));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = data.cast::<libc::c_int>().read_unaligned();
                    self.segment = u16::try_from(segment).ok().filter(|segment| *segment > 0);
                }
                _ => {}
            }
        }
    }
}

fn v4(info: libc::in_pktinfo) -> Local {
    // Not ipi_addr: for a broadcast that is the broadcast address, which no answer can leave from.
    let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
    Local { address: address.into(), interface: u32::try_from(info.ipi_ifindex).unwrap_or(0) }
}

fn v6(info: libc::in6_pktinfo) -> Local {
    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical();
    Local { address, interface: info.ipi6_ifindex }
}
