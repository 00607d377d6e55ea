//! Files whose size is promised before they are read, while somebody may be writing to them.

use std::fs::{File, Metadata};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tar::{Builder, Header};

/// What ends within so much has the size that was read: files of `/sys` say they have a page.
const HEAD: u64 = 1 << 20;
/// The same for what says it has nothing, as files of `/proc`.
const UNSIZED: u64 = 16 << 20;
const BLOCK: u64 = 512;

/// Appends the regular file `path` under `name`.
pub(super) fn append<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
) -> io::Result<()> {
    // Whatever was put in its place meanwhile is neither followed nor waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags | OFlags::NOCTTY, Mode::empty()) {
        Err(rustix::io::Errno::LOOP) => return Err(replaced()),
        opened => File::from(opened?),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(replaced());
    }
    append_open(builder, name, file, &metadata)
}

fn append_open<W: Write>(
    builder: &mut Builder<W>,
    name: &Path,
    mut file: File,
    metadata: &Metadata,
) -> io::Result<()> {
    let length = metadata.len();
    if length > HEAD && metadata.blocks().saturating_mul(BLOCK) < length {
        // The library leaves out what is not there.
        builder.append_file(name, &mut file)?;
        return if file.metadata()?.len() == length { Ok(()) } else { Err(resized()) };
    }
    let limit = if length == 0 { UNSIZED } else { HEAD };
    let head = head(&file, limit)?;
    let read = u64::try_from(head.len()).unwrap_or(u64::MAX);
    let size = match read < limit {
        true => read,
        false if length == 0 => return Err(endless()),
        false => length.max(read),
    };
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_size(size);
    // Exactly as much as was promised, even if it has become longer or shorter.
    let data = Cursor::new(head).chain(file).chain(io::repeat(0)).take(size);
    builder.append_data(&mut header, name, data)
}

fn head(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    match file.take(limit).read_to_end(&mut head) {
        // Some of the kernel's files wait for what is to happen.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(head),
        read => read.map(|_| head),
    }
}

fn replaced() -> io::Error {
    io::Error::other("something else was put in its place meanwhile: try again")
}

fn resized() -> io::Error {
    io::Error::other("its size has changed meanwhile: stop who writes to it, or try again")
}

fn endless() -> io::Error {
    io::Error::other(format!("it says it is empty and has more than {} MiB", UNSIZED >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the archive says of its one file, if it can be read to its end.
    fn contents(bytes: &[u8]) -> Vec<u8> {
        let mut archive = tar::Archive::new(bytes);
        let mut entries = archive.entries().unwrap();
        let mut found = Vec::new();
        entries.next().unwrap().unwrap().read_to_end(&mut found).unwrap();
        assert!(entries.next().is_none());
        found
    }

    fn appended(path: &Path) -> io::Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, path, Path::new("file"))?;
        Ok(contents(&builder.into_inner()?))
    }

    #[test]
    fn a_file_of_proc_says_it_is_empty_and_is_not() {
        let found = appended(Path::new("/proc/version")).unwrap();
        assert_eq!(found, std::fs::read("/proc/version").unwrap());
    }

    #[test]
    fn a_file_that_changes_its_size_keeps_the_archive_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (before, after) in [(3 << 20, 2 << 20), (2 << 20, 3 << 20), (0, 7), (7, 0)] {
            std::fs::write(&path, vec![1; before]).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            std::fs::write(&path, vec![1; after]).unwrap();
            let mut builder = Builder::new(Vec::new());
            let file = File::open(&path).unwrap();
            append_open(&mut builder, Path::new("file"), file, &metadata).unwrap();
            let found = contents(&builder.into_inner().unwrap());
            let whole = if before > 100 { before } else { after };
            assert_eq!(found.len(), whole, "{before} {after}");
            assert!(found.iter().take(after).all(|byte| *byte == 1));
        }
    }

    #[test]
    fn what_is_put_in_a_files_place_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, link) = (dir.path().join("fifo"), dir.path().join("link"));
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        std::os::unix::fs::symlink("/proc/version", &link).unwrap();
        for path in [fifo, link] {
            assert!(appended(&path).unwrap_err().to_string().contains("try again"));
        }
    }

    #[test]
    fn a_file_with_holes_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, &path, Path::new("file")).unwrap();
        assert!(builder.into_inner().unwrap().len() < 1 << 20);
    }
}
