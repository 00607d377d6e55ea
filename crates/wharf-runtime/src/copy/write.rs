//! Into a container: a tar stream becomes files.

use std::io::Read;
use std::path::Path;

use crate::error::{Context, Error, Result};

/// Unpacks `from` in the directory `path`.
pub(super) fn unpack(path: &Path, owners: bool, from: impl Read) -> Result<()> {
    let what = || format!("copy to {}", path.display());
    let target = std::fs::canonicalize(path).during(what)?;
    if !target.is_dir() {
        return Err(Error::Spec(format!("{} is not a directory", path.display())));
    }
    let mut archive = tar::Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(owners);
    archive.set_overwrite(true);
    for entry in archive.entries().during(what)? {
        let mut entry = entry.during(what)?;
        let name = entry.path().during(what)?.into_owned();
        refuse_change_of_kind(&target.join(&name), entry.header().entry_type().is_dir())?;
        entry.unpack_in(&target).during(|| format!("write {}", name.display()))?;
    }
    Ok(())
}

/// As Docker, neither puts a file in a directory's place nor a directory in a file's.
fn refuse_change_of_kind(path: &Path, will_be_dir: bool) -> Result<()> {
    let refuse =
        |what: &str| Err(Error::Spec(format!("cannot overwrite {what}: {}", path.display())));
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() && !will_be_dir => {
            refuse("a directory with something that is none")
        }
        Ok(there) if !there.is_dir() && !there.is_symlink() && will_be_dir => {
            refuse("something that is no directory with one")
        }
        _ => Ok(()),
    }
}
