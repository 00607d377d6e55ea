//! Carries what a container writes into its log.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::log::{self, Splitter, Stream};
use crate::shim::container::Outputs;

/// A pipe's whole content at once.
const BUFFER: usize = 64 << 10;
/// After the container's last process is gone its pipes hold what is left and then end; a process
/// elsewhere that got hold of one must not keep the shim.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// What has no end of line is logged this long after it came: a prompt or a progress bar is meant
/// to be seen, and a line written in pieces at once is still one entry.
const PARTIAL_DELAY: Duration = Duration::from_millis(50);

/// One stream on its way to the log.
#[derive(Debug)]
struct Pipe {
    fd: OwnedFd,
    splitter: Splitter,
    /// When to log the beginning of a line without waiting for its end.
    due: Option<Instant>,
}

/// The log of a container and the streams that fill it.
#[derive(Debug)]
pub(super) struct Output {
    log: File,
    pipes: Vec<Pipe>,
    buffer: Vec<u8>,
}

// === impl Output ===

impl Output {
    /// Opens the log in `dir` for appending.
    pub(super) fn open(dir: &Path, outputs: Outputs) -> Result<Self> {
        let path = dir.join(log::FILE);
        let log = File::options().create(true).append(true).mode(0o640).open(&path);
        let log = log.during(|| format!("open {}", path.display()))?;
        let pipe = |fd, stream| Pipe { fd, splitter: Splitter::new(stream), due: None };
        let pipes =
            vec![pipe(outputs.stdout, Stream::Stdout), pipe(outputs.stderr, Stream::Stderr)];
        Ok(Self { log, pipes, buffer: vec![0; BUFFER] })
    }

    /// What to wait for, in the order [`Output::read`] counts them.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|pipe| pipe.fd.as_fd())
    }

    /// How long to wait for more at most; `None` when nothing else is to be done.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let due = self.pipes.iter().filter_map(|pipe| pipe.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Reads what every pipe has now, and forgets those that have ended.
    pub(super) fn read(&mut self) {
        let Self { log, pipes, buffer } = self;
        pipes.retain_mut(|pipe| pipe.read(log, buffer));
    }

    /// Logs beginnings of lines that have waited long enough for their end.
    pub(super) fn flush_due(&mut self) {
        let now = Instant::now();
        for pipe in &mut self.pipes {
            if pipe.due.is_some_and(|due| due <= now) {
                pipe.flush(&mut self.log);
            }
        }
    }

    /// Reads to the end, or for as long as that may take.
    pub(super) fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        while !self.pipes.is_empty() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let mut fds: Vec<_> =
                self.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            let _again_on_interrupt = rustix::event::poll(&mut fds, Some(&timeout));
            self.read();
        }
        for mut pipe in std::mem::take(&mut self.pipes) {
            write(&mut self.log, &pipe.splitter.flush(Timestamp::now()));
        }
        let _reported_by_nobody = self.log.sync_data();
    }
}

// === impl Pipe ===

impl Pipe {
    /// Reads once; `false` at the end. One read leaves the other stream its turn.
    fn read(&mut self, log: &mut File, buffer: &mut [u8]) -> bool {
        match rustix::io::read(&self.fd, &mut *buffer) {
            Err(Errno::AGAIN | Errno::INTR) => true,
            Ok(0) | Err(_) => {
                write(log, &self.splitter.flush(Timestamp::now()));
                false
            }
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                let lines = self.splitter.push(bytes, Timestamp::now());
                write(log, &lines);
                self.plan(!lines.is_empty());
                true
            }
        }
    }

    fn flush(&mut self, log: &mut File) {
        write(log, &self.splitter.flush_whole(Timestamp::now()));
        self.plan(true);
    }

    /// What waits has waited since it came: a program that never pauses is seen, too.
    fn plan(&mut self, is_new: bool) {
        self.due = match self.due {
            _ if !self.splitter.is_pending() => None,
            Some(due) if !is_new => Some(due),
            _ => Some(Instant::now() + PARTIAL_DELAY),
        };
    }
}

/// A full disk loses lines; it must not stop the container, which would block on its output.
fn write(log: &mut File, lines: &[u8]) {
    let _lost = log.write_all(lines);
}
