//! A container's log as a stream of output: from the file the shim writes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader, SeekFrom};
use tokio::sync::{mpsc, watch};
use wharf_api::frame::Frame;

use crate::error::{Error, Result};

/// Frames waiting for a slow reader; the log itself is on disk, so nothing is lost meanwhile.
const QUEUE: usize = 64;
/// A follower looks for more this often at first, and at most this seldom when nothing comes.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);
/// A line of the log is at most this long: the shim splits output at 16 KiB, and JSON may take six
/// bytes for one.
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

#[derive(Debug, Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
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
    let mut reader = open(query).await?;
    let mut line = Vec::new();
    send_tail(&mut reader, &mut line, query, sink).await?;
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
        let found = send_new(&mut reader, &mut line, query, sink).await?;
        pause = if found { POLL_MIN } else { (pause * 2).min(POLL_MAX) };
    }
    if let (true, Some(code)) = (query.with_exit, ended) {
        let _sent = sink.send(Frame::Exit(code).encode()).await;
    }
    Ok(())
}

async fn open(query: &LogQuery) -> Result<BufReader<File>> {
    let failed = || Error::io("read the container's log");
    let mut file = File::from_std(query.file.try_clone().map_err(failed())?);
    file.seek(SeekFrom::Start(query.skip)).await.map_err(failed())?;
    Ok(BufReader::new(file))
}

/// Sends what is there, or only the last lines of it.
async fn send_tail(
    reader: &mut BufReader<File>,
    line: &mut Vec<u8>,
    query: &LogQuery,
    sink: &mpsc::Sender<Bytes>,
) -> Result<()> {
    let Some(count) = query.tail else {
        send_new(reader, line, query, sink).await?;
        return Ok(());
    };
    let mut last: VecDeque<Bytes> = VecDeque::with_capacity(count.min(1_024));
    while next_line(reader, line).await? {
        if let Some(frame) = frame(line, query.timestamps) {
            last.push_back(frame);
        }
        line.clear();
        if last.len() > count {
            last.pop_front();
        }
    }
    for frame in last {
        if sink.send(frame).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn send_new(
    reader: &mut BufReader<File>,
    line: &mut Vec<u8>,
    query: &LogQuery,
    sink: &mpsc::Sender<Bytes>,
) -> Result<bool> {
    let mut found = false;
    while next_line(reader, line).await? {
        found = true;
        let frame = frame(line, query.timestamps);
        line.clear();
        if let Some(frame) = frame
            && sink.send(frame).await.is_err()
        {
            return Ok(false);
        }
    }
    Ok(found)
}

/// Reads up to the end of a line; what is there of an unfinished one stays in `line`.
async fn next_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> Result<bool> {
    reader.read_until(b'\n', line).await.map_err(Error::io("read the container's log"))?;
    if line.len() > MAX_LINE {
        line.clear();
        return Err(Error::Conflict("the container's log is damaged: a line has no end".into()));
    }
    Ok(line.last() == Some(&b'\n'))
}

fn frame(line: &[u8], timestamps: bool) -> Option<Bytes> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    let text = if timestamps { format!("{} {}", entry.time, entry.log) } else { entry.log };
    let bytes = Bytes::from(text);
    let frame = if entry.stream == "stderr" { Frame::Stderr(bytes) } else { Frame::Stdout(bytes) };
    Some(frame.encode())
}
