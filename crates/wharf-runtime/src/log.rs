//! A container's log: Docker's `json-file` format, one JSON object per line.
//!
//! What the entries of a stream hold, one after the other, is what was written to it, byte for
//! byte. JSON knows only text, so an entry of bytes that are not UTF-8 has them once more, exactly,
//! in a field that other readers of the format pass over.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod files;

mod hex;
mod limits;

pub use limits::Limits;

/// The name in the container's directory of the file that is written to.
pub const FILE: &str = "container.log";
/// Docker's limit for one entry: longer lines continue in the next, without a newline between.
pub(crate) const ENTRY_LIMIT: usize = 16 << 10;
/// No character takes more bytes of UTF-8, so the beginning of one is at most one byte less.
const CHARACTER_LIMIT: usize = 4;

/// Which of its streams a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One entry: a line with its newline, or part of a line that is long or was not ended at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// What was written, as text; bytes that are not UTF-8 are replaced.
    pub log: String,
    /// Where to.
    pub stream: Stream,
    /// When it arrived.
    pub time: Timestamp,
    /// What was written, exactly, if that is not text.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    bytes: Option<Vec<u8>>,
}

/// Cuts what one stream writes into entries.
#[derive(Debug)]
pub(crate) struct Splitter {
    stream: Stream,
    /// The beginning of a line whose end has not come yet.
    pending: Vec<u8>,
}

// === impl LogEntry ===

impl LogEntry {
    fn new(written: Vec<u8>, stream: Stream, time: Timestamp) -> Self {
        match String::from_utf8(written) {
            Ok(log) => Self { log, stream, time, bytes: None },
            Err(no_text) => {
                let log = String::from_utf8_lossy(no_text.as_bytes()).into_owned();
                Self { log, stream, time, bytes: Some(no_text.into_bytes()) }
            }
        }
    }

    /// Whether a line ends here.
    pub fn ends_line(&self) -> bool {
        self.log.ends_with('\n')
    }

    /// Exactly what was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.unwrap_or_else(|| self.log.into_bytes())
    }
}

// === impl Splitter ===

