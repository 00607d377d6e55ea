//! Unpacked layers: `layers/<diff id>/`, and beside it `<diff id>.json` with its size and
//! `<diff id>.tape` with what its tar was besides its files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher, Hashing};
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::image::compression::decompressed;
use crate::image::pins::{Pin, Pins};
use crate::image::scratch::Scratch;
use crate::image::tape::{self, Recorded, Recorder, Taped};
use crate::image::unpack::{Unpacked, unpack_recorded};

const TAPE: &str = "tape";
/// Tars are padded to some blocks; a bomb of zeros behind the last entry stops here.
const TRAILER_LIMIT: u64 = 64 << 20;

/// The directories of all layers.
#[derive(Debug)]
pub(super) struct Layers {
    layers: PathBuf,
    scratch: PathBuf,
    pins: Pins,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Size {
    bytes: u64,
    /// The length of its tar, where that can be written again.
    #[serde(default)]
    tar: Option<u64>,
}

/// What a layer turned out to be.
#[derive(Debug)]
struct Found {
    unpacked: Unpacked,
    taped: Taped,
    tar: Digest,
    blob: Digest,
}

struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
}

// === impl Layers ===

impl Layers {
    pub(super) fn new(layers: PathBuf, scratch: PathBuf) -> Self {
        Self { layers, scratch, pins: Pins::default() }
    }

    /// Keeps `ids` from being removed as long as the pin lives, whether they are there yet or not.
    pub(super) fn pin(&self, ids: &[Digest]) -> Pin {
        self.pins.pin(ids)
    }

