//! gzip and zstd, told apart by their first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const SNIFF: u64 = 6;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames start `0x50..=0x5f` and this; `zstd:chunked` layers begin with one.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// All frames of a zstd stream, one after the other.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
}

/// A reader of the content of `reader`, whatever it is compressed with.
///
/// # Errors
/// It is compressed with something that images do not use.
pub(super) fn decompressed<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::new();
    (&mut reader).take(SNIFF).read_to_end(&mut start)?;
    let whole = Cursor::new(start.clone()).chain(reader);
    if start.starts_with(GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::new(whole))));
    }
    if start.starts_with(ZSTD) || start.get(1..4) == Some(ZSTD_SKIPPABLE) {
        let source = BufReader::new(whole);
        return Ok(Box::new(Zstd { source, decoder: FrameDecoder::new() }));
    }
    if start.starts_with(BZIP2) || start.starts_with(XZ) {
        return Err(io::Error::other("bzip2 and xz are not understood; use gzip, zstd or none"));
    }
    Ok(Box::new(whole))
}

// === impl Zstd ===

impl<R: BufRead> Zstd<R> {
    /// Begins the next frame with content; `false` at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                }
                Err(e) => return Err(io::Error::other(e)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if self.decoder.is_finished() {
                if !self.next_frame()? {
                    return Ok(0);
                }
            } else {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
        }
        self.decoder.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decompressed(bytes).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn plain_gzip_and_zstd_read_the_same() {
        let text = b"hello ".repeat(10_000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&text).unwrap();
        assert_eq!(content(&text), text);
        assert_eq!(content(&gz.finish().unwrap()), text);
        assert_eq!(content(&zstd(&text)), text);
        assert_eq!(content(b""), b"");
    }

    #[test]
    fn several_zstd_frames_and_skippable_ones_are_one_stream() {
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let stream = [skippable.clone(), zstd(b"one "), skippable, zstd(b"two")].concat();
        assert_eq!(content(&stream), b"one two");
    }

    #[test]
    fn unknown_compressions_are_named() {
        let error = decompressed(&b"BZh91AY"[..]).err().unwrap();
        assert!(error.to_string().contains("gzip"), "{error}");
    }
}
