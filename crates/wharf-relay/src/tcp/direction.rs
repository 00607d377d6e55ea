//! Bytes one way between two sockets.
//!
//! Small messages are read into one buffer of the loop and written at once, or with those of others
//! that are ready; an idle direction has no buffer. A stream that keeps filling the buffer is spliced: its bytes go through a pipe, by
//! reference. What the receiver cannot take waits, in the pipe or in a buffer of its own, and
//! nothing more is read until it has gone.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::{SpliceFlags, splice};

use crate::limits::{Budget, Share};
use crate::poller::Ready;
use crate::stats::Count;
use crate::tcp::copier::{BUFFER, Copier, Windows};
use crate::tcp::near;
use crate::tcp::pipes::Pipe;

#[cfg(test)]
mod tests;

/// What may be read for a slow receiver when the bytes that wait in all are at their limit.
const LITTLE: usize = 4 << 10;
/// Bytes of one direction before the other connections of the loop get their turn.
const TURN: usize = 1 << 20;
/// So many full buffers in a row make a stream.
const STREAM_AFTER: u8 = 2;
/// Splicing less than this at a time is slower than copying; so often in a row ends it.
const SPLICE_PAYS: usize = 16 << 10;
const SPLICE_TRIES: u8 = 8;
/// So many bytes of a stream later its window is bounded anew, as the kernel lets it grow: soon at
/// first, then every 16 MiB.
const BOUND_FIRST: usize = 1 << 20;
const BOUND_EVERY: usize = 16 << 20;
/// More than any pipe holds.
const SPLICE_MOST: usize = 1 << 20;

/// No `SPLICE_F_MORE`: it would hold the last bytes of a message back for 200 ms, like a cork.
const SPLICE: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// There may be something to read.
    readable: bool,
    /// A short read does not mean that there is nothing left.
    short_reads_lie: bool,
    over: bool,
    /// What comes is the last before a reset, which would take held back bytes with it.
    resets: bool,
    streams: bool,
    /// Full reads in a row while copying, meagre ones while splicing.
    run: u8,
    /// Bytes to be read before the window is bounded anew, and so many the last time.
    bounded_for: usize,
    bounded_last: usize,
    rest: Rest,
    /// Whether anything was read or written since somebody asked.
    moved: bool,
    /// Whether anything was ever there to be sent.
    begun: bool,
    /// Whether the pipe has been filled or has lost something since somebody asked.
    flows: bool,
}

/// What was read and not yet written.
#[derive(Debug, Default)]
enum Rest {
    #[default]
    Nothing,
    Bytes {
        bytes: Box<[u8]>,
        written: usize,
        _share: Option<Share>,
    },
    Pipe(Pipe),
    /// In the loop's outbox, until the events of this turn have been served.
    Posted,
    /// With another loop, which sends it.
    Away,
}

/// How far a direction got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It waits for one of the sockets.
    Waiting,
    /// It would have gone on.
    Unfinished,
    /// The sender is done, and all it sent is written.
    Over,
}

enum Moved {
    Some(usize),
    Nothing,
    End,
}

// === impl Direction ===

impl Direction {
    /// Notes an event of the socket read from.
    pub(super) fn note(&mut self, ready: Ready) {
        self.readable |= ready.readable();
        self.short_reads_lie |= ready.short_reads_lie();
    }

    /// Makes the next run read, whatever events said: a reset comes after bytes that count.
    pub(super) fn read_what_is_left(&mut self) {
        (self.readable, self.short_reads_lie, self.streams) = (true, true, false);
        self.resets = true;
    }

    /// Puts bytes ahead of what will be read.
    pub(super) fn prefix(&mut self, bytes: Vec<u8>) {
        let bytes = bytes.into_boxed_slice();
        self.rest = Rest::Bytes { bytes, written: 0, _share: None };
        self.begun = true;
    }

    /// Whether it is a stream: large, and as fast as the sockets let it be.
    pub(super) fn streams(&self) -> bool {
        self.streams
    }

    /// Whether anything was ever there to be sent.
    pub(super) fn has_begun(&self) -> bool {
        self.begun || self.over
    }

    /// Whether nothing of it is anywhere but in the sockets.
    pub(super) fn rests(&self) -> bool {
        !self.streams && !self.over && matches!(self.rest, Rest::Nothing)
    }

    /// Whether the sender is done and everything is written.
    pub(super) fn is_over(&self) -> bool {
        self.over && matches!(self.rest, Rest::Nothing)
    }

