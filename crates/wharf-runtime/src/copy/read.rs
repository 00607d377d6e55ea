//! Out of a container: files become a tar stream.

use std::fs::Metadata;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::error::{Context, Result};

mod regular;

/// What is in the archive twice is a link the second time, by device and inode.
type Seen = std::collections::HashMap<(u64, u64), PathBuf>;

/// Writes `path` to `to` as a tar stream; names in it begin with `name`, or with the last part of the
/// path, `.` for the root.
pub fn archive(path: &Path, follow: bool, name: Option<&Path>, to: impl Write) -> Result<()> {
    let path = if follow { super::followed(path)? } else { path.to_owned() };
    let own = path.file_name().map(Path::new);
    let name = name.or(own).unwrap_or(Path::new("."));
    let mut builder = Builder::new(BufWriter::new(to));
    builder.follow_symlinks(false);
    append(&mut builder, &path, name, &mut Seen::new())?;
    let what = || "end the archive";
    builder.into_inner().during(what)?.flush().during(what)
}

/// Depth first, so that a directory stands before what is in it.
fn append<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
    seen: &mut Seen,
) -> Result<()> {
    let mut waiting = vec![(path.to_owned(), name.to_owned())];
    while let Some((path, name)) = waiting.pop() {
        let what = || format!("read {}", path.display());
        let metadata = match std::fs::symlink_metadata(&path) {
            // Somebody inside was faster.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !seen.is_empty() => continue,
            found => found.during(what)?,
        };
        if metadata.is_dir() {
            builder.append_dir(&name, &path).during(what)?;
            for entry in std::fs::read_dir(&path).during(what)? {
                let entry = entry.during(what)?.file_name();
                waiting.push((path.join(&entry), name.join(&entry)));
            }
            seen.entry(place(&metadata)).or_insert(name);
        } else {
            append_file(builder, &path, &name, &metadata, seen)?;
        }
    }
    Ok(())
}

fn place(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn append_file<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
    seen: &mut Seen,
) -> Result<()> {
    let what = || format!("read {}", path.display());
    let kind = metadata.file_type();
    // A socket is not a file once its owner has gone; archives have none.
    if kind.is_socket() {
        return Ok(());
    }
    if metadata.nlink() > 1
        && let Some(first) = seen.get(&place(metadata))
    {
        return append_link(builder, name, first, metadata).during(what);
    }
    let appended = match () {
        () if kind.is_file() => regular::append(builder, path, name),
        () if kind.is_symlink() => builder.append_path_with_name(path, name),
        () => append_special(builder, name, metadata),
    };
    match appended {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !seen.is_empty() => return Ok(()),
        appended => appended.during(what)?,
    }
    seen.insert(place(metadata), name.to_owned());
    Ok(())
}

/// A pipe or a device; the library would give it the name it has on the disk.
fn append_special<W: Write>(
    builder: &mut Builder<W>,
    name: &Path,
    metadata: &Metadata,
) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_size(0);
    let kind = metadata.file_type();
    header.set_entry_type(match () {
        () if kind.is_fifo() => EntryType::Fifo,
        () if kind.is_char_device() => EntryType::Char,
        () => EntryType::Block,
    });
    if !kind.is_fifo() {
        header.set_device_major(rustix::fs::major(metadata.rdev()))?;
        header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
    }
    builder.append_data(&mut header, name, std::io::empty())
}

fn append_link<W: Write>(
    builder: &mut Builder<W>,
    name: &Path,
    first: &Path,
    metadata: &Metadata,
) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_entry_type(EntryType::Link);
    header.set_size(0);
    builder.append_link(&mut header, name, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_sockets_is_in_the_archive() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir_all(top.join("sub")).unwrap();
        std::fs::write(top.join("file"), "one").unwrap();
        std::fs::hard_link(top.join("file"), top.join("same")).unwrap();
        std::os::unix::fs::symlink("file", top.join("link")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, top.join("fifo"), fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
        let mut bytes = Vec::new();
        archive(&top, false, Some(Path::new("new")), &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found: Vec<(String, EntryType)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.path().unwrap().display().to_string();
                (name.trim_end_matches('/').to_owned(), entry.header().entry_type())
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["new", "new/fifo", "new/file", "new/link", "new/same", "new/sub"]);
        let links = found.iter().filter(|(_, kind)| *kind == EntryType::Link).count();
        assert_eq!(links, 1, "a hard link is one");
    }
}
