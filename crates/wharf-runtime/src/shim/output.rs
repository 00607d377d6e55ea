//! Carries what a container writes into its log, and to the clients that are attached.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::io::Errno;
use wharf_spec::frame::Frame;

use crate::error::Result;
use crate::log::{Limits, Splitter, Stream, files};
use crate::shim::client::Client;

/// A pipe's whole content at once.
const BUFFER: usize = 64 << 10;
/// What has no end of line is logged this long after it came: a prompt or a progress bar is meant
/// to be seen, and a line written in pieces at once is still one entry.
const PARTIAL_DELAY: Duration = Duration::from_millis(50);

/// One stream on its way out.
#[derive(Debug)]
struct Source {
    fd: OwnedFd,
    stream: Stream,
    splitter: Splitter,
    /// When to log the beginning of a line without waiting for its end.
    due: Option<Instant>,
}

/// The log of a container, if it has one, and the streams that fill it.
#[derive(Debug)]
pub(super) struct Output {
    log: Option<files::Writer>,
    sources: Vec<Source>,
    buffer: Vec<u8>,
}

// === impl Output ===

impl Output {
    /// Opens the log in `dir` for appending.
    pub(super) fn open(
        dir: &Path,
        limits: Limits,
        sources: Vec<(OwnedFd, Stream)>,
    ) -> Result<Self> {
        let log = Some(files::Writer::open(dir, limits)?);
        Ok(Self { log, ..Self::without_log(sources) })
    }

    /// Output that only clients see.
    pub(super) fn without_log(sources: Vec<(OwnedFd, Stream)>) -> Self {
        let source =
            |(fd, stream)| Source { fd, stream, splitter: Splitter::new(stream), due: None };
        let sources = sources.into_iter().map(source).collect();
        Self { log: None, sources, buffer: vec![0; BUFFER] }
    }

    /// What to wait for.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().map(|source| source.fd.as_fd())
    }

    /// How long to wait for more at most; `None` when nothing else is to be done.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let due = self.sources.iter().filter_map(|source| source.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Whether there is no more to come.
    pub(super) fn has_ended(&self) -> bool {
        self.sources.is_empty()
    }

    /// Reads what every stream has now, and forgets those that have ended.
    pub(super) fn read(&mut self, clients: &mut [Client]) {
        let Self { log, sources, buffer } = self;
        sources.retain_mut(|source| source.read(log.as_mut(), clients, buffer));
    }

    /// Logs beginnings of lines that have waited long enough for their end.
    pub(super) fn flush_due(&mut self) {
        let now = Instant::now();
        for source in &mut self.sources {
            if source.due.is_some_and(|due| due <= now) {
                source.flush(self.log.as_mut());
            }
        }
    }

    /// Takes what is there of the streams that have not ended, and forgets them.
    pub(super) fn close(&mut self, clients: &mut [Client]) {
        self.read(clients);
        for mut source in std::mem::take(&mut self.sources) {
            source.end(self.log.as_mut());
        }
        if let Some(log) = &mut self.log {
            log.sync();
        }
    }
}

// === impl Source ===

impl Source {
    /// Reads once; `false` at the end. One read leaves the other stream its turn.
    fn read(
        &mut self,
        log: Option<&mut files::Writer>,
        clients: &mut [Client],
        buffer: &mut [u8],
    ) -> bool {
        match rustix::io::read(&self.fd, &mut *buffer) {
            Err(Errno::AGAIN | Errno::INTR) => true,
            // A terminal that nobody has open any more is an input/output error.
            Ok(0) | Err(_) => {
                self.end(log);
                false
            }
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                self.show(bytes, clients);
                self.log(bytes, log);
                true
            }
        }
    }

    fn show(&self, bytes: &[u8], clients: &mut [Client]) {
        if clients.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(bytes);
        let frame = match self.stream {
            Stream::Stdout => Frame::Stdout(bytes),
            Stream::Stderr => Frame::Stderr(bytes),
        };
        let frame = frame.encode();
        for client in clients {
            client.show(self.stream, &frame);
        }
    }

    fn log(&mut self, bytes: &[u8], log: Option<&mut files::Writer>) {
        let Some(log) = log else { return };
        let entries = self.splitter.push(bytes, Timestamp::now());
        log.write(&entries);
        self.plan(!entries.is_empty());
    }

    fn flush(&mut self, log: Option<&mut files::Writer>) {
        if let Some(log) = log {
            log.write(&self.splitter.flush_whole(Timestamp::now()));
        }
        self.plan(true);
    }

    fn end(&mut self, log: Option<&mut files::Writer>) {
        if let Some(log) = log {
            log.write(&self.splitter.flush(Timestamp::now()));
        }
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
