//! Directories that are filled before they are moved into place.
//!
//! A crash leaves one behind; it is recognised by its lock, which the kernel has released.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tempfile::TempDir;

use crate::error::{Context, Result};
use crate::tree::remove_tree;

/// A directory being filled; removed on drop unless it was moved into place.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: TempDir,
    _lock: File,
}

// === impl Scratch ===

impl Scratch {
    /// Makes one under `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        let what = || format!("make a directory under {}", parent.display());
        let dir = tempfile::Builder::new().prefix("new-").tempdir_in(parent).during(what)?;
        let lock = File::open(dir.path()).during(what)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).during(what)?;
        Ok(Self { dir, _lock: lock })
    }

    /// The directory to fill.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("content")
    }

    /// A place for `name` beside the directory to fill; what is not moved away goes with it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes the content durable and moves it to `target`; if somebody was faster, theirs stays.
    pub(crate) fn commit(self, target: &Path) -> Result<()> {
        let what = || format!("put {} in place", target.display());
        let content = self.path();
        let opened = File::open(&content).during(what)?;
        rustix::fs::syncfs(&opened).during(what)?;
        match fs::rename(&content, target) {
            Err(_) if target.is_dir() => Ok(()),
            renamed => renamed.during(what),
        }
    }
}

/// Removes what crashed processes left under `parent`.
pub(crate) fn sweep(parent: &Path) -> Result<()> {
    let what = || format!("clean {}", parent.display());
    for entry in fs::read_dir(parent).during(what)? {
        let path = entry.during(what)?.path();
        let Ok(opened) = File::open(&path) else { continue };
        if rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Between its creation and its lock a new one looks stale: its owner then fails with
            // a clear error. Stores are opened once, at start, so this does not happen in use.
            remove_tree(&path).during(what)?;
        }
    }
    Ok(())
}
