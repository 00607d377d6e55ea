//! Which images there are and what they are called: `meta/<id>.json` and `names.json`.
//!
//! Nothing is kept in memory, so several users of one store see the same; changes are made under
//! a file lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::image::config::ImageConfig;

/// Holders write a few small files; longer means one is stuck.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Names, `repository:tag` each, and the images they mean.
pub(super) type Names = BTreeMap<String, Digest>;

/// What is kept of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: Digest,
    pub(super) config: ImageConfig,
    /// Diff ids, lowest first.
    pub(super) layers: Vec<Digest>,
    pub(super) created: Option<String>,
    pub(super) architecture: String,
    pub(super) size: u64,
    pub(super) manifest: Option<Digest>,
    /// The architecture's variant, as `v7`.
    #[serde(default)]
    pub(super) variant: Option<String>,
    /// Where it was pulled from, as `repository@digest`.
    #[serde(default)]
    pub(super) repo_digests: Vec<String>,
}

/// The records of a store.
#[derive(Debug)]
pub(super) struct Catalogue {
    root: PathBuf,
}

/// The right to change a catalogue.
#[derive(Debug)]
pub(super) struct Locked {
    _file: File,
}

// === impl Catalogue ===

impl Catalogue {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn lock(&self) -> Result<Locked> {
        let path = self.root.join("lock");
        let what = || format!("lock {}", path.display());
        let file = File::options().create(true).append(true).open(&path).during(what)?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < LOCK_LIMIT => {
                    sleep(LOCK_POLL);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::Timeout { action: what(), limit: LOCK_LIMIT });
                }
                Err(e) => return Err(e).during(what),
            }
        }
    }

    pub(super) fn names(&self) -> Result<Names> {
        Ok(durable::read_json(&self.names_file())?.unwrap_or_default())
    }

    pub(super) fn set_names(&self, _locked: &Locked, names: &Names) -> Result<()> {
        durable::write_json(&self.names_file(), names)
    }

    pub(super) fn record(&self, id: &Digest) -> Result<Option<Record>> {
        durable::read_json(&self.record_file(id))
    }

    pub(super) fn add(&self, _locked: &Locked, record: &Record) -> Result<()> {
        durable::write_json(&self.record_file(&record.id), record)
    }

    pub(super) fn remove(&self, _locked: &Locked, id: &Digest) -> Result<()> {
        let path = self.record_file(id);
        fs::remove_file(&path).during(|| format!("remove {}", path.display()))?;
        let path = self.config_file(id);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).during(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Keeps the configuration of an image as it was written: its digest is the image's id.
    pub(super) fn keep_config(&self, _locked: &Locked, id: &Digest, text: &[u8]) -> Result<()> {
        durable::write(&self.config_file(id), text)
    }

    /// The configuration of an image as it was written.
    ///
    /// # Errors
    /// It has changed on the disk, or was never kept.
    pub(super) fn config(&self, id: &Digest) -> Result<Vec<u8>> {
        let path = self.config_file(id);
        let text = fs::read(&path).during(|| format!("read {}", path.display()))?;
        let found = Digest::of(&text);
        if found == *id {
            return Ok(text);
        }
        let path = path.display();
        Err(Error::Layer(format!("{path} is damaged: its digest is {found}; remove the image")))
    }

    fn config_file(&self, id: &Digest) -> PathBuf {
        self.root.join("meta").join(format!("{}.config", id.hex()))
    }

    /// Every record, by id.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        let directory = self.root.join("meta");
        let what = || format!("list {}", directory.display());
        let mut records = Vec::new();
        for entry in fs::read_dir(&directory).during(what)? {
            let name = entry.during(what)?.file_name();
            let Some(hex) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            let Ok(id) = format!("sha256:{hex}").parse() else { continue };
            records.extend(self.record(&id)?);
        }
        records.sort_by(|a: &Record, b: &Record| a.id.cmp(&b.id));
        Ok(records)
    }

    /// The layers any image needs.
    pub(super) fn wanted_layers(&self) -> Result<BTreeSet<Digest>> {
        Ok(self.records()?.into_iter().flat_map(|record| record.layers).collect())
    }

    fn names_file(&self) -> PathBuf {
        self.root.join("names.json")
    }

    fn record_file(&self, id: &Digest) -> PathBuf {
        self.root.join("meta").join(format!("{}.json", id.hex()))
    }
}
