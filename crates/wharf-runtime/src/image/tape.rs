//! What is needed to write a layer's tar again, byte for byte, from its unpacked files.
//!
//! A layer's digest is that of its tar, and an unpacked directory does not say which tar it was. The
//! tape keeps everything of the tar but the content of files: a sequence of bytes to copy and files
//! to insert, compressed. An image is saved from tapes without a second copy of its content on disk.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;

use crate::error::{Context, Error, Result};
use crate::inroot::{Root, relative};

const BYTES: u8 = b'b';
const FILE: u8 = b'f';
/// Longer runs of headers are written in pieces.
const PIECE: usize = 1 << 16;
/// Linux' PATH_MAX.
const PATH_LIMIT: u64 = 4096;

/// The recording side: told by whoever unpacks which bytes are the content of which file.
#[derive(Clone)]
pub(super) struct Recorder(Rc<RefCell<Recording>>);

struct Recording {
    out: Option<GzEncoder<BufWriter<File>>>,
    run: Vec<u8>,
    skip: u64,
    length: u64,
    failure: Option<io::Error>,
}

/// A reader of a tar whose bytes are recorded.
pub(super) struct Recorded<R> {
    inner: R,
    recorder: Recorder,
}

/// What a finished tape says of its tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taped {
    /// The bytes of the tar.
    pub(super) length: u64,
    /// Whether the tar can be written again: a tar that replaces its own files cannot.
    pub(super) is_whole: bool,
}

// === impl Recorder ===

impl Recorder {
    /// Records into a new file at `path`.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let file = File::create_new(path).during(|| format!("make {}", path.display()))?;
        let out = GzEncoder::new(BufWriter::new(file), Compression::fast());
        Ok(Self::with(Some(out)))
    }

    /// Records nothing.
    pub(super) fn none() -> Self {
        Self::with(None)
    }

    fn with(out: Option<GzEncoder<BufWriter<File>>>) -> Self {
        let recording = Recording { out, run: Vec::new(), skip: 0, length: 0, failure: None };
        Self(Rc::new(RefCell::new(recording)))
    }

    /// The next `size` bytes are the content of the file `path`.
    pub(super) fn file(&self, path: &Path, size: u64) {
        let mut recording = self.0.borrow_mut();
        if size == 0 || recording.out.is_none() {
            return;
        }
        recording.flush_run();
        let name = path.as_os_str().as_bytes();
        let mut record = vec![FILE];
        record.extend(size.to_be_bytes());
        record.extend(u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
        record.extend(name);
        recording.put(&record);
        recording.skip = size;
    }

    /// A file that was recorded is no longer there as it was.
    pub(super) fn spoil(&self) {
        self.0.borrow_mut().out = None;
    }

    /// Ends the tape and makes it durable.
    pub(super) fn finish(self) -> Result<Taped> {
        let mut recording = self.0.borrow_mut();
        recording.flush_run();
        let what = || "write a layer's tape".to_owned();
        if let Some(error) = recording.failure.take() {
            return Err(error).during(what);
        }
        let length = recording.length;
        let Some(out) = recording.out.take() else { return Ok(Taped { length, is_whole: false }) };
        let file = out.finish().during(what)?.into_inner();
        file.map_err(io::IntoInnerError::into_error).during(what)?.sync_all().during(what)?;
        Ok(Taped { length, is_whole: true })
    }
}

// === impl Recording ===

impl Recording {
    fn take(&mut self, bytes: &[u8]) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(count);
        let skipped = self.skip.min(count);
        self.skip -= skipped;
        let rest = usize::try_from(skipped).ok().and_then(|skipped| bytes.get(skipped..));
        if self.out.is_some() {
            self.run.extend_from_slice(rest.unwrap_or_default());
        }
        if self.run.len() >= PIECE {
            self.flush_run();
        }
    }

    fn flush_run(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let run = std::mem::take(&mut self.run);
        let mut record = vec![BYTES];
        record.extend(u64::try_from(run.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.put(&record);
        self.put(&run);
    }

    fn put(&mut self, bytes: &[u8]) {
        let Some(out) = &mut self.out else { return };
        if let Err(error) = out.write_all(bytes) {
            self.failure.get_or_insert(error);
        }
    }
}

// === impl Recorded ===

impl<R> Recorded<R> {
    pub(super) fn new(inner: R, recorder: Recorder) -> Self {
        Self { inner, recorder }
    }
}

impl<R: Read> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.recorder.0.borrow_mut().take(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Writes the tar again that the tape at `tape` was made of, with the files in `layer`.
///
/// # Errors
/// A file is not what it was, or `out` refuses.
pub(super) fn play(tape: &Path, layer: &Path, out: &mut impl Write) -> Result<()> {
    let what = || format!("read {}", tape.display());
    let file = File::open(tape).during(|| format!("open {}", tape.display()))?;
    let mut tape = GzDecoder::new(BufReader::new(file));
    let root = Root::open(layer).during(|| format!("open {}", layer.display()))?;
    loop {
        let mut kind = [0];
        if tape.read(&mut kind).during(what)? == 0 {
            return Ok(());
        }
        let length = number(&mut tape).during(what)?;
        match kind {
            [BYTES] => copy(&mut tape, length, out).during(|| "write a layer")?,
            [FILE] => {
                let name = name(&mut tape).during(what)?;
                let file = root.find(&name, OFlags::RDONLY | OFlags::NOFOLLOW);
                let file = file.during(|| format!("open {}", name.display()))?;
                copy(&mut File::from(file), length, out)
                    .during(|| format!("write {}", name.display()))?;
            }
            _ => return Err(Error::Layer(format!("{} is damaged", layer.display()))),
        }
    }
}

fn number(tape: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    tape.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn name(tape: &mut impl Read) -> io::Result<PathBuf> {
    let length = number(tape)?;
    let mut bytes = Vec::new();
    tape.take(length.min(PATH_LIMIT)).read_to_end(&mut bytes)?;
    relative(&bytes).map_err(io::Error::other)
}

fn copy(from: &mut impl Read, length: u64, out: &mut impl Write) -> io::Result<()> {
    let copied = io::copy(&mut from.take(length), out)?;
    match copied == length {
        true => Ok(()),
        false => Err(io::Error::other(format!("it ends after {copied} of {length} bytes"))),
    }
}
