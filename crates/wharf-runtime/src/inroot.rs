//! Paths inside a directory that somebody else filled.
//!
//! Every lookup is done by the kernel with the directory as its root (`openat2`, Linux 5.6), so
//! links, `..` and races inside it never lead out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// `openat2` reports EAGAIN when a rename elsewhere made its check uncertain; this many in a row
/// mean somebody is doing it on purpose.
const LOOKUP_TRIES: usize = 32;
/// As the kernel's own limit for links in one lookup.
const LINKS_LIMIT: usize = 40;

/// A directory that is the root of all lookups.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

// === impl Root ===

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(CWD, path, flags, Mode::empty())? })
    }

    /// Opens `path` with links followed inside the root.
    pub(crate) fn find(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.lookup(path, flags, ResolveFlags::IN_ROOT)
    }

    /// Opens `path` as it is, following no link at all.
    pub(crate) fn find_unlinked(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.lookup(path, flags | OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
    }

    fn lookup(&self, path: &Path, flags: OFlags, how: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::CLOEXEC;
        let how = how | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..LOOKUP_TRIES {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                found => return Ok(found?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens the directory `path`, making what is missing of it with mode `mode`, also where links
    /// lead to what is not there.
    pub(crate) fn make_dirs(&self, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        match self.find(path, directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let mut links = 0;
        let mut waiting = parts(path);
        let mut so_far = PathBuf::new();
        let mut parent = self.find(&so_far, directory)?;
        while let Some(name) = waiting.pop() {
            so_far.push(&name);
            parent = match self.make_dir(&parent, &so_far, &name, mode) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && links < LINKS_LIMIT => {
                    let link = rustix::fs::readlinkat(&parent, name.as_os_str(), Vec::new())?;
                    let link = Path::new(OsStr::from_bytes(link.as_bytes()));
                    links += 1;
                    so_far.pop();
                    if link.has_root() {
                        so_far.clear();
                    }
                    waiting.extend(parts(link));
                    self.find(&so_far, directory)?
                }
                found => found?,
            };
        }
        Ok(parent)
    }

    /// Opens the directory `path`, which is `name` in `parent`, and makes it when it is missing.
    /// Nothing is found where a link leads nowhere.
    fn make_dir(
        &self,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        match self.find(path, directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        match rustix::fs::mkdirat(parent, name, mode) {
            // Such a link, or somebody was faster.
            Ok(()) | Err(Errno::EXIST) => self.find(path, directory),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a regular file of at most `limit` bytes; `None` when there is none.
    pub(crate) fn read_text(&self, path: &Path, limit: u64) -> io::Result<Option<String>> {
        // NONBLOCK: a named pipe put in the file's place must not hold us up.
        let file = match self.find(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(fd) => File::from(fd),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether `path` is a directory.
    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.find(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The ordinary components of a path, and those that lead up, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// A relative path made of `name`'s components, or why it cannot be one.
pub(crate) fn relative(name: &[u8]) -> Result<PathBuf, &'static str> {
    if name.contains(&0) {
        return Err("a name contains a zero byte");
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("a path climbs out with '..'"),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

/// The kind of file behind a raw mode.
pub(crate) fn kind_of(stat: &rustix::fs::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const MODE: Mode = Mode::from_raw_mode(0o755);

    #[test]
    fn directories_are_made_where_links_lead_but_never_outside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root");
        fs::create_dir_all(path.join("sub")).unwrap();
        symlink("/made/here", path.join("absolute")).unwrap();
        symlink("../../../up", path.join("sub/relative")).unwrap();
        fs::create_dir_all(path.join("far/away")).unwrap();
        symlink("/far/away", path.join("short")).unwrap();
        symlink("../near", path.join("far/away/link")).unwrap();
        symlink("round", path.join("round")).unwrap();
        let root = Root::open(&path).unwrap();
        root.make_dirs(Path::new("/absolute/a"), MODE).unwrap();
        assert!(path.join("made/here/a").is_dir());
        root.make_dirs(Path::new("/sub/relative/b"), MODE).unwrap();
        assert!(path.join("up/b").is_dir());
        root.make_dirs(Path::new("/short/link"), MODE).unwrap();
        assert!(path.join("far/near").is_dir());
        assert!(root.make_dirs(Path::new("/round/c"), MODE).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was made outside");
    }

    #[test]
    fn two_who_make_a_directory_at_once_both_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for round in 0..100 {
            let path = PathBuf::from(format!("/{round}/a/b/c/d"));
            std::thread::scope(|scope| {
                let makers: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| root.make_dirs(&path, MODE))).collect();
                makers.into_iter().for_each(|made| drop(made.join().unwrap().unwrap()));
            });
        }
    }
}
