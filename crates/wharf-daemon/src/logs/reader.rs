//! Reads a log and sends what is wanted of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader, SeekFrom};
use tokio::sync::mpsc;
use wharf_api::frame::Frame;
use wharf_runtime::log::{LogEntry, Stream};

use super::lines::{Lines, Place, Window};
use super::{Files, LogQuery, failed};
use crate::error::{Error, Result};

/// A line of the log is at most this long: the shim splits output at 16 KiB, and JSON may take six
/// bytes for one, and two more when the entry is not text.
const MAX_LINE: usize = 256 << 10;
/// While a slow reader takes nothing, new files are looked for this often.
const CATCH_UP: Duration = Duration::from_millis(20);

/// A log's files and how far they were read.
pub(super) struct Reader<'a> {
    files: Files,
    /// Which of them is read.
    index: usize,
    file: BufReader<File>,
    /// The end of the last whole line of the file.
    position: u64,
    /// A line of the file, or what is there of an unfinished one.
    line: Vec<u8>,
    lines: Lines,
    window: Window,
    timestamps: bool,
    sink: &'a mpsc::Sender<Bytes>,
    done: bool,
}

/// A place in a log, and what of the lines before it is still to come there.
#[derive(Debug, Clone, Copy)]
struct Mark {
    index: usize,
    position: u64,
    lines: Lines,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) async fn open(query: LogQuery, sink: &'a mpsc::Sender<Bytes>) -> Result<Self> {
        let file = BufReader::new(File::from_std(query.files.get(0)?));
        let window = Window { since: query.since, until: query.until };
        let mut reader = Self {
            files: query.files,
            index: 0,
            file,
            position: 0,
            line: Vec::new(),
            lines: Lines::default(),
            window,
            timestamps: query.timestamps,
            sink,
            done: false,
        };
        reader.seek(0, 0).await?;
        Ok(reader)
    }

    /// Whether nothing more is wanted: what comes is too late, or the reader has left.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    async fn seek(&mut self, index: usize, position: u64) -> Result<()> {
        if index != self.index {
            self.file = BufReader::new(File::from_std(self.files.get(index)?));
        }
        self.index = index;
        self.file.seek(SeekFrom::Start(position)).await.map_err(failed())?;
        self.position = position;
        self.line.clear();
        Ok(())
    }

    /// Sends the last `count` lines of what is there; whether there were any.
    pub(super) async fn send_tail(&mut self, count: usize) -> Result<bool> {
        let (start, end) = self.find_tail(count).await?;
        self.seek(start.index, start.position).await?;
        self.lines = start.lines;
        let mut found = false;
        while !self.done
            && (self.index, self.position) < (end.index, end.position)
            && let Some(entry) = self.next().await?
        {
            found = true;
            self.send(entry).await?;
        }
        self.lines.show();
        Ok(found)
    }

    /// Reads all that is there; gives where the last `count` lines begin, and the end.
    async fn find_tail(&mut self, count: usize) -> Result<(Mark, Mark)> {
        let mut starts = VecDeque::new();
        loop {
            let here = self.mark();
            let Some(entry) = self.next().await? else { break };
            if let Some(entry) = entry
                && self.lines.pass(&entry, self.window) == Place::Start
            {
                starts.push_back(here);
                if starts.len() > count {
                    starts.pop_front();
                }
            }
        }
        let end = self.mark();
        Ok((starts.front().copied().unwrap_or(end), end))
    }

    fn mark(&self) -> Mark {
        Mark { index: self.index, position: self.position, lines: self.lines.left_out() }
    }

    /// Sends what has been added; whether there was something.
    pub(super) async fn send_new(&mut self) -> Result<bool> {
        self.files.catch_up()?;
        let mut found = false;
        while !self.done
            && let Some(entry) = self.next().await?
        {
            found = true;
            self.send(entry).await?;
            while self.index > 0 {
                self.files.forget_oldest();
                self.index -= 1;
            }
        }
        Ok(found)
    }

    async fn send(&mut self, entry: Option<LogEntry>) -> Result<()> {
        let Some(entry) = entry else { return Ok(()) };
        let place = self.lines.pass(&entry, self.window);
        if place == Place::LeftOut {
            self.done |= self.window.is_before(entry.time);
            return Ok(());
        }
        let frame = frame(entry, self.timestamps && place == Place::Start);
        loop {
            tokio::select! {
                permit = self.sink.reserve() => {
                    match permit {
                        Ok(permit) => permit.send(frame),
                        Err(_) => self.done = true,
                    }
                    return Ok(());
                }
                () = tokio::time::sleep(CATCH_UP) => self.files.catch_up()?,
            }
        }
    }

    /// The next whole line of the log: an entry, unless it is damaged.
    async fn next(&mut self) -> Result<Option<Option<LogEntry>>> {
        loop {
            // A file is complete before there is a newer one, so this is asked before it is read.
            let is_full = self.index + 1 < self.files.count();
            let room = (MAX_LINE + 1).saturating_sub(self.line.len());
            let mut file = (&mut self.file).take(room.try_into().unwrap_or(u64::MAX));
            file.read_until(b'\n', &mut self.line).await.map_err(failed())?;
            if self.line.len() > MAX_LINE {
                self.line.clear();
                return Err(Error::Conflict(
                    "the container's log is damaged: a line has no end".into(),
                ));
            }
            if self.line.last() == Some(&b'\n') {
                self.position += u64::try_from(self.line.len()).unwrap_or(u64::MAX);
                let entry = serde_json::from_slice(&self.line).ok();
                self.line.clear();
                return Ok(Some(entry));
            }
            if !is_full {
                return Ok(None);
            }
            self.seek(self.index + 1, 0).await?;
        }
    }
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_without_lines_is_not_read_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join(wharf_runtime::log::FILE)).unwrap();
        file.set_len(64 << 20).unwrap();
        let query = LogQuery {
            files: Files::open(dir.path().to_owned()).unwrap(),
            follow: false,
            tail: None,
            timestamps: false,
            since: None,
            until: None,
        };
        let (sink, _frames) = mpsc::channel(1);
        let mut reader = Reader::open(query, &sink).await.unwrap();
        let text = reader.send_new().await.unwrap_err().to_string();
        assert!(text.contains("a line has no end"), "{text}");
        assert!(reader.line.capacity() <= 4 * MAX_LINE, "{}", reader.line.capacity());
    }
}
