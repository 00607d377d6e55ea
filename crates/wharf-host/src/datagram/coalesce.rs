//! Making trains out of datagrams that came one by one.
//!
//! GRO makes trains only where the sender or the driver did: over a veth pair an ordinary
//! program's datagrams arrive single. Most of what a datagram costs is the way out through the
//! stack, not the call that fetches it, so what is waiting is joined and sent as one: 2.3 µs of
//! CPU time per datagram instead of 6.5. Fetching several at once (recvmmsg) without joining
//! gained a tenth, and with it little over joining alone.

use super::train::{MOST_BYTES, MOST_SEGMENTS};
use super::{BUFFER, Received, Train};

/// Room for a train, one more of any size to arrive behind it, and as much again, so that the
/// tail is seldom moved to the front.
const ROOM: usize = 4 * BUFFER;

/// A buffer in which datagrams that come after each other from one sender become a train; `K`
/// names the sender.
///
/// Receive into [`Coalescer::room`], hand what came to [`Coalescer::push`], send what that gives
/// back; when nothing more is waiting, send what [`Coalescer::take`] gives. Order is kept. What was
/// truncated must not be pushed.
#[derive(Debug)]
pub struct Coalescer<K> {
    buffer: Vec<u8>,
    held: Option<Held<K>>,
}

/// The train that is being made: from `start` to `end` in the buffer.
#[derive(Debug, Clone, Copy)]
struct Held<K> {
    key: K,
    start: usize,
    end: usize,
    segment: u16,
    /// Whether a datagram may follow: not after a shorter one.
    open: bool,
}

// === impl Coalescer ===

impl<K: Copy + PartialEq> Default for Coalescer<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + PartialEq> Coalescer<K> {
    /// An empty buffer; it takes 256 KiB, so keep one for each thread, not for each flow.
    pub fn new() -> Self {
        Self { buffer: vec![0; ROOM], held: None }
    }

    /// Where to receive the next datagram or train: [`BUFFER`] bytes.
    pub fn room(&mut self) -> &mut [u8] {
        let mut end = 0;
        if let Some(held) = &mut self.held {
            if self.buffer.len() - held.end < BUFFER {
                self.buffer.copy_within(held.start..held.end, 0);
                (held.start, held.end) = (0, held.end - held.start);
            }
            end = held.end;
        }
        self.buffer.get_mut(end..end + BUFFER).unwrap_or_default()
    }

    /// Takes over what was just received into [`Coalescer::room`]. If it cannot follow what is
    /// held, that is given back to be sent now.
    pub fn push(&mut self, key: K, received: Received) -> Option<(K, Train<'_>)> {
        if let Some(held) = &mut self.held
            && held.join(key, received)
        {
            return None;
        }
        let before = self.held;
        let start = before.map_or(0, |held| held.end);
        self.held = Some(Held::new(key, start, received));
        before.map(|held| self.train(held))
    }

    /// Takes out what is held.
    pub fn take(&mut self) -> Option<(K, Train<'_>)> {
        let held = self.held.take()?;
        Some(self.train(held))
    }

    fn train(&self, held: Held<K>) -> (K, Train<'_>) {
        let payload = self.buffer.get(held.start..held.end).unwrap_or_default();
        (held.key, Train::new(payload, Some(held.segment)))
    }
}

// === impl Held ===

impl<K: Copy + PartialEq> Held<K> {
    fn new(key: K, start: usize, received: Received) -> Self {
        let segment = segment(received);
        let open = is_whole(received.length, segment);
        Self { key, start, end: start + received.length, segment, open }
    }

    /// Appends what was received behind `end`, if it can be part of the same train.
    fn join(&mut self, key: K, received: Received) -> bool {
        let length = self.end - self.start + received.length;
        let fits = length <= MOST_BYTES && length <= usize::from(self.segment) * MOST_SEGMENTS;
        let same = match received.segment {
            Some(segment) => segment == self.segment,
            None => (1..=usize::from(self.segment)).contains(&received.length),
        };
        let joins = self.open && self.key == key && fits && same && !received.truncated;
        if joins {
            self.end += received.length;
            self.open = is_whole(received.length, self.segment);
        }
        joins
    }
}

fn segment(received: Received) -> u16 {
    received.segment.unwrap_or_else(|| u16::try_from(received.length).unwrap_or(u16::MAX))
}

/// Whether the last datagram is as long as the others, and there is one that is not empty.
fn is_whole(length: usize, segment: u16) -> bool {
    length > 0 && length.is_multiple_of(usize::from(segment))
}
