//! Small files that are either whole or absent, whatever happens in between.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Result};

/// The beginning of the name of a file that is being written.
const DRAFT: &str = ".new-";

/// Writes `value` as JSON beside `path`, makes it durable, and puts it in place in one step.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text =
        serde_json::to_vec_pretty(value).map_err(|e| Error::json(path.display().to_string(), e))?;
    write(path, &text)
}

/// Writes `content` beside `path`, makes it durable, and puts it in place in one step.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let what = || format!("write {}", path.display());
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(DRAFT).tempfile_in(directory).during(what)?;
    // Where files cannot be locked, a sweep may take this one, and putting it in place fails.
    let _without_a_lock = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    file.write_all(content).during(what)?;
    file.as_file().sync_all().during(what)?;
    file.persist(path).map_err(|e| e.error).during(what)?;
    File::open(directory).and_then(|d| d.sync_all()).during(what)
}

/// Reads a JSON file; `None` when there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).during(|| format!("read {}", path.display())),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| Error::json(path.display().to_string(), e))
}

/// Removes what a crash left half written in `directory`: nobody holds its lock.
pub(crate) fn sweep(directory: &Path) -> Result<()> {
    let what = || format!("clean {}", directory.display());
    for entry in fs::read_dir(directory).during(what)? {
        let entry = entry.during(what)?;
        if !entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) {
            continue;
        }
        let Ok(draft) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&draft, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_file(entry.path()).during(what)?;
        }
    }
    Ok(())
}
