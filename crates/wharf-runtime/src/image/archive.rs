//! The outer tar of `docker save` and OCI archives: an index of its members, read at will.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tar::{Archive as Tar, EntryType};

use crate::digest::{Digest, Hashing};
use crate::error::{Context, Error, Result};
use crate::image::budget::{Budget, Budgeted};
use crate::image::compression::decompressed;
use crate::image::config::ConfigFile;
use crate::inroot::relative;

/// More than any real archive, less than a disk.
const ARCHIVE_LIMIT: u64 = 128 << 30;
/// An archive has a handful of members per layer.
const MEMBER_LIMIT: usize = 100_000;
const HEADER_LIMIT: u64 = 1 << 20;
/// The distribution specification wants registries to take manifests of 4 MiB.
const JSON_LIMIT: u64 = 8 << 20;
/// Links from one layer to another are one step; more is a loop.
const LINK_LIMIT: usize = 8;

/// An archive on disk and where its members are.
#[derive(Debug)]
pub(super) struct Archive {
    name: String,
    file: Arc<File>,
    members: HashMap<PathBuf, Member>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, length: u64 },
    Link(PathBuf),
}

/// The bytes of one member.
#[derive(Debug)]
pub(super) struct Blob {
    file: Arc<File>,
    position: u64,
    end: u64,
}

// === impl Archive ===

impl Archive {
    /// Opens the archive `path`; a compressed one is unpacked into an unnamed file in `spool`.
    pub(super) fn open(path: &Path, spool: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let mut file = File::open(path).during(|| format!("open {name}"))?;
        let mut start = [0; 512];
        let count = file.read_at(&mut start, 0).during(|| format!("read {name}"))?;
        if count == start.len() && start.get(257..262) == Some(b"ustar") {
            return Self::index(name, file);
        }
        file.rewind().during(|| format!("read {name}"))?;
        Self::spool(name, file, spool)
    }

    /// Copies an archive that can be read only once into an unnamed file in `spool`.
    pub(super) fn spool(name: String, reader: impl Read, spool: &Path) -> Result<Self> {
        let what = || format!("copy {name} to {}", spool.display());
        let mut file = tempfile::tempfile_in(spool).during(what)?;
        let mut content = decompressed(reader)
            .map_err(|e| Error::archive(&name, e.to_string()))?
            .take(ARCHIVE_LIMIT);
        let length = io::copy(&mut content, &mut file).during(what)?;
        if length == ARCHIVE_LIMIT {
            return Err(Error::archive(name, format!("larger than {ARCHIVE_LIMIT} bytes")));
        }
        Self::index(name, file)
    }

    fn index(name: String, mut file: File) -> Result<Self> {
        let broken = |e: io::Error| Error::archive(&name, format!("not an image archive: {e}"));
        file.rewind().map_err(broken)?;
        let budget = Budget::new(HEADER_LIMIT);
        let reader = file.try_clone().map_err(broken)?;
        let mut tar = Tar::new(Budgeted::new(BufReader::new(reader), budget.clone()));
        let mut members = HashMap::new();
        let mut entries = tar.entries_with_seek().map_err(broken)?;
        loop {
            budget.limit(HEADER_LIMIT);
            let Some(entry) = entries.next() else { break };
            let entry = entry.map_err(broken)?;
            if let Some((path, member)) = member(&entry) {
                members.insert(path, member);
            }
            if members.len() > MEMBER_LIMIT {
                return Err(Error::archive(name, format!("more than {MEMBER_LIMIT} members")));
            }
        }
        Ok(Self { name, file: Arc::new(file), members })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.members.contains_key(Path::new(path))
    }

    pub(super) fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::archive(&self.name, reason)
    }

    /// The member `path`, through links to other members.
    pub(super) fn blob(&self, path: &str) -> Result<Blob> {
        let mut at = PathBuf::from(path);
        for _ in 0..LINK_LIMIT {
            match self.members.get(&at) {
                Some(&Member::File { offset, length }) => {
                    let end = offset.saturating_add(length);
                    return Ok(Blob { file: self.file.clone(), position: offset, end });
                }
                Some(Member::Link(target)) => at.clone_from(target),
                None => return Err(self.refuse(format!("it has no {}", at.display()))),
            }
        }
        Err(self.refuse(format!("{path} links to itself")))
    }

    /// The image configuration in member `path` and the digest of its text.
    pub(super) fn config(&self, path: &str) -> Result<(ConfigFile, Digest)> {
        let (text, digest) = self.text(path)?;
        let config =
            ConfigFile::read(text).map_err(|e| Error::json(format!("{}: {path}", self.name), e))?;
        Ok((config, digest))
    }

    /// The JSON in member `path` and the digest of its text.
    pub(super) fn json<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Digest)> {
        let (text, digest) = self.text(path)?;
        let value = serde_json::from_slice(&text)
            .map_err(|e| Error::json(format!("{}: {path}", self.name), e))?;
        Ok((value, digest))
    }

    fn text(&self, path: &str) -> Result<(Vec<u8>, Digest)> {
        let mut text = Vec::new();
        let mut reader = Hashing::new(self.blob(path)?).take(JSON_LIMIT);
        reader.read_to_end(&mut text).during(|| format!("read {path} of {}", self.name))?;
        if reader.limit() == 0 {
            return Err(self.refuse(format!("{path} is larger than {JSON_LIMIT} bytes")));
        }
        Ok((text, reader.into_inner().finish()))
    }

    /// The JSON of the OCI blob `digest`, which must have that digest.
    pub(super) fn json_blob<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T> {
        let path = blob_path(digest);
        let (value, found) = self.json(&path)?;
        self.undamaged(&path, &found, digest).map(|()| value)
    }

    /// The image configuration in the OCI blob `digest`, which must have that digest.
    pub(super) fn config_blob(&self, digest: &Digest) -> Result<ConfigFile> {
        let path = blob_path(digest);
        let (config, found) = self.config(&path)?;
        self.undamaged(&path, &found, digest).map(|()| config)
    }

    fn undamaged(&self, path: &str, found: &Digest, wanted: &Digest) -> Result<()> {
        match found == wanted {
            true => Ok(()),
            false => Err(self.refuse(format!("{path} is damaged: its digest is {found}"))),
        }
    }
}

/// Where an OCI layout keeps the blob `digest`.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Path and place of a member, if it is one we can use; names that climb out are not.
fn member<R: Read>(entry: &tar::Entry<'_, R>) -> Option<(PathBuf, Member)> {
    let path = relative(&entry.path_bytes()).ok()?;
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => {
            let (offset, length) = (entry.raw_file_position(), entry.size());
            Some((path, Member::File { offset, length }))
        }
        EntryType::Symlink => {
            let target = entry.link_name().ok()??;
            let base = path.parent().unwrap_or_else(|| Path::new(""));
            Some((path.clone(), Member::Link(lexical(&base.join(target))?)))
        }
        EntryType::Link => Some((path, Member::Link(relative(&entry.link_name_bytes()?).ok()?))),
        _ => None,
    }
}

/// `path` without `.` and `..`; members are names only, so this needs no file system.
fn lexical(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

// === impl Blob ===

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..length) else { return Ok(0) };
        let count = self.file.read_at(buffer, self.position)?;
        self.position += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }
}