    pub(super) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    pub(super) fn has(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).is_dir()
    }

    pub(super) fn size(&self, diff_id: &Digest) -> u64 {
        self.said(diff_id).bytes
    }

    fn said(&self, diff_id: &Digest) -> Size {
        durable::read_json(&self.size_file(diff_id)).ok().flatten().unwrap_or_default()
    }

    /// The length of the layer's tar; `None` when it cannot be written again.
    pub(super) fn tar_length(&self, diff_id: &Digest) -> Option<u64> {
        self.said(diff_id).tar.filter(|_| self.tape_file(diff_id).exists())
    }

    /// Writes the layer's tar, which has the digest `diff_id`.
    pub(super) fn write_tar(&self, diff_id: &Digest, out: &mut impl Write) -> Result<()> {
        let mut out = HashingWriter { inner: out, hasher: Hasher::default() };
        tape::play(&self.tape_file(diff_id), &self.path(diff_id), &mut out)?;
        check("layer", &out.hasher.finish(), diff_id)
    }

    fn tape_file(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(format!("{}.tape", diff_id.hex()))
    }

    fn size_file(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(format!("{}.json", diff_id.hex()))
    }

    /// Unpacks the layer `blob` unless it is there; both digests must be what they are said to be.
    pub(super) fn ensure<R: Read>(
        &self,
        diff_id: &Digest,
        blob_digest: Option<&Digest>,
        blob: impl FnOnce() -> Result<R>,
    ) -> Result<()> {
        if self.has(diff_id) {
            return Ok(());
        }
        let scratch = self.scratch()?;
        let found = unpack_taped(blob()?, &scratch)?;
        check("layer", &found.tar, diff_id)?;
        if let Some(digest) = blob_digest {
            check("blob", &found.blob, digest)?;
        }
        self.put(scratch, diff_id, &found)
    }

    /// Unpacks a layer of which nothing is known, and tells its diff id.
    pub(super) fn take(&self, blob: impl Read) -> Result<(Digest, Pin)> {
        let scratch = self.scratch()?;
        let found = unpack_taped(blob, &scratch)?;
        let pin = self.pin(std::slice::from_ref(&found.tar));
        self.put(scratch, &found.tar, &found)?;
        Ok((found.tar, pin))
    }

    fn scratch(&self) -> Result<Scratch> {
        let scratch = Scratch::new(&self.scratch)?;
        let root = scratch.path();
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdir(&root, mode).during(|| format!("make {}", root.display()))?;
        Ok(scratch)
    }

    fn put(&self, scratch: Scratch, diff_id: &Digest, found: &Found) -> Result<()> {
        let tar = found.taped.is_whole.then_some(found.taped.length);
        if tar.is_some() {
            let (from, to) = (scratch.beside(TAPE), self.tape_file(diff_id));
            fs::rename(&from, &to).during(|| format!("put {} in place", to.display()))?;
        }
        let size = Size { bytes: found.unpacked.bytes, tar };
        durable::write_json(&self.size_file(diff_id), &size)?;
        scratch.commit(&self.path(diff_id))
    }

    /// Makes the layer `id` by letting `fill` write into an empty directory.
    pub(super) fn fill(
        &self,
        id: &Digest,
        fill: impl FnOnce(&Path) -> Result<Unpacked>,
    ) -> Result<()> {
        let scratch = self.scratch()?;
        let unpacked = fill(&scratch.path())?;
        let size = Size { bytes: unpacked.bytes, tar: None };
        durable::write_json(&self.size_file(id), &size)?;
        scratch.commit(&self.path(id))
    }

    /// Removes every layer that is not in `wanted` and returns which, and their sizes.
    pub(super) fn retain(&self, wanted: &BTreeSet<Digest>) -> Result<Vec<(Digest, u64)>> {
        let mut removed = Vec::new();
        for id in self.all()? {
            if wanted.contains(&id) {
                continue;
            }
            let size = self.size(&id);
            // Nobody can begin to count on it between the look and the removal.
            if let Some(gone) = self.pins.unless_pinned(&id, || self.remove(&id)) {
                gone?;
                removed.push((id, size));
            }
        }
        Ok(removed)
    }

    /// What is there, and what a crash has left of files beside a layer that never came.
    fn all(&self) -> Result<Vec<Digest>> {
        let what = || format!("list {}", self.layers.display());
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(&self.layers).during(what)? {
            let name = entry.during(what)?.file_name();
            let name = name.to_string_lossy();
            let stem = name.split('.').next().unwrap_or_default();
            ids.extend(format!("sha256:{stem}").parse::<Digest>());
        }
        Ok(ids.into_iter().collect())
    }

    /// Out of sight in one step, so that a crash leaves no half layer under its name.
    fn remove(&self, id: &Digest) -> Result<()> {
        let what = || format!("remove layer {}", id.short());
        let grave = Scratch::new(&self.scratch)?;
        if self.has(id) {
            fs::rename(self.path(id), grave.path()).during(what)?;
        }
        for file in [self.size_file(id), self.tape_file(id)] {
            match fs::remove_file(file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).during(what),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Unpacks into `scratch` and reads everything to its end, so that the digests cover it.
fn unpack_taped(blob: impl Read, scratch: &Scratch) -> Result<Found> {
    let what = || "read a layer".to_owned();
    let mut compressed = Hashing::new(blob);
    let mut tar = Hashing::new(decompressed(&mut compressed).during(what)?);
    let recorder = Recorder::new(&scratch.beside(TAPE))?;
    let mut recorded = Recorded::new(&mut tar, recorder.clone());
    let unpacked = unpack_recorded(&mut recorded, &scratch.path(), recorder.clone())?;
    let mut rest = Recorded::new(&mut tar, recorder.clone()).take(TRAILER_LIMIT);
    let trailer = std::io::copy(&mut rest, &mut std::io::sink()).during(what)?;
    if trailer == TRAILER_LIMIT {
        return Err(Error::Layer(format!("more than {TRAILER_LIMIT} bytes behind its end")));
    }
    let taped = recorder.finish()?;
    let tar = tar.finish();
    compressed.drain().during(what)?;
    Ok(Found { unpacked, taped, tar, blob: compressed.finish() })
}

fn check(what: &str, found: &Digest, expected: &Digest) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Layer(format!("damaged {what}: its digest is {found}, {expected} was expected")))
}

// === impl HashingWriter ===

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
