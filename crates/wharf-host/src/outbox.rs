//! Messages to many sockets, sent by one system call.
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
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, types};

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
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The kernel has not said anything of it.
    Unknown,
    Sent(usize),
    Failed,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// As it was posted.
    pub token: u64,
    /// What the socket had no room for.
    pub left: &'a [u8],
    /// Whether sending failed; sending again says how.
    pub failed: bool,
}

// === impl Outbox ===

impl Outbox {
    /// An outbox with a ring, or one that takes no messages where io_uring is not to be had: switched
    /// off (`kernel.io_uring_disabled`), filtered, or too old.
    #[must_use]
    pub fn new() -> Self {
        let ring = ring().inspect_err(|error| tracing::debug!(%error, "no io_uring"));
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
        let fits = length <= LONGEST && self.filled + length <= ROOM;
        if self.ring.is_none() || !fits || self.messages.len() >= MOST {
            return false;
        }
        let outcome = Outcome::Unknown;
        self.messages.push(Message { token, start: self.filled, length, outcome });
        self.filled += length;
        true
    }

    /// Sends what waits to the sockets that `socket` knows, without waiting for any of them.
    pub fn deliver<'fd>(&mut self, socket: impl Fn(u64) -> Option<BorrowedFd<'fd>>) {
        // A ring that failed is not put back: what is still in it must never be sent.
        let Some(mut ring) = self.ring.take() else { return };
        match send(&mut ring, &self.buffer, &mut self.messages, socket) {
            Ok(()) => self.ring = Some(ring),
            Err(error) => tracing::warn!(%error, "io_uring failed, messages are sent one by one"),
        }
    }

    /// Forgets all messages; tells `each` what became of one, in the order they were posted.
    pub fn settle(&mut self, mut each: impl FnMut(Delivered<'_>)) {
        for message in self.messages.drain(..) {
            let sent = if let Outcome::Sent(bytes) = message.outcome { bytes } else { 0 };
            let end = message.start + message.length;
            let left = self.buffer.get(message.start + sent..end).unwrap_or_default();
            let failed = message.outcome == Outcome::Failed;
            each(Delivered { token: message.token, left, failed });
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

/// A ring that can send, and do nothing else.
fn ring() -> io::Result<IoUring> {
    let entries = u32::try_from(MOST).unwrap_or(u32::MAX);
    let ring = IoUring::builder().setup_r_disabled().build(entries)?;
    ring.submitter().register_restrictions(&mut [Restriction::sqe_op(opcode::Send::CODE)])?;
    ring.submitter().register_enable_rings()?;
    Ok(ring)
}

/// Sends all `messages` whose sockets there are, and notes what became of them.
///
/// With `MSG_DONTWAIT` a request is done, one way or the other, when it has been submitted
/// (`REQ_F_NOWAIT`), so that waiting for it is a formality, and one without an answer was not sent.
#[expect(unsafe_code, reason = "what is put into a ring must live until it is done")]
fn send<'fd>(
    ring: &mut IoUring,
    buffer: &[u8],
    messages: &mut [Message],
    socket: impl Fn(u64) -> Option<BorrowedFd<'fd>>,
) -> io::Result<()> {
    let mut under_way = 0;
    for (nth, message) in (0u64..).zip(messages.iter()) {
        let Some(to) = socket(message.token) else { continue };
        let bytes = buffer.get(message.start..message.start + message.length).unwrap_or_default();
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(types::Fd(to.as_raw_fd()), bytes.as_ptr(), length)
            .flags(flags)
            .build()
            .user_data(nth);
        // SAFETY: `buffer` and the descriptors are borrowed until this function returns. It does not
        // before every request is done, except with an error, after which the ring is closed with
        // what was never submitted.
        // JUSTIFICATION: there is no safe way to put a request into a ring.
        unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
        under_way += 1;
    }
    while under_way > 0 {
        let submitted = ring.submit_and_wait(under_way);
        for done in ring.completion() {
            under_way = under_way.saturating_sub(1);
            let nth = usize::try_from(done.user_data()).unwrap_or(usize::MAX);
            if let Some(message) = messages.get_mut(nth) {
                message.outcome = Outcome::of(done.result());
            }
        }
        match submitted {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

// === impl Outcome ===

impl Outcome {
    fn of(result: i32) -> Self {
        match usize::try_from(result) {
            Ok(bytes) => Self::Sent(bytes),
            Err(_) if result == -libc::EAGAIN => Self::Sent(0),
            Err(_) => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