impl Splitter {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Whether there is a line whose end has not come.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The log lines that `bytes` complete.
    pub(crate) fn push(&mut self, bytes: &[u8], time: Timestamp) -> Vec<u8> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            while let Some(full) = self.pending.get(..ENTRY_LIMIT) {
                let whole = ENTRY_LIMIT - unfinished(full);
                lines.extend(self.take(whole, time));
            }
            if self.pending.ends_with(b"\n") {
                lines.extend(self.flush(time));
            }
        }
        lines
    }

    /// The log line of what is left, if anything is. A character that has only begun stays for
    /// the next time, when it is alone.
    pub(crate) fn flush_whole(&mut self, time: Timestamp) -> Vec<u8> {
        match self.pending.len() - unfinished(&self.pending) {
            0 => self.flush(time),
            whole => self.take(whole, time),
        }
    }

    /// The log line of what is left, if anything is.
    pub(crate) fn flush(&mut self, time: Timestamp) -> Vec<u8> {
        self.take(self.pending.len(), time)
    }

    fn take(&mut self, count: usize, time: Timestamp) -> Vec<u8> {
        if count == 0 {
            return Vec::new();
        }
        let entry = LogEntry::new(self.pending.drain(..count).collect(), self.stream, time);
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// How many bytes at the end are a character that only the next bytes can complete.
fn unfinished(bytes: &[u8]) -> usize {
    let begun = |count: &usize| {
        let end = bytes.len().checked_sub(*count).and_then(|start| bytes.get(start..));
        let checked = end.map(str::from_utf8);
        matches!(checked, Some(Err(e)) if e.valid_up_to() == 0 && e.error_len().is_none())
    };
    (1..CHARACTER_LIMIT).find(begun).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp::UNIX_EPOCH;

    /// What happens to a stream.
    #[derive(Debug, Clone)]
    enum Step {
        Write(Vec<u8>),
        Pause,
    }

    fn entries(steps: &[Step]) -> Vec<LogEntry> {
        let mut splitter = Splitter::new(Stream::Stdout);
        let mut out: Vec<u8> = Vec::new();
        for step in steps {
            out.extend(match step {
                Step::Write(bytes) => splitter.push(bytes, TIME),
                Step::Pause => splitter.flush_whole(TIME),
            });
        }
        out.extend(splitter.flush(TIME));
        assert!(!splitter.is_pending());
        let out = String::from_utf8(out).unwrap();
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn writes(pieces: &[&[u8]]) -> Vec<Step> {
        pieces.iter().map(|bytes| Step::Write(bytes.to_vec())).collect()
    }

    fn texts(pieces: &[&[u8]]) -> Vec<String> {
        entries(&writes(pieces)).into_iter().map(|entry| entry.log).collect()
    }

    fn bytes(entries: Vec<LogEntry>) -> Vec<u8> {
        entries.into_iter().flat_map(LogEntry::into_bytes).collect()
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
        assert_eq!(texts(&[b"a", b"b\nc", b"\n\nd"]), ["ab\n", "c\n", "\n", "d"]);
        assert!(texts(&[b"", b""]).is_empty());
    }

    #[test]
    fn what_is_not_text_is_kept_exactly_beside_its_text() {
        let mut splitter = Splitter::new(Stream::Stdout);
        let line = String::from_utf8(splitter.push(b"a\xff\0\n", TIME)).unwrap();
        let fields = r#"{"log":"a\ufffd\u0000\n","stream":"stdout","time":"1970-01-01T00:00:00Z""#;
        let fields = fields.replace("\\ufffd", "\u{fffd}");
        assert_eq!(line.trim_end(), format!("{fields},\"bytes\":\"61ff000a\"}}"));
        let entry: LogEntry = serde_json::from_str(&line).unwrap();
        assert_eq!(entry.into_bytes(), b"a\xff\0\n");
    }

    #[test]
    fn long_lines_are_cut_and_nothing_is_lost() {
        let long = vec![b'x'; ENTRY_LIMIT * 2 + 7];
        let parts = texts(&[&long[..100], &long[100..], b"\n"]);
        assert_eq!(
            parts.iter().map(String::len).collect::<Vec<_>>(),
            [ENTRY_LIMIT, ENTRY_LIMIT, 8]
        );
        let exact = [vec![b'y'; ENTRY_LIMIT - 1], vec![b'\n']].concat();
        assert_eq!(texts(&[&exact, b"z\n"]).len(), 2);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        for character in ["é", "€", "🦀"] {
            for before in 0..4 {
                let line = format!("{}{}\n", "x".repeat(before), character.repeat(ENTRY_LIMIT));
                let found = entries(&writes(&[line.as_bytes()]));
                assert!(found.iter().all(|entry| entry.bytes.is_none()), "{before} {character}");
                assert!(found.iter().all(|entry| entry.log.len() <= ENTRY_LIMIT));
                assert_eq!(found.into_iter().map(|entry| entry.log).collect::<String>(), line);
            }
        }
    }

    #[test]
    fn a_pause_shows_what_is_there_but_no_half_of_a_character() {
        let mut splitter = Splitter::new(Stream::Stdout);
        let log = |line: Vec<u8>| serde_json::from_slice(&line).ok().map(|it: LogEntry| it.log);
        assert_eq!(log(splitter.push(b"\r 10 % \xe2\x82", TIME)), None);
        assert_eq!(log(splitter.flush_whole(TIME)).unwrap(), "\r 10 % ");
        assert!(splitter.is_pending());
        assert_eq!(log(splitter.push(b"\xac\n", TIME)).unwrap(), "€\n");

        // One that never comes to its end is not kept back for ever.
        assert_eq!(log(splitter.push(b"\xe2\x82", TIME)), None);
        assert_eq!(log(splitter.flush_whole(TIME)).unwrap(), "\u{fffd}");
        assert!(!splitter.is_pending());
    }

    #[test]
    fn only_what_can_still_become_a_character_is_unfinished() {
        for (bytes, wanted) in [
            (&b""[..], 0),
            (b"a", 0),
            ("a€".as_bytes(), 0),
            (b"a\xe2", 1),
            (b"a\xe2\x82", 2),
            (b"\xff\xf0\x9f\xa6", 3),
            (b"a\xff", 0),
            (b"\x82\x82\x82\x82", 0),
            (b"\xe2a", 0),
            // A surrogate, and more than the last character there is.
            (b"\xed\xa0", 0),
            (b"\xf5", 0),
        ] {
            assert_eq!(unfinished(bytes), wanted, "{bytes:x?}");
        }
    }

    fn step() -> impl proptest::strategy::Strategy<Value = Step> {
        use proptest::prelude::*;
        let text = "[a-cé€🦀\n\r]{0,40}".prop_map(String::into_bytes);
        let binary = proptest::collection::vec(any::<u8>(), 0..40);
        let long = (text.clone(), 0..ENTRY_LIMIT).prop_map(|(text, times)| text.repeat(times / 40));
        prop_oneof![
            3 => text.prop_map(Step::Write),
            3 => binary.prop_map(Step::Write),
            1 => long.prop_map(Step::Write),
            2 => Just(Step::Pause),
        ]
    }

    proptest::proptest! {
        #[test]
        fn what_goes_in_comes_out(steps in proptest::collection::vec(step(), 0..12)) {
            let written = steps.iter().flat_map(|step| match step {
                Step::Write(bytes) => bytes.clone(),
                Step::Pause => Vec::new(),
            });
            let written: Vec<u8> = written.collect();
            proptest::prop_assert!(bytes(entries(&steps)) == written);
        }

        #[test]
        fn text_in_any_pieces_stays_text(
            text in "[a-cé€🦀\n]{0,60}",
            sizes in proptest::collection::vec(1..7_usize, 60 * 4),
        ) {
            let mut rest = text.as_bytes();
            let mut steps = Vec::new();
            for size in sizes {
                let (now, later) = rest.split_at(size.min(rest.len()));
                steps.push(Step::Write(now.to_vec()));
                rest = later;
            }
            let found = entries(&steps);
            proptest::prop_assert!(found.iter().all(|entry| entry.bytes.is_none()));
            proptest::prop_assert!(bytes(found) == text.as_bytes());
        }
    }
}
