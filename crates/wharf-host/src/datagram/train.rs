//! Trains: several datagrams in one buffer, received by GRO and sent by GSO.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use super::{Path, send_message};

/// `UDP_MAX_SEGMENTS`; 128 since Linux 6.9, but a few more segments save nothing.
pub(super) const MOST_SEGMENTS: usize = 64;
/// The largest UDP payload over IPv4. IPv6 would take 20 bytes more.
pub(super) const MOST_BYTES: usize = 65_507;

/// Datagrams in one buffer: all of one length, except that the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Train<'a> {
    payload: &'a [u8],
    segment: Option<u16>,
}

/// What is known about sending trains on a flow: keep one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Segments of this length in bytes and longer are sent one by one.
    limit: u16,
}

/// How sending a train went.
#[derive(Debug)]
pub struct Sent {
    /// The datagrams that the kernel took; the rest of the train is lost.
    pub datagrams: usize,
    /// The bytes that the kernel took.
    pub bytes: usize,
    /// How many ICMP errors that answer earlier datagrams were met on the way.
    pub refused: usize,
    /// Why the rest was not sent: `WouldBlock` when the socket's buffer is full.
    pub error: Option<io::Error>,
}

/// Sends a train without waiting: along `path`, or to the peer of a connected socket.
///
/// The kernel cuts it where it can. A segment that is larger than the path's MTU it refuses to
/// (`EMSGSIZE`, `EINVAL` on older kernels), while a plain send is fragmented; a route through
/// IPsec or a device without checksum offload it refuses with `EIO`. Then the datagrams are sent
/// one by one, and `memory` notes not to try again.
///
/// An ICMP error of an earlier datagram fails one send without sending anything, so what fails is
/// tried once more.
pub fn send_train(
    socket: impl AsFd,
    train: Train<'_>,
    path: Option<&Path>,
    memory: &mut Segmentation,
) -> Sent {
    let mut sent = Sent { datagrams: 0, bytes: 0, refused: 0, error: None };
    let fd = socket.as_fd();
    for part in train.parts() {
        sent.send(fd, part, path, memory);
        if sent.error.is_some() {
            break;
        }
    }
    sent
}

/// Whether an error can be one that an ICMP message left on the socket; a full buffer, and what
/// is wrong with the call itself, will not change by trying again.
fn may_be_pending(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EIO | libc::ENOBUFS | libc::ENOMEM) => false,
        _ => error.kind() != ErrorKind::WouldBlock,
    }
}

// === impl Train ===

impl<'a> Train<'a> {
    /// The datagrams in `payload`, cut every `segment` bytes; one datagram without.
    pub fn new(payload: &'a [u8], segment: Option<u16>) -> Self {
        let fits = |segment: &u16| *segment > 0 && usize::from(*segment) < payload.len();
        Self { payload, segment: segment.filter(fits) }
    }

    /// The number of datagrams, at least 1.
    pub fn count(&self) -> usize {
        self.segment.map_or(1, |segment| self.payload.len().div_ceil(usize::from(segment)))
    }

    /// The length of each datagram but the last; `None` when there is one datagram only.
    pub fn segment(&self) -> Option<u16> {
        self.segment
    }

    /// The bytes of all datagrams.
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// The datagram, if there is one only.
    pub fn only(&self) -> Option<&'a [u8]> {
        self.segment.is_none().then_some(self.payload)
    }

    /// The datagrams, one by one; an empty one is one, too.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (payload, step) = (self.payload, self.step());
        let empty = payload.is_empty().then_some(payload);
        empty.into_iter().chain(payload.chunks(step))
    }

    fn step(&self) -> usize {
        self.segment.map_or(self.payload.len().max(1), usize::from)
    }

    /// The train in parts that one send may take.
    pub(super) fn parts(&self) -> impl Iterator<Item = Train<'a>> + use<'a> {
        let (step, segment) = (self.step(), self.segment);
        let most = (MOST_BYTES / step).clamp(1, MOST_SEGMENTS);
        let whole = Train { segment: None, ..*self };
        let parts = self.payload.chunks(step * most).map(move |part| Train::new(part, segment));
        self.payload.is_empty().then_some(whole).into_iter().chain(parts)
    }
}

// === impl Segmentation ===

impl Default for Segmentation {
    fn default() -> Self {
        Self { limit: u16::MAX }
    }
}

impl Segmentation {
    /// Whether trains of this flow still go out as such, whatever their segments' length.
    pub fn is_unlimited(self) -> bool {
        self.limit == u16::MAX
    }

    fn learn(&mut self, segment: u16, error: &io::Error) {
        let limit = match error.raw_os_error() {
            Some(libc::EINVAL | libc::EMSGSIZE) => segment,
            _ => 0,
        };
        self.limit = self.limit.min(limit);
    }
}

// === impl Sent ===

impl Sent {
    /// A datagram of `bytes` that was sent.
    pub fn one(bytes: usize) -> Self {
        Self { datagrams: 1, bytes, refused: 0, error: None }
    }

    /// Notes that an attempt to send the same before this one had failed.
    #[must_use]
    pub fn after(self, failed: &io::Error) -> Self {
        let met = self.error.is_none() && may_be_pending(failed);
        Self { refused: self.refused + usize::from(met), ..self }
    }

    fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        part: Train<'_>,
        path: Option<&Path>,
        memory: &mut Segmentation,
    ) {
        let Some(segment) = part.segment.filter(|segment| *segment < memory.limit) else {
            return self.send_singly(fd, part, path);
        };
        match self.try_twice(|| send_message(fd, part.payload, path, Some(segment))) {
            Ok(bytes) => self.count(part.count(), bytes),
            Err(error) if is_about_segments(&error) => {
                let before = self.datagrams;
                self.send_singly(fd, part, path);
                // If plain sends fail as well, it is not the segments that are at fault.
                if self.datagrams > before {
                    memory.learn(segment, &error);
                }
            }
            Err(error) => self.error = Some(error),
        }
    }

    fn send_singly(&mut self, fd: BorrowedFd<'_>, part: Train<'_>, path: Option<&Path>) {
        for datagram in part.datagrams() {
            match self.try_twice(|| send_message(fd, datagram, path, None)) {
                Ok(bytes) => self.count(1, bytes),
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }

    fn try_twice(&mut self, send: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
        match send() {
            Err(error) if may_be_pending(&error) => {
                let again = send()?;
                self.refused += 1;
                Ok(again)
            }
            other => other,
        }
    }

    fn count(&mut self, datagrams: usize, bytes: usize) {
        self.datagrams += datagrams;
        self.bytes += bytes;
    }
}

fn is_about_segments(error: &io::Error) -> bool {
    let about = [libc::EINVAL, libc::EMSGSIZE, libc::EIO, libc::ENOPROTOOPT, libc::EOPNOTSUPP];
    error.raw_os_error().is_some_and(|code| about.contains(&code))
}
