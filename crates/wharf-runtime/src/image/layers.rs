//! Unpacked layers: `layers/<diff id>/` and beside it `<diff id>.json` with its size.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hashing};
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::image::compression::decompressed;
use crate::image::scratch::Scratch;
use crate::image::unpack::{Unpacked, unpack};

/// The directories of all layers.
#[derive(Debug)]
pub(super) struct Layers {
    layers: PathBuf,
    scratch: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Size {
    bytes: u64,
}

// === impl Layers ===

impl Layers {
    pub(super) fn new(layers: PathBuf, scratch: PathBuf) -> Self {
        Self { layers, scratch }
    }

    pub(super) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    pub(super) fn has(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).is_dir()
    }

    pub(super) fn size(&self, diff_id: &Digest) -> u64 {
        let size = durable::read_json::<Size>(&self.size_file(diff_id)).ok().flatten();
        size.unwrap_or_default().bytes
    }

    fn size_file(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(format!("{}.json", diff_id.hex()))
    }

    /// Unpacks the layer `blob` unless it is there; both digests must be what they are said to be.
    pub(super) fn ensure(
        &self,
        diff_id: &Digest,
        blob_digest: Option<&Digest>,
        blob: impl FnOnce() -> Result<super::archive::Blob>,
    ) -> Result<()> {
        if self.has(diff_id) {
            return Ok(());
        }
        self.fill(diff_id, |root| unpack_verified(blob()?, diff_id, blob_digest, root))
    }

    /// Makes the layer `id` by letting `fill` write into an empty directory.
    pub(super) fn fill(
        &self,
        id: &Digest,
        fill: impl FnOnce(&Path) -> Result<Unpacked>,
    ) -> Result<()> {
        let scratch = Scratch::new(&self.scratch)?;
        let root = scratch.path();
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdir(&root, mode).during(|| format!("make {}", root.display()))?;
        let unpacked = fill(&root)?;
        durable::write_json(&self.size_file(id), &Size { bytes: unpacked.bytes })?;
        scratch.commit(&self.path(id))
    }

    /// Removes every layer that is not in `wanted` and returns which.
    pub(super) fn retain(&self, wanted: &BTreeSet<Digest>) -> Result<Vec<Digest>> {
        let mut removed = Vec::new();
        for id in self.all()? {
            if !wanted.contains(&id) {
                self.remove(&id)?;
                removed.push(id);
            }
        }
        Ok(removed)
    }

    fn all(&self) -> Result<Vec<Digest>> {
        let what = || format!("list {}", self.layers.display());
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.layers).during(what)? {
            let name = entry.during(what)?.file_name();
            ids.extend(format!("sha256:{}", name.to_string_lossy()).parse::<Digest>());
        }
        ids.sort();
        Ok(ids)
    }

    /// Out of sight in one step, so that a crash leaves no half layer under its name.
    fn remove(&self, id: &Digest) -> Result<()> {
        let what = || format!("remove layer {}", id.short());
        let grave = Scratch::new(&self.scratch)?;
        fs::rename(self.path(id), grave.path()).during(what)?;
        match fs::remove_file(self.size_file(id)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).during(what),
            _ => Ok(()),
        }
    }
}

fn unpack_verified(
    blob: impl Read,
    diff_id: &Digest,
    blob_digest: Option<&Digest>,
    root: &Path,
) -> Result<Unpacked> {
    let what = || format!("read layer {}", diff_id.short());
    let mut compressed = Hashing::new(blob);
    let mut tar = Hashing::new(decompressed(&mut compressed).during(what)?);
    let unpacked = unpack(&mut tar, root)?;
    tar.drain().during(what)?;
    check("layer", tar.finish(), diff_id)?;
    compressed.drain().during(what)?;
    if let Some(digest) = blob_digest {
        check("blob", compressed.finish(), digest)?;
    }
    Ok(unpacked)
}

fn check(what: &str, found: Digest, expected: &Digest) -> Result<()> {
    if found == *expected {
        return Ok(());
    }
    Err(Error::Layer(format!("damaged {what}: its digest is {found}, {expected} was expected")))
}
