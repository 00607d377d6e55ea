//! Fills an empty named volume with what the image has in its place, once for each container.
//!
//! Docker looks at a volume when a container is made with it. Here that is the first time that the
//! container's files are mounted, as only then they can be seen as one; it is noted, so that a volume
//! that is emptied later stays empty. The copy is made beside the volume and moved into it when it is
//! whole: neither a crash nor a full disk leaves half of it, and nothing that is in a volume is ever
//! removed.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::inroot::Root;
use crate::spec::{Bind, ContainerSpec};
use crate::tree::remove_tree;

mod tree;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Beside a volume's files: a copy that is not whole yet, and one that is being moved in.
const DRAFT: &str = "filling";
const WHOLE: &str = "filled";
/// A draft inside the volume, where the one beside it is on another file system.
const ACROSS: &str = ".wharf-filling";
/// In a container's directory once its volumes have been looked at.
const NOTE: &str = "volumes-seen";
/// Others may be filling the same volume; a little less than the daemon waits for the container.
const LOCK_LIMIT: Duration = Duration::from_secs(100);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A volume nobody else fills meanwhile.
struct Volume<'a> {
    bind: &'a Bind,
    draft: PathBuf,
    whole: PathBuf,
    /// Its directory. A lock of its files' one could be held by a container.
    _held: File,
}

/// Fills the volumes of `spec`, whose root is `root`, unless that has been considered before.
pub(super) fn fill_all(root: &Root, spec: &ContainerSpec) -> Result<()> {
    let note = spec.dir.join(NOTE);
    let seen = note.exists();
    let is_volume = |bind: &&Bind| bind.copy_up || bind.volume.is_some();
    for bind in spec.binds.iter().filter(is_volume).filter(|bind| bind.source.is_dir()) {
        let what = || format!("fill the volume {}", bind.source.display());
        let volume = Volume::lock(bind, LOCK_LIMIT)?;
        volume.settle().during(what)?;
        if bind.copy_up && !seen {
            volume.fill(root).during(what)?;
        }
    }
    if !seen && spec.binds.iter().any(|bind| bind.copy_up) {
        File::create(&note).during(|| format!("write {}", note.display()))?;
    }
    Ok(())
}

// === impl Volume ===

impl<'a> Volume<'a> {
    fn lock(bind: &'a Bind, limit: Duration) -> Result<Self> {
        let what = || format!("lock the volume {}", bind.source.display());
        let held = File::open(bind.source.parent().unwrap_or(Path::new("/"))).during(what)?;
        let deadline = Instant::now() + limit;
        loop {
            match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(LOCK_POLL),
                Err(Errno::WOULDBLOCK) => return Err(busy(bind, limit)),
                Err(Errno::INTR) => {}
                locked => break locked.during(what)?,
            }
        }
        let beside = |mark: &str| {
            let mut name = bind.source.file_name().unwrap_or_default().to_owned();
            name.push(".");
            name.push(mark);
            bind.source.with_file_name(name)
        };
        Ok(Self { bind, draft: beside(DRAFT), whole: beside(WHOLE), _held: held })
    }

    /// Ends what somebody has begun who was stopped.
    fn settle(&self) -> io::Result<()> {
        remove_tree(&self.draft)?;
        if self.whole.exists() { self.move_in() } else { Ok(()) }
    }

    fn fill(&self, root: &Root) -> io::Result<()> {
        let target = self.bind.target.strip_prefix("/").unwrap_or(&self.bind.target);
        if !root.is_dir(target) || !names(&self.open()?)?.is_empty() {
            return Ok(());
        }
        let from = root.find(target, OFlags::RDONLY | OFlags::DIRECTORY)?;
        if names(&from)?.is_empty() {
            return tree::copy_attributes(&from, &self.open()?);
        }
        if let Err(error) = self.copy(&from) {
            // A full disk has no room for it.
            let _reported_with_the_failure = remove_tree(&self.draft);
            return Err(error);
        }
        self.move_in()
    }

    fn copy(&self, from: &OwnedFd) -> io::Result<()> {
        fs::create_dir(&self.draft)?;
        let to = rustix::fs::open(&self.draft, DIRECTORY, Mode::empty())?;
        tree::copy(from, &to)?;
        // It is not called whole before it is so on the disk.
        rustix::fs::syncfs(&to)?;
        fs::rename(&self.draft, &self.whole)
    }

    fn move_in(&self) -> io::Result<()> {
        let (from, to) = (rustix::fs::open(&self.whole, DIRECTORY, Mode::empty())?, self.open()?);
        for name in names(&from)? {
            match rustix::fs::renameat_with(&from, &name, &to, &name, RenameFlags::NOREPLACE) {
                // Somebody who uses the volume has made one: that one stays.
                Ok(()) | Err(Errno::EXIST) => {}
                // Another file system is mounted there.
                Err(Errno::XDEV) => {
                    self.copy_across(&from, &to)?;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        tree::copy_attributes(&from, &to)?;
        remove_tree(&self.whole)
    }

    /// As [`Self::copy`], on the file system that is mounted at the volume: a try that is cut off
    /// leaves nothing that could be taken for whole.
    fn copy_across(&self, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        let draft = self.bind.source.join(ACROSS);
        remove_tree(&draft)?;
        fs::create_dir(&draft)?;
        let copied = rustix::fs::open(&draft, DIRECTORY, Mode::empty())?;
        tree::copy(from, &copied)?;
        for name in names(&copied)? {
            match rustix::fs::renameat_with(&copied, &name, to, &name, RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        remove_tree(&draft)
    }

    fn open(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&self.bind.source, DIRECTORY, Mode::empty())?)
    }
}

fn busy(bind: &Bind, limit: Duration) -> Error {
    Error::Spec(format!(
        "the volume {} has been filled by another container for {} s: wait until that one has started",
        bind.volume.clone().unwrap_or_else(|| bind.source.display().to_string()),
        limit.as_secs()
    ))
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
