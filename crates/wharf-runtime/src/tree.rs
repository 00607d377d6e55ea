//! Removing directories that somebody else has filled.
//!
//! A program in a container can nest directories as deep as the disk allows. Whoever goes down into
//! them needs a descriptor and a stretch of stack for each, and ends before they do. So nobody goes
//! down here: what lies deeper is moved up.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Another removal, perhaps one that was cut off, may have left names like ours.
const NAME_TRIES: u32 = 10_000;

/// A directory that is being removed.
struct Top {
    dir: OwnedFd,
    /// How many have been moved up.
    lifted: u32,
}

/// Removes `path` with everything below, links not followed; fine when it is not there. Needs the
/// same memory and descriptors however deep it goes.
///
/// # Errors
/// The first thing that could not be removed; everything else was tried.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let dir = match open_dir(CWD, path) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return fs::remove_file(path),
        Err(error) => return Err(error.into()),
    };
    let mut top = Top { dir, lifted: 0 };
    top.clear()?;
    fs::remove_dir(path)
}

// === impl Top ===

impl Top {
    /// Removes everything in it.
    fn clear(&mut self) -> io::Result<()> {
        loop {
            let mut failure = None;
            let mut removed = 0;
            // A directory that changes while it is read may not tell everything, so it is read
            // until there is nothing more to do.
            for entry in
                Dir::read_from(&self.dir)?.flatten().filter(|entry| !is_dot(entry.file_name()))
            {
                match self.remove(entry.file_name(), entry.file_type()) {
                    Ok(()) => removed += 1,
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            if removed == 0 {
                return failure.map_or(Ok(()), |error| Err(error.into()));
            }
        }
    }

    fn remove(&mut self, name: &CStr, kind: FileType) -> Result<(), Errno> {
        if unlink(&self.dir, name, kind)? {
            return Ok(());
        }
        self.hollow_out(name)?;
        unlink(&self.dir, name, FileType::Directory).map(drop)
    }

    /// Leaves nothing in the directory `name`: its own directories are moved up beside it.
    fn hollow_out(&mut self, name: &CStr) -> Result<(), Errno> {
        let dir = open_dir(&self.dir, name)?;
        loop {
            let (mut changed, mut failure) = (false, None);
            let entries = Dir::read_from(&dir)?.flatten();
            for entry in entries.filter(|entry| !is_dot(entry.file_name())) {
                let gone = match unlink(&dir, entry.file_name(), entry.file_type()) {
                    Ok(false) => self.lift(&dir, entry.file_name()),
                    gone => gone.map(drop),
                };
                changed |= gone.is_ok();
                failure = failure.or(gone.err());
            }
            if !changed {
                return failure.map_or(Ok(()), Err);
            }
        }
    }

    fn lift(&mut self, from: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        for _ in 0..NAME_TRIES {
            self.lifted = self.lifted.wrapping_add(1);
            let new = format!(".lifted-{}", self.lifted);
            match rustix::fs::renameat(from, name, &self.dir, new.as_str()) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                done => return done,
            }
        }
        Err(Errno::EXIST)
    }
}

/// Removes a file, or a directory without content; `false` when there is some.
fn unlink(dir: &OwnedFd, name: &CStr, kind: FileType) -> Result<bool, Errno> {
    if kind != FileType::Directory {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            // The file system did not say what it is.
            Err(Errno::ISDIR) => {}
            Err(Errno::NOENT) => return Ok(true),
            done => return done.map(|()| true),
        }
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(Errno::NOENT) => Ok(true),
        done => done.map(|()| true),
    }
}

fn open_dir<P: rustix::path::Arg>(at: impl std::os::fd::AsFd, path: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_goes_and_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let (tree, other) = (base.path().join("tree"), base.path().join("other"));
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir_all(tree.join(".lifted-1/full")).unwrap();
        fs::create_dir_all(&other).unwrap();
        for file in ["x", "a/x", "a/b/x", "a/b/c/x"] {
            fs::write(tree.join(file), "x").unwrap();
        }
        fs::write(other.join("kept"), "x").unwrap();
        symlink(&other, tree.join("a/b/link")).unwrap();
        symlink("/nonexistent", tree.join("dangling")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(other.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_the_directory_goes_alone() {
        let base = tempfile::tempdir().unwrap();
        let (link, other) = (base.path().join("link"), base.path().join("other"));
        fs::create_dir(&other).unwrap();
        symlink(&other, &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(!link.is_symlink() && other.exists());
    }

    #[test]
    fn depth_costs_neither_stack_nor_descriptors() {
        const DEPTH: usize = 30_000;
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut dir = open_dir(CWD, &tree).unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&dir, "d", Mode::from_raw_mode(0o755)).unwrap();
            dir = open_dir(&dir, "d").unwrap();
        }
        drop(dir);
        std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || remove_tree(&tree).unwrap())
            .unwrap()
            .join()
            .unwrap();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
