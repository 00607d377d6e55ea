//! Messages and datagrams to many sockets, sent by one system call.
//!
//! Whoever is sent something wakes up, and on a busy processor takes the place of the sender when its
//! call returns. A loop that answers many with a call for each is put aside for each of them, and what
//! comes meanwhile is served one by one, too. Sent together, they wake up together and the loop goes on
//! once.
//!
//! This is io_uring with nothing but sending allowed to it (`IORING_REGISTER_RESTRICTIONS`, Linux
//! 5.10), as no seccomp filter sees what goes through a ring.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use io_uring::IoUring;

use crate::datagram::Path;

mod ring;

/// What one read may bring, in bytes.
pub const ROOM: usize = 64 << 10;
/// Larger messages are sent at once: they keep their receivers busy for longer than a wake takes.
const LONGEST: usize = 4 << 10;
/// Messages sent by one call.
const MOST: usize = 64;

/// Messages that wait for [`Outbox::deliver`], and the buffer they were read into.
pub struct Outbox {
    ring: Option<IoUring>,
    buffer: Box<[u8]>,
    filled: usize,
    messages: Vec<Message>,
}

/// Part of the buffer.
#[derive(Debug, Clone, Copy)]
struct Message {
    token: u64,
    start: usize,
    length: usize,
    /// Of a datagram by a socket that is not connected.
    path: Option<Path>,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The kernel has not said anything of it.
    Unknown,
    Sent(usize),
    /// With this error number.
    Failed(i32),
}

/// What became of a message.
#[derive(Debug)]
pub struct Delivered<'a> {
    /// As it was posted.
    pub token: u64,
    /// All of it.
    pub bytes: &'a [u8],
    /// What was not sent.
    pub left: &'a [u8],
    /// Whether the kernel has said anything of it.
    pub tried: bool,
    /// Why nothing was sent; `WouldBlock` for want of room.
    pub error: Option<io::Error>,
}

// === impl Outbox ===

impl Outbox {
    /// An outbox with a ring, or one that takes no messages where io_uring is not to be had: switched
    /// off (`kernel.io_uring_disabled`), filtered, or too old.
    #[must_use]
    pub fn new() -> Self {
        let ring = ring::ring().inspect_err(|error| tracing::debug!(%error, "no io_uring"));
        Self { ring: ring.ok(), ..Self::without_ring() }
    }

    /// One that takes no messages, just a buffer.
    #[must_use]
    pub fn without_ring() -> Self {
        let buffer = vec![0; 2 * ROOM].into_boxed_slice();
        Self { ring: None, buffer, filled: 0, messages: Vec::with_capacity(MOST) }
    }

    /// Whether messages are taken at all.
    #[must_use]
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The tokens of those that wait.
    pub fn tokens(&self) -> impl Iterator<Item = u64> {
        self.messages.iter().map(|message| message.token)
    }

    /// Whether one with this token waits.
    #[must_use]
    pub fn holds(&self, token: u64) -> bool {
        self.messages.iter().any(|message| message.token == token)
    }

    /// Whether the next message may find no place.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.messages.len() >= MOST || self.filled + LONGEST > ROOM
    }

    /// Where the next message may be put: [`ROOM`] bytes behind what waits.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.filled..self.filled + ROOM).unwrap_or_default()
    }

    /// The first `length` bytes of that.
    #[must_use]
    pub fn bytes(&self, length: usize) -> &[u8] {
        self.buffer.get(self.filled..self.filled + length.min(ROOM)).unwrap_or_default()
    }

    /// Keeps the first `length` bytes of the room for [`Self::deliver`], to the socket that `token`
    /// will stand for. False when it has to be sent now: it is long, many wait, or there is no ring.
    pub fn post(&mut self, length: usize, token: u64) -> bool {
        let takes = self.takes(length);
        if takes {
            self.push(length, token, None);
        }
        takes
    }

    /// Keeps a datagram, to leave along `path` or to the peer of a connected socket. False as for
    /// [`Self::post`].
    pub fn post_datagram(&mut self, datagram: &[u8], token: u64, path: Option<Path>) -> bool {
        if !self.takes(datagram.len()) {
            return false;
        }
        let Some(room) = self.room().get_mut(..datagram.len()) else { return false };
        room.copy_from_slice(datagram);
        self.push(datagram.len(), token, path);
        true
    }

    fn takes(&self, length: usize) -> bool {
        let fits = length <= LONGEST && self.filled + length <= ROOM;
        self.ring.is_some() && fits && self.messages.len() < MOST
    }

    fn push(&mut self, length: usize, token: u64, path: Option<Path>) {
        let (start, outcome) = (self.filled, Outcome::Unknown);
        self.messages.push(Message { token, start, length, path, outcome });
        self.filled += length;
    }

    /// Takes out the messages that `each` makes something of.
    pub fn take_out(&mut self, mut each: impl FnMut(u64, &[u8]) -> bool) {
        let buffer = &self.buffer;
        self.messages.retain(|message| !each(message.token, message.bytes(buffer)));
        if self.messages.is_empty() {
            self.filled = 0;
        }
    }

    /// Sends what waits to the sockets that `socket` knows, without waiting for any of them.
    pub fn deliver<'fd>(&mut self, socket: impl Fn(u64) -> Option<BorrowedFd<'fd>>) {
        // A ring that failed is not put back: what is still in it must never be sent.
        let Some(mut ring) = self.ring.take() else { return };
        match ring::send(&mut ring, &self.buffer, &mut self.messages, socket) {
            Ok(()) => self.ring = Some(ring),
            Err(error) => tracing::warn!(%error, "io_uring failed, messages are sent one by one"),
        }
    }

    /// Forgets all messages; tells `each` what became of one, in the order they were posted.
    pub fn settle(&mut self, mut each: impl FnMut(Delivered<'_>)) {
        for message in self.messages.drain(..) {
            each(Delivered::new(message, &self.buffer));
        }
        self.filled = 0;
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("messages", &self.messages).finish_non_exhaustive()
    }
}

// === impl Message ===

impl Message {
    fn bytes<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.start..self.start + self.length).unwrap_or_default()
    }
}

// === impl Outcome ===

impl Outcome {
    fn of(result: i32) -> Self {
        match usize::try_from(result) {
            Ok(bytes) => Self::Sent(bytes),
            Err(_) => Self::Failed(result.saturating_neg()),
        }
    }
}

// === impl Delivered ===

impl<'a> Delivered<'a> {
    fn new(message: Message, buffer: &'a [u8]) -> Self {
        let bytes = message.bytes(buffer);
        let tried = message.outcome != Outcome::Unknown;
        let error = match message.outcome {
            Outcome::Failed(code) => Some(io::Error::from_raw_os_error(code)),
            Outcome::Sent(_) | Outcome::Unknown => None,
        };
        let sent = if let Outcome::Sent(sent) = message.outcome { sent } else { 0 };
        let left = bytes.get(sent..).unwrap_or_default();
        Self { token: message.token, bytes, left, tried, error }
    }

    /// Whether sending failed, for more than want of room; sending again says how.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests;