    /// Whether anything was read or written since the last call.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Moves what can be moved now. Bytes are counted before they are written, so that whoever
    /// has received them finds them counted.
    pub(super) fn run(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        copier: &mut Copier,
        count: &Count,
    ) -> io::Result<Progress> {
        let mut moved = 0;
        loop {
            if !self.flush(to, copier)? {
                return Ok(Progress::Waiting);
            }
            if self.over {
                return Ok(Progress::Over);
            }
            if !self.readable {
                return Ok(Progress::Waiting);
            }
            if moved >= TURN {
                return Ok(Progress::Unfinished);
            }
            match self.read(from, to, copier, count)? {
                Moved::Some(bytes) => moved += bytes,
                Moved::Nothing => self.readable = false,
                Moved::End => self.over = true,
            }
        }
    }

    fn read(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        copier: &mut Copier,
        count: &Count,
    ) -> io::Result<Moved> {
        if self.streams {
            match copier.pipes.take() {
                Some(pipe) => return self.splice(from, to, pipe, copier, count),
                None => self.streams = false,
            }
        }
        self.copy(from, to, copier, count)
    }

    fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        copier: &mut Copier,
        count: &Count,
    ) -> io::Result<Moved> {
        let room = if copier.is_crowded() { LITTLE } else { BUFFER };
        let room = copier.outbox.room().get_mut(..room).unwrap_or_default();
        let asked = room.len();
        let mut read = match receive(from, room)? {
            Moved::Some(read) => read,
            nothing => return Ok(nothing),
        };
        let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut failed = None;
        if read < asked && !self.short_reads_lie {
            self.readable = false;
        } else if let Some(rest) = room.get_mut(read..).filter(|rest| !rest.is_empty()) {
            // Most likely the end is next: then it travels with these bytes, in one packet.
            match receive(from, rest) {
                Ok(Moved::End) => {
                    self.over = true;
                    if !self.resets {
                        flags |= SendFlags::MORE;
                    }
                }
                Ok(Moved::Some(more)) => read += more,
                Ok(Moved::Nothing) => {}
                // Told once; asking again would say that all is over.
                Err(error) => failed = Some(error),
            }
        }
        self.run = if read == asked { self.run + 1 } else { 0 };
        if self.run >= STREAM_AFTER {
            (self.streams, self.run) = (true, 0);
            self.bound_window(from, BUFFER, copier.windows == Windows::Always);
        }
        self.note_moved(read, count);
        // Only what was all there was: what follows has to find its place behind it.
        if !self.readable && !self.over && copier.post(read) {
            self.rest = Rest::Posted;
            return Ok(Moved::Some(read));
        }
        let bytes = copier.outbox.bytes(read);
        let written = send(to, bytes, flags)?;
        if written < read {
            let bytes = bytes.get(written..).unwrap_or_default().into();
            let share = copier.waiting.take(read - written);
            self.rest = Rest::Bytes { bytes, written: 0, _share: share };
        }
        failed.map_or(Ok(Moved::Some(read)), Err)
    }

    fn splice(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        mut pipe: Pipe,
        copier: &mut Copier,
        count: &Count,
    ) -> io::Result<Moved> {
        match splice(from, None, &pipe.writer, None, SPLICE_MOST, SPLICE) {
            // Splicing never gets past urgent bytes, and takes them for the end, also those that came
            // after the last event.
            Ok(0) => self.stop_splicing(from, to, pipe, copier, count),
            Err(Errno::AGAIN | Errno::INTR) if self.short_reads_lie => {
                self.stop_splicing(from, to, pipe, copier, count)
            }
            Ok(read) => {
                self.run = if read < SPLICE_PAYS { self.run + 1 } else { 0 };
                if self.run >= SPLICE_TRIES {
                    (self.streams, self.run) = (false, 0);
                }
                self.note_moved(read, count);
                self.bound_window(from, read, copier.windows == Windows::Always);
                pipe.length = read;
                self.flows = true;
                self.rest = Rest::Pipe(pipe);
                Ok(Moved::Some(read))
            }
            // The pipe is empty, so it is the socket that has nothing.
            Err(Errno::AGAIN | Errno::INTR) => {
                copier.pipes.put(pipe);
                self.bound_window(from, 0, copier.windows != Windows::Never);
                Ok(Moved::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes note of what a stream has brought; bounds its window when that is due.
    fn bound_window(&mut self, from: BorrowedFd<'_>, read: usize, now: bool) {
        self.bounded_for = self.bounded_for.saturating_sub(read);
        if self.bounded_for == 0 && now {
            self.bounded_last = (self.bounded_last * 2).clamp(BOUND_FIRST, BOUND_EVERY);
            self.bounded_for = self.bounded_last;
            near::bound_window(from);
        }
    }

    fn stop_splicing(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        pipe: Pipe,
        copier: &mut Copier,
        count: &Count,
    ) -> io::Result<Moved> {
        copier.pipes.put(pipe);
        self.streams = false;
        self.copy(from, to, copier, count)
    }

    /// Has what waits in a pipe wait in memory, if there is room for it and nothing of it has gone
    /// since the last call: its receiver does not read, and all receivers that do not would hold all
    /// pipes.
    pub(super) fn give_pipe_back(&mut self, copier: &mut Copier) -> io::Result<()> {
        let flows = std::mem::take(&mut self.flows);
        let Rest::Pipe(pipe) = &mut self.rest else { return Ok(()) };
        if flows {
            return Ok(());
        }
        let Some(share) = copier.waiting.take(pipe.length) else { return Ok(()) };
        let bytes = pipe.read_out()?;
        let rest = Rest::Bytes { bytes, written: 0, _share: Some(share) };
        if let Rest::Pipe(pipe) = std::mem::replace(&mut self.rest, rest) {
            copier.pipes.put(pipe);
        }
        self.streams = false;
        Ok(())
    }

    /// Whether there is something to be read, or left to be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.readable || !matches!(self.rest, Rest::Nothing)
    }

    /// Notes that what is in the outbox goes to another loop.
    pub(super) fn hand_on(&mut self) {
        self.rest = Rest::Away;
    }

    /// Whether another loop is sending something of it.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.rest, Rest::Away)
    }

    /// Whether something of it is in the outbox.
    pub(super) fn is_posted(&self) -> bool {
        matches!(self.rest, Rest::Posted)
    }

    /// Takes back what the outbox could not send.
    pub(super) fn take_back(&mut self, left: &[u8], waiting: &Arc<Budget>) {
        self.rest = match left {
            [] => Rest::Nothing,
            left => {
                let _share = waiting.take(left.len());
                Rest::Bytes { bytes: left.into(), written: 0, _share }
            }
        };
    }

    fn note_moved(&mut self, bytes: usize, count: &Count) {
        count.add(bytes);
        (self.moved, self.begun) = (true, true);
    }

    /// Writes what waits; answers whether all of it is gone.
    fn flush(&mut self, to: BorrowedFd<'_>, copier: &mut Copier) -> io::Result<bool> {
        let before = self.rest.length();
        let all = match &mut self.rest {
            Rest::Nothing => return Ok(true),
            Rest::Posted | Rest::Away => return Ok(false),
            Rest::Bytes { bytes, written, .. } => {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                *written += send(to, bytes.get(*written..).unwrap_or_default(), flags)?;
                *written >= bytes.len()
            }
            Rest::Pipe(pipe) => drain(pipe, to)?,
        };
        let gone = self.rest.length() < before;
        (self.moved, self.flows) = (self.moved | gone, self.flows | gone);
        if all && let Rest::Pipe(pipe) = std::mem::take(&mut self.rest) {
            copier.pipes.put(pipe);
        }
        Ok(all)
    }
}

// === impl Rest ===

impl Rest {
    fn length(&self) -> usize {
        match self {
            Self::Nothing | Self::Posted | Self::Away => 0,
            Self::Bytes { bytes, written, .. } => bytes.len().saturating_sub(*written),
            Self::Pipe(pipe) => pipe.length,
        }
    }
}

/// Receives without waiting.
fn receive(from: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Moved> {
    match rustix::net::recv(from, room, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Ok(Moved::End),
        Ok((read, _)) => Ok(Moved::Some(read)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Sends without waiting; answers how much went.
fn send(to: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
    match rustix::net::send(to, bytes, flags) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Empties a pipe into a socket; answers whether it is empty.
fn drain(pipe: &mut Pipe, to: BorrowedFd<'_>) -> io::Result<bool> {
    while pipe.length > 0 {
        match splice(&pipe.reader, None, to, None, pipe.length, SPLICE) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => pipe.length = pipe.length.saturating_sub(sent),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}
