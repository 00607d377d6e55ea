//! Small files that are either whole or absent, whatever happens in between.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Result};

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
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory).during(what)?;
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
