//! A bounded pool of pipes, for splicing. A pipe is lent only while bytes are in it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::limits::{Budget, Share};

/// The most that every user may have. The larger the pipe, the fewer packets wake a receiver: with
/// `cargo xtask bench relay --against`, 256 KiB carried some 8 % less and 64 KiB some 20 % less.
const SIZE: usize = 1 << 20;

/// A pipe and how much is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) reader: OwnedFd,
    pub(super) writer: OwnedFd,
    pub(super) length: usize,
    _descriptors: Share,
    _place: Share,
}

/// The pool of one loop.
#[derive(Debug)]
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    places: Arc<Budget>,
    descriptors: Arc<Budget>,
}

// === impl Pipe ===

impl Pipe {
    /// Takes what is in it out.
    pub(super) fn read_out(&mut self) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; self.length];
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.reader, &mut *rest))?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.length -= read;
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(bytes.into())
    }
}

// === impl Pipes ===

impl Pipes {
    /// A pool that shares `places` with the pools of the other loops.
    pub(super) fn new(places: Arc<Budget>, descriptors: Arc<Budget>) -> Self {
        Self { idle: Vec::new(), places, descriptors }
    }

    /// An empty pipe; `None` when all are in use or the system has no more.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        let place = self.places.take(1)?;
        let descriptors = self.descriptors.take(2)?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Refused when the user's pages for pipes are spent (`pipe-user-pages-soft`, 64 MiB): such
        // a pipe may hold no more than a page or two, and copying is faster.
        fcntl_setpipe_size(&writer, SIZE).ok()?;
        Some(Pipe { reader, writer, length: 0, _descriptors: descriptors, _place: place })
    }

    /// Takes a pipe back; one that holds bytes is closed, for they must not reach anyone else.
    pub(super) fn put(&mut self, pipe: Pipe) {
        if pipe.length == 0 {
            self.idle.push(pipe);
        }
    }

    /// Closes the pipes nobody uses.
    pub(super) fn shrink(&mut self) {
        self.idle.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_few_and_never_handed_on_with_bytes_in_them() {
        let descriptors = Arc::new(Budget::new(100));
        let mut pipes = Pipes::new(Arc::new(Budget::new(2)), Arc::clone(&descriptors));
        let (first, mut second) = (pipes.take().unwrap(), pipes.take().unwrap());
        assert!(pipes.take().is_none());
        assert_eq!(descriptors.used(), 4);
        pipes.put(first);
        second.length = 1;
        pipes.put(second);
        assert_eq!(descriptors.used(), 2);
        assert!(pipes.take().is_some());
        pipes.shrink();
        assert_eq!(descriptors.used(), 0);
    }
}
