//! A container's streams on the wire: frames of `type, length, bytes`.
//!
//! One byte of type, four bytes of length (big-endian), then that many bytes. Types 1 to 4 go to
//! the client: the last frame of a stream that ends because the process ended carries its exit
//! code. Types 5 to 8 come from it. Daemon and shim speak the same to each other.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// The largest payload of one frame; a reader may refuse more.
pub const MAX_PAYLOAD: usize = 1 << 20;
const HEADER: usize = 5;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A piece of output, or the end; a piece of input, or what else a client has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The process ended with this code.
    Exit(i32),
    /// The stream failed on the daemon's side.
    Failure(String),
    /// Bytes for standard input.
    Stdin(Bytes),
    /// There will be no more of them.
    StdinEnd,
    /// The client's terminal has this size now.
    Resize(TerminalSize),
    /// The client leaves, and everything goes on without it.
    Leave,
}

/// A stream that is not made of frames.
#[derive(Debug, thiserror::Error)]
#[error("malformed stream: {0}")]
pub struct FrameError(String);

// === impl TerminalSize ===

impl TerminalSize {
    fn to_be_bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.rows.to_be_bytes(), self.columns.to_be_bytes());
        [a, b, c, d]
    }
}

// === impl Frame ===

impl Frame {
    /// The frame as it goes over the wire.
    pub fn encode(&self) -> Bytes {
        let number;
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Stdout(bytes) => (1, bytes),
            Self::Stderr(bytes) => (2, bytes),
            Self::Exit(status) => {
                number = status.to_be_bytes();
                (3, &number)
            }
            Self::Failure(text) => (4, text.as_bytes()),
            Self::Stdin(bytes) => (5, bytes),
            Self::StdinEnd => (6, &[]),
            Self::Resize(size) => {
                number = size.to_be_bytes();
                (7, &number)
            }
            Self::Leave => (8, &[]),
        };
        let mut out = BytesMut::with_capacity(HEADER + payload.len());
        out.put_u8(kind);
        out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        out.put_slice(payload);
        out.freeze()
    }

    /// Takes one whole frame off the front of `buffer`; `None` when more bytes are needed.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let mut header = match buffer.get(..HEADER) {
            Some(header) => header,
            None => return Ok(None),
        };
        let kind = header.get_u8();
        let length = usize::try_from(header.get_u32()).unwrap_or(usize::MAX);
        if length > MAX_PAYLOAD {
            return Err(FrameError(format!("a frame of {length} bytes")));
        }
        if buffer.len() < HEADER + length {
            return Ok(None);
        }
        buffer.advance(HEADER);
        let mut payload = buffer.split_to(length).freeze();
        match kind {
            1 => Ok(Some(Self::Stdout(payload))),
            2 => Ok(Some(Self::Stderr(payload))),
            3 if length == 4 => Ok(Some(Self::Exit(payload.get_i32()))),
            4 => Ok(Some(Self::Failure(String::from_utf8_lossy(&payload).into_owned()))),
            5 => Ok(Some(Self::Stdin(payload))),
            6 if length == 0 => Ok(Some(Self::StdinEnd)),
            7 if length == 4 => Ok(Some(Self::Resize(TerminalSize {
                rows: payload.get_u16(),
                columns: payload.get_u16(),
            }))),
            8 if length == 0 => Ok(Some(Self::Leave)),
            _ => Err(FrameError(format!("a frame of type {kind} and {length} bytes"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire_in_any_pieces() {
        let frames = [
            Frame::Stdout(Bytes::from_static(b"hello")),
            Frame::Stderr(Bytes::new()),
            Frame::Failure("disk full".into()),
            Frame::Stdin(Bytes::from_static(b"\x03")),
            Frame::StdinEnd,
            Frame::Resize(TerminalSize { rows: 24, columns: 0x1234 }),
            Frame::Leave,
            Frame::Exit(-1),
        ];
        let wire: Vec<u8> = frames.iter().flat_map(|f| f.encode()).collect();
        for piece in 1..wire.len() {
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for chunk in wire.chunks(piece) {
                buffer.extend_from_slice(chunk);
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let hostile: [&[u8]; 5] = [
            &[1, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 0],
            &[9, 0, 0, 0, 0],
            &[7, 0, 0, 0, 3, 1, 2, 3],
            &[8, 0, 0, 0, 1, 1],
        ];
        for bytes in hostile {
            assert!(Frame::decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_frames_or_refused(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut wire = Vec::new();
            while let Ok(Some(frame)) = Frame::decode(&mut buffer) {
                wire.extend(frame.encode());
            }
            // A text that is none is replaced, so it need not come back as it was.
            let text = wire.first() == Some(&4);
            proptest::prop_assert!(text || bytes.starts_with(&wire));
        }
    }
}
