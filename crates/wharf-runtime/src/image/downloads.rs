//! Blobs on their way: `downloads/<digest>`, whole or in part.
//!
//! What a pull has fetched stays until its image is in the store, so that a pull that was cut off,
//! by the network, a crash or its user, goes on where it stopped. Each is written by one pull at a
//! time; others wait and find it done.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Result};

/// Whoever wants to go on does so within a week.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const PIECE: usize = 1 << 16;
const LOCK_LIMIT: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(5);

type Turns = HashMap<Digest, Arc<tokio::sync::Mutex<()>>>;

/// The directory of blobs on their way.
#[derive(Debug)]
pub(super) struct Downloads {
    directory: PathBuf,
    turns: Mutex<Turns>,
}

/// The right to write one of them.
#[derive(Debug)]
pub(super) struct Turn {
    place: Place,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

/// Where one of them is; whoever uses it holds its turn.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

/// A file that is being completed, and the digest of what is in it.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    length: u64,
}

// === impl Downloads ===

impl Downloads {
    /// Those in `directory`, without what nobody has come back for.
    pub(super) fn open(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory).during(|| format!("make {}", directory.display()))?;
        let downloads = Self { directory, turns: Mutex::default() };
        downloads.sweep(KEPT)?;
        Ok(downloads)
    }

    /// Waits until nobody else writes `digest`.
    pub(super) async fn turn(&self, digest: &Digest) -> Turn {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(digest.clone()).or_default())
        };
        let place = Place(self.directory.join(digest.hex()));
        Turn { place, _held: turn.lock_owned().await }
    }

    /// Removes everything that nobody writes; returns the bytes that were freed.
    pub(super) fn prune(&self) -> Result<u64> {
        self.sweep(Duration::ZERO)
    }

    fn sweep(&self, older: Duration) -> Result<u64> {
        let what = || format!("clean {}", self.directory.display());
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut freed = 0;
        for entry in fs::read_dir(&self.directory).during(what)? {
            let entry = entry.during(what)?;
            let name = format!("sha256:{}", entry.file_name().to_string_lossy());
            let turn = name.parse::<Digest>().ok().and_then(|digest| turns.get(&digest));
            if turn.is_some_and(|turn| Arc::strong_count(turn) > 1) {
                continue;
            }
            let metadata = entry.metadata().during(what)?;
            let age = metadata
                .modified()
                .during(what)
                .map(|time| SystemTime::now().duration_since(time).unwrap_or_default())?;
            if age >= older {
                fs::remove_file(entry.path()).during(what)?;
                freed += metadata.len();
            }
        }
        Ok(freed)
    }
}

// === impl Turn ===

impl Turn {
    /// Where the file is.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Removes the file: its content is in the store, or of no use.
    pub(super) fn discard(&self) -> Result<()> {
        let Place(path) = &self.place;
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(e).during(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

// === impl Place ===

impl Place {
    /// Opens the file, making it if needed, and reads what is there.
    pub(super) fn partial(&self) -> Result<Partial> {
        Partial::open(&self.0)
    }

    /// Opens the file for reading.
    pub(super) fn read(&self) -> Result<File> {
        File::open(&self.0).during(|| format!("open {}", self.0.display()))
    }
}

// === impl Partial ===

impl Partial {
    fn open(path: &Path) -> Result<Self> {
        let what = || format!("open {}", path.display());
        let mut file =
            File::options().create(true).read(true).append(true).open(path).during(what)?;
        lock(&file).during(|| format!("lock {}", path.display()))?;
        let (mut hasher, mut length) = (Hasher::default(), 0);
        let mut piece = vec![0; PIECE];
        loop {
            let count = file.read(&mut piece).during(|| format!("read {}", path.display()))?;
            if count == 0 {
                break;
            }
            hasher.update(piece.get(..count).unwrap_or_default());
            length += u64::try_from(count).unwrap_or_default();
        }
        Ok(Self { path: path.to_owned(), file, hasher, length })
    }

    /// The bytes that are there.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn append(&mut self, piece: &[u8]) -> Result<()> {
        self.file.write_all(piece).during(|| format!("write {}", self.path.display()))?;
        self.hasher.update(piece);
        self.length += u64::try_from(piece.len()).unwrap_or_default();
        Ok(())
    }

    /// Throws away what is there.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).during(|| format!("empty {}", self.path.display()))?;
        self.hasher = Hasher::default();
        self.length = 0;
        Ok(())
    }

    pub(crate) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    pub(crate) fn is(&self, digest: &Digest) -> bool {
        self.digest() == *digest
    }
}

/// A pull that was cut off may have a last piece on its way to the disk.
fn lock(file: &File) -> std::io::Result<()> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            locked => return Ok(locked?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Downloads) {
        let directory = tempfile::tempdir().unwrap();
        let downloads = Downloads::open(directory.path().join("downloads")).unwrap();
        (directory, downloads)
    }

    #[tokio::test]
    async fn a_part_is_gone_on_with() {
        let (_directory, downloads) = open();
        let digest = Digest::of(b"hello");
        let turn = downloads.turn(&digest).await;
        turn.place().partial().unwrap().append(b"hel").unwrap();
        let mut partial = turn.place().partial().unwrap();
        assert_eq!((partial.length(), partial.is(&digest)), (3, false));
        partial.append(b"lo").unwrap();
        assert!(partial.is(&digest));
        partial.restart().unwrap();
        assert_eq!(
            (partial.length(), turn.place().read().unwrap().metadata().unwrap().len()),
            (0, 0)
        );
    }

    #[tokio::test]
    async fn what_is_being_written_is_not_swept() {
        let (_directory, downloads) = open();
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let held = downloads.turn(&one).await;
        held.place().partial().unwrap().append(b"x").unwrap();
        downloads.turn(&other).await.place().partial().unwrap().append(b"abc").unwrap();
        assert_eq!(downloads.prune().unwrap(), 3);
        assert!(held.place().read().is_ok());
        drop(held);
        assert_eq!(downloads.prune().unwrap(), 1);
    }

    #[tokio::test]
    async fn one_waits_for_the_other() {
        let (_directory, downloads) = open();
        let digest = Digest::of(b"1");
        let held = downloads.turn(&digest).await;
        let waited = tokio::time::timeout(Duration::from_millis(20), downloads.turn(&digest));
        assert!(waited.await.is_err());
        drop(held);
        let _next = downloads.turn(&digest).await;
    }
}
