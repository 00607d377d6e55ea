//! Out of a container: files become a tar stream.

use std::fs::Metadata;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::error::{Context, Error, Result};

/// What is in the archive twice is a link the second time, by device and inode.
type Seen = std::collections::HashMap<(u64, u64), PathBuf>;

/// Writes `path` to `to`; names in the archive begin with its last part, `.` for the root.
pub(super) fn archive(
    path: &Path,
    follow: bool,
    name: Option<&Path>,
    to: impl Write,
) -> Result<()> {
    let path = if follow {
        std::fs::canonicalize(path).during(|| format!("follow {}", path.display()))?
    } else {
        path.to_owned()
    };
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
    builder
        .append_path_with_name(path, name)
        .map_err(|source| Error::Io { action: format!("archive {}", path.display()), source })?;
    seen.insert(place(metadata), name.to_owned());
    Ok(())
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
