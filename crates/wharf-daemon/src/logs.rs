//! A container's log as a stream of output: from the file the shim writes.
//!
//! An entry of the log may be a piece of a line; what is promised here is about lines.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader, SeekFrom};
use tokio::sync::{mpsc, watch};
use wharf_api::frame::Frame;
use wharf_runtime::log::{LogEntry, Stream};

use crate::error::{Error, Result};

/// Frames waiting for a slow reader; the log itself is on disk, so nothing is lost meanwhile.
const QUEUE: usize = 64;
/// A follower looks for more this often at first, and at most this seldom when nothing comes.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);
/// A line of the log is at most this long: the shim splits output at 16 KiB, and JSON may take six
/// bytes for one, and two more when the entry is not text.
const MAX_LINE: usize = 256 << 10;

/// What to show of a log.
#[derive(Debug)]
pub struct LogQuery {
    /// The log's file, opened for reading.
    pub file: std::fs::File,
    /// Leave out this many bytes of it: what earlier starts have written.
    pub skip: u64,
    /// Go on until the container ends.
    pub follow: bool,
    /// Only this many lines from the end.
    pub tail: Option<usize>,
    /// Put the time in front of each line.
    pub timestamps: bool,
    /// End with the exit code.
    pub with_exit: bool,
}

/// How a container ended, as soon as it has: `None` while it runs.
pub(crate) type Ending = watch::Receiver<Option<i32>>;

/// The log's file and how far it was read.
struct Reader {
    file: BufReader<File>,
    /// The end of the last whole line of the file.
    position: u64,
    /// A line of the file, or what is there of an unfinished one.
    line: Vec<u8>,
    lines: Lines,
}

/// Where in its lines each stream of output is.
#[derive(Debug, Clone, Copy, Default)]
struct Lines {
    stdout: Place,
    stderr: Place,
}

/// Where in a line a stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    Inside,
    /// Inside one that is not to be shown.
    LeftOut,
}

/// Streams the log; `ending` tells when there will be no more of it.
pub(crate) fn stream(query: LogQuery, ending: Ending) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = pump(&query, ending, &sender).await {
            // The reader may have left, which is not worth a word.
            let _sent = sender.send(Frame::Failure(error.to_string()).encode()).await;
        }
    });
    receiver
}

async fn pump(query: &LogQuery, mut ending: Ending, sink: &mpsc::Sender<Bytes>) -> Result<()> {
    // Taken before reading: what was written before the end is then certain to be read.
    let mut ended = *ending.borrow_and_update();
    let mut reader = Reader::open(query).await?;
    if let Some(count) = query.tail {
        reader.send_tail(count, query, sink).await?;
    } else {
        reader.send_new(query, sink).await?;
    }
    let mut pause = POLL_MIN;
    while query.follow && ended.is_none() {
        tokio::select! {
            changed = ending.changed() => {
                if changed.is_err() {
                    break;
                }
                ended = *ending.borrow_and_update();
            }
            () = tokio::time::sleep(pause) => {}
            () = sink.closed() => return Ok(()),
        }
        let found = reader.send_new(query, sink).await?;
        pause = if found { POLL_MIN } else { (pause * 2).min(POLL_MAX) };
    }
    if let (true, Some(code)) = (query.with_exit, ended) {
        let _sent = sink.send(Frame::Exit(code).encode()).await;
    }
    Ok(())
}

// === impl Reader ===

impl Reader {
    async fn open(query: &LogQuery) -> Result<Self> {
        let file = query.file.try_clone().map_err(failed())?;
        let file = BufReader::new(File::from_std(file));
        let mut reader = Self { file, position: 0, line: Vec::new(), lines: Lines::default() };
        reader.seek(query.skip).await?;
        Ok(reader)
    }

    async fn seek(&mut self, position: u64) -> Result<()> {
        self.file.seek(SeekFrom::Start(position)).await.map_err(failed())?;
        self.position = position;
        self.line.clear();
        Ok(())
    }

