//! One client attached to a container: frames of output to it, frames of input from it, and no
//! waiting for either.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rustix::event::PollFlags;
use wharf_spec::frame::Frame;

use crate::log::Stream;
use crate::shim::wire::Attach;

/// With more than this waiting for a client, the container is not read from.
const WAITING_LIMIT: usize = 256 << 10;
const PIECE: usize = 64 << 10;

/// An attached client.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    pub(super) wants: Attach,
    inbox: BytesMut,
    outbox: VecDeque<Bytes>,
    waiting: usize,
    /// Since when it has taken nothing of more than it should leave.
    full_since: Option<Instant>,
    /// It says nothing more.
    silent: bool,
    /// It hears nothing more.
    deaf: bool,
    /// It is to be forgotten, whatever it still says.
    left: bool,
}

// === impl Client ===

impl Client {
    pub(super) fn new(stream: UnixStream, wants: Attach) -> Self {
        Self {
            stream,
            wants,
            inbox: BytesMut::new(),
            outbox: VecDeque::new(),
            waiting: 0,
            full_since: None,
            silent: false,
            deaf: false,
            left: false,
        }
    }

    /// What to wait for; nothing at times.
    pub(super) fn waits_for(&self, listened_to: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, listened_to && !self.silent);
        flags.set(PollFlags::OUT, self.waiting > 0 && !self.deaf);
        (!flags.is_empty()).then(|| (self.stream.as_fd(), flags))
    }

    /// Whether it takes its output too slowly to be given more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting > WAITING_LIMIT
    }

    /// Whether it has taken all there was for it, or never will.
    pub(super) fn is_served(&self) -> bool {
        self.waiting == 0 || self.deaf
    }

    /// When it will have been full for `limit`.
    pub(super) fn stalls_at(&self, limit: Duration) -> Option<Instant> {
        self.full_since.map(|since| since + limit)
    }

    /// Whether there is nothing more to be had of it.
    pub(super) fn is_gone(&self) -> bool {
        self.left || (self.silent && self.inbox.is_empty())
    }

    /// Forgets it.
    pub(super) fn leave(&mut self) {
        self.left = true;
    }

    /// Takes output, if it wants that stream's.
    pub(super) fn show(&mut self, stream: Stream, frame: &Bytes) {
        let wanted = match stream {
            Stream::Stdout => self.wants.stdout,
            Stream::Stderr => self.wants.stderr,
        };
        if wanted {
            self.push(frame.clone());
        }
    }

    /// Takes a frame.
    pub(super) fn push(&mut self, frame: Bytes) {
        if !self.deaf {
            self.waiting += frame.len();
            self.outbox.push_back(frame);
            self.write();
        }
    }

    /// Writes what it takes now; gives how much that was.
    pub(super) fn write(&mut self) -> usize {
        let mut written = 0;
        while let Some(first) = self.outbox.front_mut() {
            match self.stream.write(first) {
                Ok(count) => {
                    written += count;
                    first.advance(count);
                    if first.is_empty() {
                        self.outbox.pop_front();
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.deaf = true;
                    self.outbox.clear();
                }
            }
        }
        self.waiting -= written;
        if self.deaf {
            self.waiting = 0;
        }
        self.full_since = match self.full_since {
            _ if !self.is_full() => None,
            Some(since) if written == 0 => Some(since),
            _ => Some(Instant::now()),
        };
        written
    }

    /// Reads what it says now.
    pub(super) fn read(&mut self) {
        let mut buffer = [0; PIECE];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end(),
            Ok(count) => self.inbox.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.end(),
        }
    }

    /// The next frame that has arrived whole. What is none ends the connection.
    pub(super) fn next(&mut self) -> Option<Frame> {
        match Frame::decode(&mut self.inbox) {
            Ok(Some(frame)) => Some(frame),
            // Half a frame will not be completed any more.
            Ok(None) if self.silent => {
                self.inbox.clear();
                None
            }
            Ok(None) => None,
            Err(_) => {
                self.leave();
                None
            }
        }
    }

    fn end(&mut self) {
        self.silent = true;
    }
}
