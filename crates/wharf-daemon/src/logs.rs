//! A container's log as a stream of output: from the files the shim writes.
//!
//! An entry of the log may be a piece of a line; what is promised here is about lines.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use wharf_api::frame::Frame;

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::Phase;

mod files;
mod lines;
mod reader;

pub(crate) use files::Files;
use reader::Reader;

/// Frames waiting for a slow reader; the log itself is on disk, so nothing is lost meanwhile.
const QUEUE: usize = 64;
/// A follower looks for more this often at first, and at most this seldom when nothing comes.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);

/// What to show of a log.
#[derive(Debug)]
pub(crate) struct LogQuery {
    /// The log's files.
    pub(crate) files: Files,
    /// Go on until the container ends.
    pub(crate) follow: bool,
    /// Only this many lines from the end.
    pub(crate) tail: Option<usize>,
    /// Put the time in front of each line.
    pub(crate) timestamps: bool,
    /// Only lines that began at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Only lines that began at this time or before.
    pub(crate) until: Option<Timestamp>,
}

/// How a container ended, as soon as it has: `None` while it runs.
pub(crate) type Ending = watch::Receiver<Option<i32>>;

// === impl Daemon ===

impl Daemon {
    /// A container's output so far, and how to learn of its end.
    pub(crate) fn log(&self, name: &str) -> Result<(Files, Ending)> {
        let id = self.id_of(name)?;
        let record = self.ledger.container(&id)?;
        let files = Files::open(self.paths.container(&id))?;
        let ending = match record.phase {
            Phase::Running | Phase::Starting => self.ending(&id)?,
            _ => watch::Sender::new(Some(0)).subscribe(),
        };
        Ok((files, ending))
    }
}

/// Streams the log; `ending` tells when there will be no more of it.
pub(crate) fn stream(query: LogQuery, ending: Ending) -> mpsc::Receiver<Bytes> {
    let (sink, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = pump(query, ending, &sink).await {
            // The reader may have left, which is not worth a word.
            let _sent = sink.send(Frame::Failure(error.to_string()).encode()).await;
        }
    });
    receiver
}

async fn pump(query: LogQuery, mut ending: Ending, sink: &mpsc::Sender<Bytes>) -> Result<()> {
    let LogQuery { follow, tail, until, .. } = query;
    // Taken before reading: what was written before the end is then certain to be read.
    let mut ended = ending.borrow_and_update().is_some();
    let mut reader = Reader::open(query, sink).await?;
    match tail {
        Some(count) => reader.send_tail(count).await?,
        None => reader.send_new().await?,
    };
    let mut pause = POLL_MIN;
    while follow && !ended && !reader.is_done() {
        let over = until.is_some_and(|until| until < Timestamp::now());
        tokio::select! {
            changed = ending.changed() => {
                ended = changed.is_err() || ending.borrow_and_update().is_some();
            }
            () = tokio::time::sleep(pause) => {}
            () = sink.closed() => return Ok(()),
        }
        let found = reader.send_new().await?;
        pause = if found { POLL_MIN } else { (pause * 2).min(POLL_MAX) };
        ended |= over;
    }
    Ok(())
}

fn failed() -> impl FnOnce(std::io::Error) -> Error {
    Error::io("read the container's log")
}

#[cfg(test)]
mod tests;
