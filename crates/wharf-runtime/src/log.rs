//! A container's log: Docker's `json-file` format, one JSON object per line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The log's name in the container's directory.
pub const FILE: &str = "container.log";
/// Docker's limit for one entry: longer lines continue in the next, without a newline between.
pub(crate) const ENTRY_LIMIT: usize = 16 << 10;

/// Which of its streams a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One entry: a line with its newline, or part of a line that is too long or was never ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// What was written; bytes that are not UTF-8 are replaced.
    pub log: String,
    /// Where to.
    pub stream: Stream,
    /// When it arrived.
    pub time: Timestamp,
}

/// Cuts what one stream writes into entries.
#[derive(Debug)]
pub(crate) struct Splitter {
    stream: Stream,
    /// The beginning of a line whose end has not come yet.
    pending: Vec<u8>,
}

// === impl Splitter ===

impl Splitter {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// The log lines that `bytes` complete.
    pub(crate) fn push(&mut self, bytes: &[u8], time: Timestamp) -> Vec<u8> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(ENTRY_LIMIT) {
                self.add(part, time, &mut lines);
            }
        }
        lines
    }

    fn add(&mut self, part: &[u8], time: Timestamp, lines: &mut Vec<u8>) {
        let room = ENTRY_LIMIT.saturating_sub(self.pending.len());
        let (now, later) = part.split_at_checked(room).unwrap_or((part, &[]));
        self.pending.extend_from_slice(now);
        if self.pending.ends_with(b"\n") || self.pending.len() >= ENTRY_LIMIT {
            lines.extend(self.flush(time));
        }
        if !later.is_empty() {
            self.add(later, time, lines);
        }
    }

    /// The log line of what is left, if anything is.
    pub(crate) fn flush(&mut self, time: Timestamp) -> Vec<u8> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let log = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        let entry = LogEntry { log, stream: self.stream, time };
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(writes: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::new(Stream::Stdout);
        let time = Timestamp::UNIX_EPOCH;
        let mut out: Vec<u8> = writes.iter().flat_map(|bytes| splitter.push(bytes, time)).collect();
        out.extend(splitter.flush(time));
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<LogEntry>(line).unwrap().log)
            .collect()
    }

    #[test]
    fn an_entry_looks_as_dockers() {
        let mut splitter = Splitter::new(Stream::Stderr);
        let time = "2026-01-02T03:04:05.000000006Z".parse().unwrap();
        let line = String::from_utf8(splitter.push(b"a\"b\n", time)).unwrap();
        let want = r#"{"log":"a\"b\n","stream":"stderr","time":"2026-01-02T03:04:05.000000006Z"}"#;
        assert_eq!(line.trim_end(), want);
    }

    #[test]
    fn lines_are_put_together_and_ends_are_kept() {
        assert_eq!(entries(&[b"a", b"b\nc", b"\n\nd"]), ["ab\n", "c\n", "\n", "d"]);
        assert_eq!(entries(&[b"\xff\n"]), ["\u{fffd}\n"]);
        assert!(entries(&[b"", b""]).is_empty());
    }

    #[test]
    fn long_lines_are_cut_and_nothing_is_lost() {
        let long = vec![b'x'; ENTRY_LIMIT * 2 + 7];
        let parts = entries(&[&long[..100], &long[100..], b"\n"]);
        assert_eq!(
            parts.iter().map(String::len).collect::<Vec<_>>(),
            [ENTRY_LIMIT, ENTRY_LIMIT, 8]
        );
        let exact = [vec![b'y'; ENTRY_LIMIT - 1], vec![b'\n']].concat();
        assert_eq!(entries(&[&exact, b"z\n"]).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn what_goes_in_comes_out(writes in proptest::collection::vec("[a-c\n]{0,40}", 0..8)) {
            let bytes: Vec<&[u8]> = writes.iter().map(String::as_bytes).collect();
            proptest::prop_assert_eq!(entries(&bytes).concat(), writes.concat());
        }
    }
}
