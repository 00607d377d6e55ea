//! Turns the tar of one layer into an overlayfs lower directory.
//!
//! Nothing outside the directory is read or written, whatever the tar says: every path is looked
//! up by the kernel with the directory as its root, `..` is refused, and sizes, counts and lengths
//! are bounded. Whiteouts become what overlayfs understands: a character device 0:0 for a removed
//! file, `trusted.overlay.opaque` for a directory whose lower content is hidden.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use crate::error::{Context, Error, Result};
use crate::image::attributes::Attributes;
use crate::image::budget::{Budget, Budgeted};
use crate::image::tape::Recorder;
use crate::inroot::{Root, kind_of, relative};

/// More than any real layer, less than a disk: a bomb of zeros stops here.
const SIZE_LIMIT: u64 = 64 << 30;
/// Large distributions have some 300,000 files in all.
const ENTRY_LIMIT: u64 = 2_000_000;
/// What one tar header and its long-name and PAX records may take: they are held in memory.
const HEADER_LIMIT: u64 = 1 << 20;
/// Linux' PATH_MAX.
const PATH_LIMIT: usize = 4096;
/// Directory names are kept until their times can be set.
const DIRECTORY_NAMES_LIMIT: usize = 128 << 20;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS' own bookkeeping; means nothing to overlayfs.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What a layer came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// The bytes of its regular files.
    pub bytes: u64,
    /// Its tar entries.
    pub entries: u64,
}

struct Unpacker {
    root: Root,
    recorder: Recorder,
    /// The directory of the entry before: most entries share it.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    directories: Vec<(PathBuf, Attributes)>,
    directory_names: usize,
    /// The bytes the disk had room for at the beginning.
    room: u64,
    done: Unpacked,
}

/// Unpacks the uncompressed layer tar `layer` into `root`, which must be an empty directory.
///
/// # Errors
/// The tar is malformed, exceeds a limit or names something outside of `root`; or the disk is
/// full. What was unpacked until then stays and is to be thrown away.
pub fn unpack(layer: impl Read, root: &Path) -> Result<Unpacked> {
    unpack_recorded(layer, root, Recorder::none())
}

/// As [`unpack`], telling `recorder`, which `layer` is read through, what is whose content.
pub(super) fn unpack_recorded(
    layer: impl Read,
    root: &Path,
    recorder: Recorder,
) -> Result<Unpacked> {
    let what = || format!("unpack into {}", root.display());
    let root = Root::open(root).during(what)?;
    let mut unpacker = Unpacker {
        room: room(&root).during(what)?,
        root,
        recorder,
        parent: None,
        directories: Vec::new(),
        directory_names: 0,
        done: Unpacked::default(),
    };
    let budget = Budget::new(HEADER_LIMIT);
    let mut archive = Archive::new(Budgeted::new(layer, budget.clone()));
    let mut entries = archive.entries().map_err(broken)?;
    loop {
        // Only headers pass between two entries: each entry below is read to its end.
        budget.limit(HEADER_LIMIT);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(broken)?;
        budget.limit(SIZE_LIMIT);
        unpacker.entry(&mut entry)?;
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
    }
    unpacker.finish()
}

