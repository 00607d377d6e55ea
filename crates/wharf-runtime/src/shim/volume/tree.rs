//! Copies a tree as it is: owners, modes, times, links among its files, attributes.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

use super::DIRECTORY;

/// Deeper than any image's tree; each level holds two descriptors.
const DEPTH_LIMIT: usize = 200;
const NAMES_LIMIT: usize = 64 << 10;
const VALUE_LIMIT: usize = 64 << 10;
/// Files with several names that are remembered, a descriptor each; the rest become copies.
const LINKS_LIMIT: usize = 512;

/// Copies what is in the directory `from`, and its attributes, to the directory `to`.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    Copier { links: HashMap::new() }.directory(from, to, DEPTH_LIMIT)
}

struct Copier {
    /// Files with several names, by their number in the image: the first copy.
    links: HashMap<(u64, u64), OwnedFd>,
}

// === impl Copier ===

impl Copier {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(|| io::Error::other("too deep"))?;
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.entry(from, to, name, depth)?;
            }
        }
        copy_attributes(from, to)
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let inner_from = rustix::fs::openat(from, name, DIRECTORY, Mode::empty())?;
                let inner_to = rustix::fs::openat(to, name, DIRECTORY, Mode::empty())?;
                self.directory(&inner_from, &inner_to, depth)
            }
            FileType::RegularFile => self.file(from, to, name, &stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
                own(to, name, &stat)
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                make_node(to, name, &stat)?;
                own(to, name, &stat)
            }
            // A socket without the process that bound it means nothing.
            _ => Ok(()),
        }
    }

    fn file(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &rustix::fs::Stat,
    ) -> io::Result<()> {
        let number = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&number) {
            return Ok(rustix::fs::linkat(first, c"", to, name, AtFlags::EMPTY_PATH)?);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
        let (mut source, mut target) = (File::from(source), File::from(target));
        io::copy(&mut source, &mut target)?;
        let (source, target) = (OwnedFd::from(source), OwnedFd::from(target));
        copy_attributes(&source, &target)?;
        if stat.st_nlink > 1 && self.links.len() < LINKS_LIMIT {
            self.links.insert(number, target);
        }
        Ok(())
    }
}

/// With its mode from the beginning: setting it later would follow a link put in its place.
fn make_node(to: &OwnedFd, name: &CStr, stat: &rustix::fs::Stat) -> io::Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(stat.st_mode);
    let before = rustix::process::umask(Mode::empty());
    let made = rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev);
    rustix::process::umask(before);
    Ok(made?)
}

fn own(to: &OwnedFd, name: &CStr, stat: &rustix::fs::Stat) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    Ok(rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn owner(stat: &rustix::fs::Stat) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))
}

pub(super) fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let (uid, gid) = owner(&stat);
    rustix::fs::fchown(to, uid, gid)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    copy_xattrs(from, to)?;
    let time = |seconds, nanoseconds| -> Timespec {
        Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or_default() }
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(to, &times)?)
}

/// Best effort, as `cp -a` does: the volume's file system may not have them.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0; NAMES_LIMIT];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names) else { return Ok(()) };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // overlayfs' own marks stay behind.
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let name = CString::new(name)?;
        let mut value = vec![0; VALUE_LIMIT];
        let Ok(length) = rustix::fs::fgetxattr(from, &name, &mut value) else { continue };
        let value = value.get(..length).unwrap_or_default();
        let _not_supported_there = rustix::fs::fsetxattr(to, &name, value, XattrFlags::empty());
    }
    Ok(())
}
