//! The keys that detach from a terminal: Docker's grammar, `ctrl-p,ctrl-q` when none are named.

use crate::failure::Exit;

const DEFAULT: &str = "ctrl-p,ctrl-q";
const DELETE: u8 = 127;

/// A sequence of keys, as the bytes they send; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(super) struct Filter {
    keys: DetachKeys,
    /// The beginning of the keys, which is typed text if something else follows.
    held: Vec<u8>,
}

/// What is left of something typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Text for the container.
    Text(Vec<u8>),
    /// The keys were typed, after this text.
    Detach(Vec<u8>),
}

// === impl DetachKeys ===

impl DetachKeys {
    /// Reads `--detach-keys`; an empty text is as good as none.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Exit> {
        let text = text.filter(|text| !text.is_empty()).unwrap_or(DEFAULT);
        let key = |name: &str| {
            key(name).ok_or_else(|| {
                Exit::at_run(format!(
                    "invalid detach keys ({text}) provided: unknown character: '{name}': use single characters, \
                     ctrl- and one of a-z @ [ \\ ] ^ _, or DEL, with commas between"
                ))
            })
        };
        Ok(Self(text.split(',').map(key).collect::<Result<_, _>>()?))
    }
}

fn key(name: &str) -> Option<u8> {
    match (name.as_bytes(), name.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([byte], _) => Some(*byte),
        (_, Some([letter @ b'a'..=b'z'])) => Some(letter - b'a' + 1),
        // In the table of ASCII, control characters lie 64 below these.
        (_, Some([sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => Some(sign - b'@'),
        (b"DEL", _) => Some(DELETE),
        _ => None,
    }
}

// === impl Filter ===

impl Filter {
    pub(super) fn new(keys: DetachKeys) -> Self {
        Self { keys, held: Vec::new() }
    }

    /// Takes what was typed.
    pub(super) fn pass(&mut self, typed: &[u8]) -> Typed {
        let mut text = Vec::with_capacity(typed.len());
        for byte in typed {
            self.held.push(*byte);
            while !self.keys.0.starts_with(&self.held) {
                text.push(self.held.remove(0));
            }
            if self.held == self.keys.0 {
                self.held.clear();
                return Typed::Detach(text);
            }
        }
        Typed::Text(text)
    }

    /// What was held back when nothing more is typed.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Option<Vec<u8>> {
        DetachKeys::parse(Some(text)).ok().map(|keys| keys.0)
    }

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("", &[16, 17][..]),
            ("ctrl-p,ctrl-q", &[16, 17]),
            ("ctrl-a", &[1]),
            ("ctrl-z,x", &[26, b'x']),
            ("a,B,1", b"aB1"),
            ("ctrl-@", &[0]),
            ("ctrl-[", &[27]),
            ("ctrl-\\", &[28]),
            ("ctrl-]", &[29]),
            ("ctrl-^", &[30]),
            ("ctrl-_", &[31]),
            ("DEL", &[127]),
        ] {
            assert_eq!(keys(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["ctrl-", "ctrl-A", "ctrl-1", "ctrl-pq", "ab", ",", "a,,b", "é", "Ctrl-p"] {
            assert_eq!(keys(text), None, "{text}");
        }
    }

    #[test]
    fn the_keys_are_found_in_any_pieces() {
        let typed = b"ls\x10x\x10\x10\x11rest";
        for size in 1..typed.len() {
            let mut filter = Filter::new(DetachKeys::parse(None).unwrap());
            let mut text = Vec::new();
            let mut detached = false;
            for piece in typed.chunks(size) {
                match filter.pass(piece) {
                    Typed::Text(more) => text.extend(more),
                    Typed::Detach(more) => {
                        text.extend(more);
                        detached = true;
                        break;
                    }
                }
            }
            assert!(detached, "{size}");
            assert_eq!(text, b"ls\x10x\x10");
        }
    }

    #[test]
    fn keys_that_repeat_are_found_where_they_overlap() {
        let mut filter = Filter::new(DetachKeys::parse(Some("a,a,b")).unwrap());
        assert_eq!(filter.pass(b"aaab"), Typed::Detach(b"a".to_vec()));
        assert_eq!(filter.pass(b"aa"), Typed::Text(Vec::new()));
        assert_eq!(filter.rest(), b"aa");
    }
}