fn room(root: &Root) -> io::Result<u64> {
    let disk = rustix::fs::fstatvfs(root)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn broken(error: io::Error) -> Error {
    Error::Layer(format!("broken tar: {error}"))
}

fn refused(name: &[u8], why: impl std::fmt::Display) -> Error {
    Error::Layer(format!("entry {:?}: {why}", String::from_utf8_lossy(name)))
}

// === impl Unpacker ===

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<()> {
        let name = entry.path_bytes().into_owned();
        self.count(&name, entry)?;
        let path = relative(&name).map_err(|why| refused(&name, why))?;
        self.place(entry, &path).map_err(|error| match error {
            Error::Io { source, .. } => refused(&name, source),
            other => other,
        })
    }

    fn count<R: Read>(&mut self, name: &[u8], entry: &Entry<'_, R>) -> Result<()> {
        self.done.entries += 1;
        self.done.bytes = self.done.bytes.saturating_add(entry.size());
        if self.done.entries > ENTRY_LIMIT {
            return Err(Error::Layer(format!("more than {ENTRY_LIMIT} entries")));
        }
        if self.done.bytes > SIZE_LIMIT {
            return Err(refused(name, format!("the layer is larger than {SIZE_LIMIT} bytes")));
        }
        // A bomb says how large it is: nothing is written of what there is no room for. This also
        // stops sparse files, of which a few bytes stand for any number.
        if self.done.bytes > self.room {
            return Err(Errno::NOSPC).during(|| {
                let (bytes, room) = (self.done.bytes, self.room);
                format!("unpack a layer of {bytes} bytes and more where {room} are free")
            });
        }
        if name.len() > PATH_LIMIT {
            return Err(Error::Layer(format!("a path of {} bytes", name.len())));
        }
        Ok(())
    }

    fn place<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let attributes = Attributes::of(entry)?;
        let Some(name) = path.file_name() else {
            return self.root_directory(kind, attributes);
        };
        let above = path.parent().unwrap_or_else(|| Path::new(""));
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(above, name.as_bytes());
        }
        let parent = self.parent(above)?;
        let hidden = self.clear_way(&parent, Path::new(name), kind)?;
        self.make(entry, &parent, path, attributes)?;
        // A whiteout came first: what the lower layers have here stays hidden.
        if hidden { self.set_opaque(path) } else { Ok(()) }
    }

    fn make<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        path: &Path,
        attributes: Attributes,
    ) -> Result<()> {
        let name = Path::new(path.file_name().unwrap_or_default());
        let what = || format!("make {}", path.display());
        match entry.header().entry_type() {
            kind @ (EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse) => {
                // A sparse file's content is not what its tar has.
                if kind != EntryType::GNUSparse {
                    self.recorder.file(path, entry.size());
                }
                make_file(entry, parent, name, &attributes).during(what)
            }
            EntryType::Directory => self.make_directory(parent, path, attributes),
            EntryType::Symlink => {
                let target = link_target(entry)?;
                rustix::fs::symlinkat(target.as_slice(), parent, name).during(what)?;
                attributes.apply_at(parent, name, FileType::Symlink).during(what)
            }
            EntryType::Link => {
                let target = link_target(entry)?;
                self.make_hard_link(&target, parent, path)
            }
            EntryType::Char => {
                make_node(entry, parent, name, &attributes, FileType::CharacterDevice)
            }
            EntryType::Block => make_node(entry, parent, name, &attributes, FileType::BlockDevice),
            EntryType::Fifo => make_node(entry, parent, name, &attributes, FileType::Fifo),
            other => Err(Error::Layer(format!("tar entries of type {other:?} are not known"))),
        }
    }

    fn root_directory(&mut self, kind: EntryType, attributes: Attributes) -> Result<()> {
        if kind != EntryType::Directory {
            return Err(Error::Layer("an entry without a name".to_owned()));
        }
        attributes
            .apply(self.root.find(Path::new("."), OFlags::RDONLY).during(|| "open")?)
            .during(|| "set the attributes of the root")?;
        self.remember(PathBuf::new(), attributes)
    }

    /// The directory `path` inside the root; made, as tar does, when no entry has made it.
    fn parent(&mut self, path: &Path) -> Result<Rc<OwnedFd>> {
        if let Some((last, fd)) = &self.parent
            && last == path
        {
            return Ok(fd.clone());
        }
        let fd = self.root.make_dirs(path, Mode::from_raw_mode(0o755));
        let fd = Rc::new(fd.during(|| format!("open {}", path.display()))?);
        self.parent = Some((path.to_owned(), fd.clone()));
        Ok(fd)
    }

    /// Removes what an entry is to replace; tells whether that was the mark of a removed file.
    fn clear_way(&mut self, parent: &OwnedFd, name: &Path, kind: EntryType) -> Result<bool> {
        let what = || format!("replace {}", name.display());
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            found => found.during(what)?,
        };
        let into_directory = kind == EntryType::Directory;
        match kind_of(&stat) {
            FileType::Directory if into_directory => Ok(false),
            FileType::Directory => {
                self.parent = None;
                self.recorder.spoil();
                let path = format!("/proc/self/fd/{}", parent.as_raw_fd());
                crate::tree::remove_tree(&Path::new(&path).join(name)).during(what)?;
                Ok(false)
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).during(what)?;
                Ok(into_directory)
            }
            _ => {
                self.parent = None;
                self.recorder.spoil();
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).during(what)?;
                Ok(false)
            }
        }
    }

    fn make_directory(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        attributes: Attributes,
    ) -> Result<()> {
        let name = Path::new(path.file_name().unwrap_or_default());
        let what = || format!("make the directory {}", path.display());
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).during(what),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).during(what)?;
        attributes.apply(fd).during(what)?;
        self.remember(path.to_owned(), attributes)
    }

    fn make_hard_link(&mut self, target: &[u8], parent: &OwnedFd, path: &Path) -> Result<()> {
        let source = relative(target).map_err(|why| refused(target, why))?;
        let name = Path::new(path.file_name().unwrap_or_default());
        let Some(source_name) = source.file_name() else {
            return Err(refused(target, "a hard link to the root"));
        };
        let above = source.parent().unwrap_or_else(|| Path::new(""));
        let what = || format!("link {} to {}", path.display(), source.display());
        let from = self.root.find(above, OFlags::PATH | OFlags::DIRECTORY).during(what)?;
        // Without SYMLINK_FOLLOW: a link as the target is linked itself, never followed.
        rustix::fs::linkat(from, Path::new(source_name), parent, name, AtFlags::empty())
            .during(what)
    }

    fn whiteout(&mut self, above: &Path, name: &[u8]) -> Result<()> {
        if name == OPAQUE {
            self.parent(above)?;
            return self.set_opaque(above);
        }
        if name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        let removed = name.strip_prefix(WHITEOUT).unwrap_or_default();
        if matches!(removed, b"" | b"." | b"..") {
            return Err(refused(name, "a whiteout must name a file"));
        }
        let parent = self.parent(above)?;
        let what = || format!("mark {} as removed", above.display());
        match rustix::fs::statat(&*parent, removed, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
                rustix::fs::mknodat(&*parent, removed, kind, mode, 0).during(what)
            }
            // A whiteout speaks of the layers below; this layer's own file stays.
            Ok(stat) if kind_of(&stat) == FileType::Directory => {
                self.set_opaque(&above.join(std::ffi::OsStr::from_bytes(removed)))
            }
            Ok(_) => Ok(()),
            Err(e) => Err(e).during(what),
        }
    }

    fn set_opaque(&self, directory: &Path) -> Result<()> {
        let what = || format!("hide what is below {}", directory.display());
        let fd = self.root.find(directory, OFlags::RDONLY | OFlags::DIRECTORY).during(what)?;
        rustix::fs::fsetxattr(fd, OPAQUE_XATTR, b"y", XattrFlags::empty()).during(what)
    }

    /// Times of directories are set last: filling them changes them.
    fn remember(&mut self, path: PathBuf, attributes: Attributes) -> Result<()> {
        self.directory_names += path.as_os_str().len();
        if self.directory_names > DIRECTORY_NAMES_LIMIT {
            return Err(Error::Layer("the names of its directories do not fit memory".to_owned()));
        }
        self.directories.push((path, attributes.times_only()));
        Ok(())
    }

    fn finish(self) -> Result<Unpacked> {
        for (path, attributes) in self.directories.iter().rev() {
            // Replaced by something else since: then its times do not matter.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let Ok(fd) = self.root.find_unlinked(path, flags) else { continue };
            attributes.apply_times(&fd).during(|| format!("set times of {}", path.display()))?;
        }
        Ok(self.done)
    }
}

