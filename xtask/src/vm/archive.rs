//! An initial file system as the kernel unpacks it: a cpio archive of the form `newc`.
//!
//! `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel says what it is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;

/// Where Debian has had these since its release 12; loaders and scripts ask by the old names.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Files on their way into the guest, by the path they have there.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
enum Entry {
    Directory,
    Symlink(PathBuf),
    File { from: PathBuf, mode: u32 },
    Text { content: Vec<u8>, mode: u32 },
}

// === impl Archive ===

impl Archive {
    /// An archive with nothing but the links that a merged `/usr` has.
    pub(crate) fn new() -> Self {
        let mut archive = Self::default();
        for name in MERGED {
            archive.directory(&Path::new("/usr").join(name));
            let link = Entry::Symlink(Path::new("usr").join(name));
            archive.entries.insert(PathBuf::from(name), link);
        }
        archive
    }

    /// A directory, and those it is in.
    pub(crate) fn directory(&mut self, path: &Path) {
        let path = merged(path);
        for ancestor in path.ancestors().filter(|it| !it.as_os_str().is_empty()) {
            self.entries.entry(ancestor.to_owned()).or_insert(Entry::Directory);
        }
    }

    /// The file that `from` is or leads to; the first one stays.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn file(&mut self, path: &Path, from: &Path) -> Result<()> {
        let metadata = fs::metadata(from).with_context(|| format!("look at {}", from.display()))?;
        let mode = metadata.permissions().mode() & 0o777;
        self.put(path, Entry::File { from: from.to_owned(), mode });
        Ok(())
    }

    /// A file with this content.
    pub(crate) fn text(&mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) {
        self.put(Path::new(path), Entry::Text { content: content.into(), mode });
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.put(Path::new(path), Entry::Symlink(PathBuf::from(target)));
    }

    /// Whether there is something at `path`.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.entries.contains_key(&merged(path))
    }

    /// Writes the archive; returns how many bytes it has.
    ///
    /// # Errors
    /// When a file cannot be read, or the archive not be written.
    pub(crate) fn write(&self, to: &Path) -> Result<u64> {
        let file = File::create(to).with_context(|| format!("make {}", to.display()))?;
        let mut out = Output { inner: BufWriter::new(file), written: 0, number: 0 };
        for (path, entry) in &self.entries {
            entry.write(&mut out, path).with_context(|| format!("archive {}", path.display()))?;
        }
        out.member(TRAILER.as_bytes(), 0, &[])?;
        out.inner.flush().context("write the archive")?;
        Ok(out.written)
    }

    fn put(&mut self, path: &Path, entry: Entry) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entries.entry(merged(path)).or_insert(entry);
    }
}

/// The name without its root; `/lib/x` is `usr/lib/x`.
fn merged(path: &Path) -> PathBuf {
    let plain = path.strip_prefix("/").unwrap_or(path);
    let is_merged = MERGED.iter().any(|name| plain.starts_with(name));
    if is_merged { Path::new("usr").join(plain) } else { plain.to_owned() }
}

// === impl Entry ===

impl Entry {
    fn write<W: Write>(&self, out: &mut Output<W>, path: &Path) -> io::Result<()> {
        let name = path.as_os_str().as_bytes();
        match self {
            Self::Directory => out.member(name, DIRECTORY, &[]),
            Self::Symlink(target) => out.member(name, SYMLINK, target.as_os_str().as_bytes()),
            Self::File { from, mode } => out.member(name, REGULAR | mode, &fs::read(from)?),
            Self::Text { content, mode } => out.member(name, REGULAR | mode, content),
        }
    }
}

/// Where members go, each with a number of its own and on a boundary of four bytes.
#[derive(Debug)]
struct Output<W> {
    inner: W,
    written: u64,
    number: u32,
}

// === impl Output ===

impl<W: Write> Output<W> {
    fn member(&mut self, name: &[u8], mode: u32, content: &[u8]) -> io::Result<()> {
        self.number += 1;
        let (size, name_size) = (length(content)?, length(name)? + 1);
        let links = 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, the device, that of a node, namesize, check
        let fields = [self.number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        let header: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        self.bytes(MAGIC.as_bytes())?;
        self.bytes(header.as_bytes())?;
        self.bytes(name)?;
        self.bytes(&[0])?;
        self.align()?;
        self.bytes(content)?;
        self.align()
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.written += u64::from(length(bytes)?);
        Ok(())
    }

    fn align(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(4) {
            self.bytes(&[0])?;
        }
        Ok(())
    }
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| io::Error::other("too large for a cpio archive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(archive: &Archive) -> Vec<u8> {
        let place = std::env::temp_dir().join(format!("xtask-cpio-{}", std::process::id()));
        let size = archive.write(&place).unwrap();
        let bytes = fs::read(&place).unwrap();
        fs::remove_file(&place).unwrap();
        assert_eq!(u64::try_from(bytes.len()).unwrap(), size);
        bytes
    }

    /// The names, modes and contents, read as the kernel reads them.
    fn members(bytes: &[u8]) -> Vec<(String, u32, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (mut at, mut found) = (0_usize, Vec::new());
        loop {
            assert_eq!(text(&bytes[at..at + 6]), MAGIC);
            let field = |n: usize| {
                let from = at + 6 + n * 8;
                u32::from_str_radix(&text(&bytes[from..from + 8]), 16).unwrap()
            };
            let (name_size, size) = (usize::try_from(field(11)), usize::try_from(field(6)));
            let name = at + 110;
            let content = (name + name_size.unwrap()).next_multiple_of(4);
            let end = content + size.unwrap();
            let called = text(&bytes[name..content]).trim_end_matches('\0').to_owned();
            if called == TRAILER {
                return found;
            }
            found.push((called, field(1), text(&bytes[content..end])));
            at = end.next_multiple_of(4);
        }
    }

    #[test]
    fn directories_come_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.text("/a/b/c", "hello", 0o755);
        archive.symlink("/a/d", "b/c");
        let member = |name: &str, mode, content: &str| (name.to_owned(), mode, content.to_owned());
        let expected = [
            member("a", DIRECTORY, ""),
            member("a/b", DIRECTORY, ""),
            member("a/b/c", 0o100_755, "hello"),
            member("a/d", SYMLINK, "b/c"),
        ];
        assert_eq!(members(&written(&archive)), expected);
    }

    #[test]
    fn old_names_are_links_into_usr() {
        let mut archive = Archive::new();
        archive.text("/bin/sh", "", 0o755);
        assert!(archive.has(Path::new("/usr/bin/sh")));
        let all = members(&written(&archive));
        assert!(all.contains(&("bin".to_owned(), SYMLINK, "usr/bin".to_owned())));
    }
}
