//! Requests and answers: a few bytes and at most one descriptor, one message each.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{Domain, Kind};

/// The number of the helper's unasked announcement that it is ready.
pub(super) const READY: u32 = 0;
/// The length of a request in bytes.
pub(super) const REQUEST: usize = 6;
/// The length of an answer in bytes.
pub(super) const ANSWER: usize = 8;

/// To open a socket in the namespace whose descriptor comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) number: u32,
    pub(super) domain: Domain,
    pub(super) kind: Kind,
}

/// What became of request `number`: an errno, or 0 and the socket comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) number: u32,
    pub(super) errno: i32,
}

/// A message as it came, of `N` bytes if it is what was expected.
#[derive(Debug)]
pub(super) struct Message<const N: usize> {
    bytes: [u8; N],
    length: usize,
    pub(super) descriptor: Option<OwnedFd>,
}

/// Sends one message, or `EAGAIN` when the peer has let too many pile up.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    payload: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptor.is_some() && !control.push(SendAncillaryMessage::ScmRights(descriptor.as_slice()))
    {
        return Err(Errno::MSGSIZE);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(payload)], &mut control, flags))
        .map(drop)
}

/// Receives one message, or `EAGAIN` when there is none; `None` when the peer is gone.
pub(super) fn receive<const N: usize>(
    socket: BorrowedFd<'_>,
) -> rustix::io::Result<Option<Message<N>>> {
    let mut bytes = [0; N];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
    })?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let descriptors = control.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.flatten().last();
    // Cut off: more descriptors than one, or none left to put it in.
    let descriptor = descriptor.filter(|_| !got.flags.contains(ReturnFlags::CTRUNC));
    Ok(Some(Message { bytes, length: got.bytes, descriptor }))
}

// === impl Message ===

impl<const N: usize> Message<N> {
    /// # Errors
    /// When it is longer or shorter than expected.
    pub(super) fn payload(&self) -> io::Result<[u8; N]> {
        let detail = || format!("a message of {} bytes instead of {N}", self.length);
        let whole = (self.length == N).then_some(self.bytes);
        whole.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, detail()))
    }

    /// The number it begins with, by which it can be answered even if the rest makes no sense.
    pub(super) fn number(&self) -> u32 {
        self.bytes.first_chunk().map_or(READY, |number| u32::from_le_bytes(*number))
    }
}

// === impl Request ===

impl Request {
    pub(super) fn to_bytes(self) -> [u8; REQUEST] {
        let [a, b, c, d] = self.number.to_le_bytes();
        let domain = match self.domain {
            Domain::Ipv4 => 4,
            Domain::Ipv6 => 6,
        };
        let kind = match self.kind {
            Kind::Stream => b's',
            Kind::Datagram => b'd',
        };
        [a, b, c, d, domain, kind]
    }

    pub(super) fn from_bytes([a, b, c, d, domain, kind]: [u8; REQUEST]) -> Option<Self> {
        let domain = match domain {
            4 => Domain::Ipv4,
            6 => Domain::Ipv6,
            _ => return None,
        };
        let kind = match kind {
            b's' => Kind::Stream,
            b'd' => Kind::Datagram,
            _ => return None,
        };
        Some(Self { number: u32::from_le_bytes([a, b, c, d]), domain, kind })
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn to_bytes(self) -> [u8; ANSWER] {
        let [a, b, c, d] = self.number.to_le_bytes();
        let [e, f, g, h] = self.errno.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    pub(super) fn from_bytes([a, b, c, d, e, f, g, h]: [u8; ANSWER]) -> Self {
        let number = u32::from_le_bytes([a, b, c, d]);
        Self { number, errno: i32::from_le_bytes([e, f, g, h]) }
    }
}