    /// Sends the last `count` lines of what is there.
    async fn send_tail(
        &mut self,
        count: usize,
        query: &LogQuery,
        sink: &mpsc::Sender<Bytes>,
    ) -> Result<()> {
        let (start, lines) = self.find_tail(count).await?;
        let end = self.position;
        self.seek(start).await?;
        self.lines = lines;
        while self.position < end
            && let Some(entry) = self.next().await?
        {
            if !self.send(entry, query, sink).await {
                break;
            }
        }
        self.lines.show();
        Ok(())
    }

    /// Reads all that is there; gives where the last `count` lines begin, and what of the lines
    /// before them is still to come there.
    async fn find_tail(&mut self, count: usize) -> Result<(u64, Lines)> {
        let mut starts = VecDeque::new();
        loop {
            let here = (self.position, self.lines.left_out());
            let Some(entry) = self.next().await? else { break };
            if let Some(entry) = entry
                && self.lines.pass(&entry) == Place::Start
            {
                starts.push_back(here);
                if starts.len() > count {
                    starts.pop_front();
                }
            }
        }
        let end = (self.position, self.lines.left_out());
        Ok(starts.front().copied().unwrap_or(end))
    }

    /// Sends what has been added; whether there was something, and somebody to send it to.
    async fn send_new(&mut self, query: &LogQuery, sink: &mpsc::Sender<Bytes>) -> Result<bool> {
        let mut found = false;
        while let Some(entry) = self.next().await? {
            found = true;
            if !self.send(entry, query, sink).await {
                return Ok(false);
            }
        }
        Ok(found)
    }

    /// Whether somebody still wants more.
    async fn send(
        &mut self,
        entry: Option<LogEntry>,
        query: &LogQuery,
        sink: &mpsc::Sender<Bytes>,
    ) -> bool {
        let Some(entry) = entry else { return true };
        let place = self.lines.pass(&entry);
        if place == Place::LeftOut {
            return true;
        }
        sink.send(frame(entry, query.timestamps && place == Place::Start)).await.is_ok()
    }

    /// The next whole line of the file: an entry, unless it is damaged.
    async fn next(&mut self) -> Result<Option<Option<LogEntry>>> {
        self.file.read_until(b'\n', &mut self.line).await.map_err(failed())?;
        if self.line.len() > MAX_LINE {
            self.line.clear();
            return Err(Error::Conflict(
                "the container's log is damaged: a line has no end".into(),
            ));
        }
        if self.line.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.position += u64::try_from(self.line.len()).unwrap_or(u64::MAX);
        let entry = serde_json::from_slice(&self.line).ok();
        self.line.clear();
        Ok(Some(entry))
    }
}

// === impl Lines ===

impl Lines {
    /// Goes past `entry`; tells where it begins.
    fn pass(&mut self, entry: &LogEntry) -> Place {
        let place = match entry.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let before = *place;
        *place = match before {
            _ if entry.ends_line() => Place::Start,
            Place::Start => Place::Inside,
            inside => inside,
        };
        before
    }

    /// The same, but what has begun is not to be shown.
    fn left_out(mut self) -> Self {
        for place in [&mut self.stdout, &mut self.stderr] {
            if *place == Place::Inside {
                *place = Place::LeftOut;
            }
        }
        self
    }

    /// From here on all is shown; the rest of a line that was left out is one for the reader.
    fn show(&mut self) {
        for place in [&mut self.stdout, &mut self.stderr] {
            if *place == Place::LeftOut {
                *place = Place::Start;
            }
        }
    }
}

fn failed() -> impl FnOnce(std::io::Error) -> Error {
    Error::io("read the container's log")
}

fn frame(entry: LogEntry, stamped: bool) -> Bytes {
    let LogEntry { stream, time, .. } = entry;
    let mut bytes = if stamped { format!("{time} ").into_bytes() } else { Vec::new() };
    bytes.extend(entry.into_bytes());
    let frame = match stream {
        Stream::Stdout => Frame::Stdout(bytes.into()),
        Stream::Stderr => Frame::Stderr(bytes.into()),
    };
    frame.encode()
}

#[cfg(test)]
mod tests;
