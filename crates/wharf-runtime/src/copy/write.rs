//! Into a container: a tar stream becomes files.

use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use tar::{Entry, EntryType};

use crate::error::{Context, Error, Result};
use crate::inroot::relative;

mod node;

const ROOT: &str = "container rootfs is marked read-only: copy to a volume that can be written to, \
                    or make the container without --read-only";
const VOLUME: &str = "mounted volume is marked read-only: copy to another place, or make the \
                      container with that volume without ro";

/// Unpacks `from` in the directory `path`; owners are kept, or everything is the caller's. Anything
/// but `only` and what is below it is refused, unless `only` is empty or `.`: a stream may be made by
/// somebody who would like to write something else here.
pub fn unpack(path: &Path, only: &Path, owners: bool, from: impl Read) -> Result<()> {
    let what = || format!("copy to {}", path.display());
    let target = std::fs::canonicalize(path).during(what)?;
    if !target.is_dir() {
        return Err(Error::Spec(format!("{} is not a directory", path.display())));
    }
    let refused = |why: &str| Error::Spec(format!("the archive is refused: {why}"));
    let only = relative(only.as_os_str().as_bytes()).map_err(refused)?;
    let mut archive = tar::Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(owners);
    archive.set_overwrite(true);
    for entry in archive.entries().during(what)? {
        let mut entry = entry.during(what)?;
        let name = relative(&entry.path_bytes()).map_err(refused)?;
        let first = entry.link_name_bytes().filter(|_| entry.header().entry_type().is_hard_link());
        let first = first.map(|first| relative(&first).map_err(refused)).transpose()?;
        for name in [Some(&name), first.as_ref()].into_iter().flatten() {
            if !name.starts_with(&only) {
                return Err(refused(&format!("nobody asked for {}", name.display())));
            }
        }
        refuse_change_of_kind(&target.join(&name), entry.header().entry_type().is_dir())?;
        unpack_entry(&mut entry, &target, &name, owners)
            .during(|| format!("write {}", name.display()))?;
    }
    Ok(())
}

/// The same in a container, with Docker's words for what it may not write to.
pub(super) fn unpack_inside(path: &Path, owners: bool, from: impl Read) -> Result<()> {
    if is_read_only(path) {
        return Err(Error::Spec(if is_on_root(path) { ROOT } else { VOLUME }.to_owned()));
    }
    match unpack(path, Path::new(""), owners, from) {
        // The directory itself can be written to: it is something mounted below it.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::ReadOnlyFilesystem => {
            Err(Error::Spec(VOLUME.to_owned()))
        }
        unpacked => unpacked,
    }
}

fn unpack_entry(
    entry: &mut Entry<'_, impl Read>,
    target: &Path,
    name: &Path,
    owners: bool,
) -> io::Result<()> {
    match entry.header().entry_type() {
        EntryType::Fifo | EntryType::Char | EntryType::Block => {
            return node::make(entry.header(), target, name, owners);
        }
        EntryType::Link => {
            let first = entry.link_name_bytes().unwrap_or_default();
            let first = relative(&first).map_err(io::Error::other)?;
            if is_same(&target.join(first), &target.join(name)) {
                return Ok(());
            }
            // The library takes the place of files, but not with a link to one.
            node::clear(target, name)?;
        }
        _ => {}
    }
    match entry.unpack_in(target)? {
        true => Ok(()),
        false => Err(io::Error::other("the archive names no place in the directory")),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let number =
        |path| std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()));
    number(one).is_some_and(|one| number(other) == Some(one))
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn is_on_root(path: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
    device(path) == device(Path::new("/"))
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

#[cfg(test)]
mod tests;
