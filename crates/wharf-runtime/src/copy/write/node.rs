//! Pipes and devices, which the library would make empty files of.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use tar::{EntryType, Header};

use crate::inroot::Root;

/// Of directories an archive does not mention.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Makes the pipe or device of `header` at `name` in `target`, in place of what is there.
pub(super) fn make(header: &Header, target: &Path, name: &Path, owners: bool) -> io::Result<()> {
    let kind = match header.entry_type() {
        EntryType::Fifo => FileType::Fifo,
        EntryType::Char => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    };
    let device = match kind {
        FileType::Fifo => 0,
        _ => rustix::fs::makedev(
            header.device_major()?.unwrap_or_default(),
            header.device_minor()?.unwrap_or_default(),
        ),
    };
    clear(target, name)?;
    let (parent, last) = (parent_of(target, name)?, name.file_name().unwrap_or_default());
    let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
    // With its mode from the beginning: setting it later would follow a link put in its place.
    let before = rustix::process::umask(Mode::empty());
    let made = rustix::fs::mknodat(&parent, last, kind, mode, device);
    rustix::process::umask(before);
    made?;
    if owners {
        let number = |id: u64| u32::try_from(id).map_err(io::Error::other);
        let (uid, gid) = (number(header.uid()?)?, number(header.gid()?)?);
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&parent, last, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Removes what is at `name` in `target`, unless it is a directory.
pub(super) fn clear(target: &Path, name: &Path) -> io::Result<()> {
    let last = name.file_name().unwrap_or_default();
    match rustix::fs::unlinkat(parent_of(target, name)?, last, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The directory `name` is in; links do not lead out of `target`.
fn parent_of(target: &Path, name: &Path) -> io::Result<OwnedFd> {
    let parent = name.parent().unwrap_or(Path::new(""));
    match std::fs::canonicalize(target.join(parent)) {
        Ok(found) if found.starts_with(target) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(rustix::fs::open(found, flags, Mode::empty())?)
        }
        Ok(_) => Err(io::Error::other("its directory is a link that leads out")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Root::open(target)?.make_dirs(parent, DIRECTORY_MODE)
        }
        Err(error) => Err(error),
    }
}
