//! Output of a container on the wire: frames of `type, length, bytes`.
//!
//! One byte of type, four bytes of length (big-endian), then that many bytes. The last frame of a
//! stream that ends because the process ended carries its exit code.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest payload of one frame; a reader may refuse more.
pub const MAX_PAYLOAD: usize = 1 << 20;
const HEADER: usize = 5;

/// A piece of output, or the end.
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
}

/// A stream that is not made of frames.
#[derive(Debug, thiserror::Error)]
#[error("malformed output stream from the daemon: {0}")]
pub struct FrameError(String);

// === impl Frame ===

impl Frame {
    /// The frame as it goes over the wire.
    pub fn encode(&self) -> Bytes {
        let code;
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Stdout(bytes) => (1, bytes),
            Self::Stderr(bytes) => (2, bytes),
            Self::Exit(status) => {
                code = status.to_be_bytes();
                (3, &code)
            }
            Self::Failure(text) => (4, text.as_bytes()),
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
    fn a_hostile_length_is_refused() {
        let mut buffer = BytesMut::from(&[1u8, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(Frame::decode(&mut buffer).is_err());
        let mut buffer = BytesMut::from(&[9u8, 0, 0, 0, 0][..]);
        assert!(Frame::decode(&mut buffer).is_err());
    }
}