fn make_file<R: Read>(
    entry: &mut Entry<'_, R>,
    parent: &OwnedFd,
    name: &Path,
    attributes: &Attributes,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(fd);
    let expected = entry.size();
    let written = io::copy(entry, &mut file)?;
    if written != expected {
        return Err(io::Error::other(format!("ends after {written} of {expected} bytes")));
    }
    attributes.apply(file.as_fd())
}

fn make_node<R: Read>(
    entry: &Entry<'_, R>,
    parent: &OwnedFd,
    name: &Path,
    attributes: &Attributes,
    kind: FileType,
) -> Result<()> {
    let header = entry.header();
    let number = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or_default();
    let (major, minor) = match kind {
        FileType::Fifo => (0, 0),
        _ => (number(header.device_major()), number(header.device_minor())),
    };
    let what = || format!("make the device {}", name.display());
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device).during(what)?;
    attributes.apply_at(parent, name, kind).during(what)
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> Result<Vec<u8>> {
    let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
    if target.is_empty() || target.len() >= PATH_LIMIT || target.contains(&0) {
        return Err(Error::Layer(format!("a link to {:?}", String::from_utf8_lossy(&target))));
    }
    Ok(target)
}

/// The owner as the kernel takes it.
pub(super) fn owner(uid: u32, gid: u32) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests;
