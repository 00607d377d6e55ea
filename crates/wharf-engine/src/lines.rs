//! A stream of bytes, line by line.

/// An event carries the labels of its container, which are short; a line longer than this is not
/// kept.
const LINE_MAX: usize = 1 << 20;

/// The line that has not ended yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    too_long: bool,
}

/// A line of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// The line, without its end.
    Whole(Vec<u8>),
    /// There was one that was too long to be kept.
    TooLong,
}

// === impl Lines ===

impl Lines {
    /// The lines that end with `piece`; empty ones are left out.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Vec<Line> {
        let mut ended = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            self.take(text);
            if whole {
                ended.extend(self.end());
            }
        }
        ended
    }

    fn take(&mut self, text: &[u8]) {
        self.too_long |= self.partial.len() + text.len() > LINE_MAX;
        match self.too_long {
            true => self.partial = Vec::new(),
            false => self.partial.extend_from_slice(text),
        }
    }

    fn end(&mut self) -> Option<Line> {
        let line = std::mem::take(&mut self.partial);
        match std::mem::take(&mut self.too_long) {
            true => Some(Line::TooLong),
            false => (!line.trim_ascii().is_empty()).then_some(Line::Whole(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.feed(b"on"), []);
        assert_eq!(lines.feed(b"e\n\r\ntwo\nthr"), [whole("one"), whole("two")]);
        assert_eq!(lines.feed(b"ee\n"), [whole("three")]);
    }

    #[test]
    fn a_line_too_long_is_dropped_and_the_next_is_read() {
        let mut lines = Lines::default();
        let half = vec![b'x'; LINE_MAX / 2 + 1];
        assert_eq!(lines.feed(&half), []);
        assert_eq!(lines.feed(&half), []);
        assert!(lines.partial.is_empty());
        assert_eq!(lines.feed(b"x\nnext\n"), [Line::TooLong, whole("next")]);
    }

    proptest! {
        #[test]
        fn where_the_pieces_end_makes_no_difference(
            text in "[ab\n]{0,40}", cut in 0_usize..40,
        ) {
            let bytes = text.as_bytes();
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let mut pieces = Lines::default();
            let mut ended = pieces.feed(left);
            ended.extend(pieces.feed(right));
            prop_assert_eq!(ended, Lines::default().feed(bytes));
        }
    }
}
