//! The files of a log in the hands of one reader.
//!
//! A file that is full is renamed and in the end deleted, but whoever has it open reads it to its
//! end. So a reader keeps a hold of every file it has still to read.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;

use wharf_runtime::log::files;

use super::failed;
use crate::error::{Error, Result};

/// A reader that is further behind than this many files, which are deleted from the directory and
/// held by it alone, would keep a disk full that has a limit.
const HELD_LIMIT: usize = 256;

/// The files of a log, the oldest first; never empty.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    held: VecDeque<File>,
}

// === impl Files ===

impl Files {
    /// Opens the log in `dir`.
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        let held = files::open(&dir).map_err(failed())?.into();
        Ok(Self { dir, held })
    }

    pub(super) fn get(&self, index: usize) -> Result<File> {
        let file = self.held.get(index).ok_or_else(overtaken)?;
        file.try_clone().map_err(failed())
    }

    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Lets go of the oldest.
    pub(super) fn forget_oldest(&mut self) {
        if self.held.len() > 1 {
            self.held.pop_front();
        }
    }

    /// Takes hold of those that have been begun since.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let Some(last) = self.held.back().filter(|_| self.held.len() < HELD_LIMIT) else {
            return Ok(());
        };
        match files::open_after(&self.dir, last) {
            Ok((newer, true)) => self.held.extend(newer),
            Ok((_, false)) => return Err(overtaken()),
            // The container was removed, and its log with it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed()(e)),
        }
        Ok(())
    }
}

fn overtaken() -> Error {
    Error::Conflict(
        "the log was rotated faster than it was read, and lines are missing from here on: \
         give the container a larger `--log-opt max-size` or `max-file`"
            .into(),
    )
}
