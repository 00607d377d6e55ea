//! What clients write, on its way to a container's standard input.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::{Buf, Bytes};
use rustix::io::Errno;

/// With more than this waiting, clients are not listened to.
const WAITING_LIMIT: usize = 64 << 10;

/// Standard input of a container.
#[derive(Debug)]
pub(super) struct Input {
    /// `None` once it has ended.
    fd: Option<OwnedFd>,
    waiting: VecDeque<Bytes>,
    size: usize,
    ends: Ends,
    ending: bool,
}

/// Whether a client can end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Everybody who feeds it can.
    WithClient,
    /// It stays open for the next one.
    Never,
}

// === impl Input ===

impl Input {
    pub(super) fn new(fd: OwnedFd, ends: Ends) -> Self {
        Self { fd: Some(fd), waiting: VecDeque::new(), size: 0, ends, ending: false }
    }

    /// What to wait for until more can be written, if there is something to write.
    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| self.size > 0).map(AsFd::as_fd)
    }

    /// Whether nothing more should be put in for now.
    pub(super) fn is_full(&self) -> bool {
        self.size > WAITING_LIMIT
    }

    /// Takes bytes; those for an input that has ended are nobody's, as in a closed pipe.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.fd.is_some() && !self.ending && !bytes.is_empty() {
            self.size += bytes.len();
            self.waiting.push_back(bytes);
            self.write();
        }
    }

    /// A client has no more to say.
    pub(super) fn end(&mut self) {
        if self.ends == Ends::WithClient {
            self.ending = true;
            self.write();
        }
    }

    /// Writes as much as goes in.
    pub(super) fn write(&mut self) {
        while let (Some(fd), Some(first)) = (&self.fd, self.waiting.front_mut()) {
            match rustix::io::write(fd, first) {
                Ok(count) => {
                    self.size -= count;
                    first.advance(count);
                    if first.is_empty() {
                        self.waiting.pop_front();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The container has closed it.
                Err(_) => self.forget(),
            }
        }
        if self.ending {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.fd = None;
        self.waiting.clear();
        self.size = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(ends: Ends) -> (Input, OwnedFd) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        for end in [&read, &write] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        (Input::new(write, ends), read)
    }

    fn read(from: &OwnedFd) -> Result<usize, Errno> {
        rustix::io::read(from, &mut vec![0; 1 << 20])
    }

    #[test]
    fn what_does_not_go_in_waits_and_the_end_comes_last() {
        let (mut input, pipe) = input(Ends::WithClient);
        let piece = Bytes::from(vec![7; 100 << 10]);
        input.push(piece.clone());
        input.push(piece);
        input.end();
        assert!(input.is_full() && input.waits_for().is_some());
        let mut count = 0;
        while let Ok(more @ 1..) = read(&pipe) {
            count += more;
            input.write();
        }
        assert_eq!(count, 200 << 10);
        assert_eq!(read(&pipe), Ok(0), "it has ended");
        assert!(!input.is_full() && input.waits_for().is_none());
    }

    #[test]
    fn one_that_stays_open_does() {
        let (mut input, pipe) = input(Ends::Never);
        input.push(Bytes::from_static(b"x"));
        input.end();
        input.push(Bytes::from_static(b"y"));
        assert_eq!(read(&pipe), Ok(2));
        assert_eq!(read(&pipe), Err(Errno::AGAIN));
    }

    #[test]
    fn nothing_is_kept_for_a_program_that_has_closed_it() {
        let (mut input, pipe) = input(Ends::Never);
        drop(pipe);
        input.push(Bytes::from(vec![0; 1 << 20]));
        assert!(!input.is_full() && input.waits_for().is_none());
        input.push(Bytes::from_static(b"more"));
        assert!(input.waits_for().is_none());
    }
}
