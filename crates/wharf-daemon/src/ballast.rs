//! Room that is kept for the day the disk is full.
//!
//! To remove something takes notes, and notes take room. A file that is nothing but room is given up
//! for them, so that whatever frees the disk still works on a full one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FallocateFlags;

use crate::daemon::Daemon;
use crate::error::{Error, Result};

/// Enough for the ledger to grow once and for the names of images to be written anew.
const SIZE: u64 = 2 << 20;

/// The file.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    /// Held while the file is made or removed, and never over the work that needs its room: that
    /// may ask for help itself.
    changing: Mutex<()>,
}

// === impl Ballast ===

impl Ballast {
    /// Keeps room at `path`, if there is some.
    pub(crate) fn at(path: PathBuf) -> Self {
        let ballast = Self { path, changing: Mutex::default() };
        ballast.take();
        ballast
    }

    /// Does `work`, and once more with this room if the disk was too full for it.
    pub(crate) fn help<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        let done = match work() {
            Err(error) if is_full(&error) => {
                self.give();
                work()
            }
            done => done,
        };
        // Not before room has been made: the disk may have been full once more.
        if done.is_ok() {
            self.take();
        }
        done
    }

    fn give(&self) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let _none_left = fs::remove_file(&self.path);
    }

    /// A half of it would be of no use, and is not left to others' surprise.
    fn take(&self) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.path.exists() {
            return;
        }
        let taken = reserve(&self.path);
        if let Err(error) = &taken {
            tracing::warn!(%error, "no room can be kept for removing things on a full disk");
            let _nothing_of_it = fs::remove_file(&self.path);
        }
    }
}

// === impl Daemon ===

impl Daemon {
    /// Does `work`, which frees room, also where there is none to begin with.
    pub(crate) fn freeing<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        self.ballast.help(work)
    }
}

fn reserve(path: &Path) -> rustix::io::Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let file =
        file.map_err(|e| rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE)
}

/// By its words: several of these travel as the text of another error.
fn is_full(error: &Error) -> bool {
    let text = error.to_string();
    ["os error 28", "os error 122"].iter().any(|number| text.contains(number))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn full() -> Error {
        Error::io("write it")(std::io::Error::from_raw_os_error(28))
    }

    #[test]
    fn room_is_given_once_and_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        let ballast = Ballast::at(path.clone());
        let size = || fs::metadata(&path).map_or(0, |seen| seen.len());
        assert_eq!(size(), SIZE);
        let tries = Cell::new(0);
        let done = ballast.help(|| {
            tries.set(tries.get() + 1);
            if size() > 0 { Err(full()) } else { Ok(()) }
        });
        done.unwrap();
        assert_eq!((tries.get(), size()), (2, SIZE));
        assert!(is_full(&ballast.help(|| Err::<(), _>(full())).unwrap_err()));
        assert_eq!(size(), 0, "there is no room for it");
        ballast.help(|| Ok(())).unwrap();
        assert_eq!(size(), SIZE);
        tries.set(0);
        let within = ballast.help(|| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 { Err(full()) } else { ballast.help(|| Ok(())) }
        });
        within.unwrap();
        assert_eq!((tries.get(), size()), (2, SIZE), "whoever is helped may ask for help");
        let other = ballast.help(|| Err::<(), _>(Error::Conflict("no".into())));
        assert_eq!(other.unwrap_err().to_string(), "no");
    }
}
