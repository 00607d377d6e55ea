//! One daemon for each state directory and each run directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::paths::Paths;

/// A daemon that is on its way out, or in, may hold the locks for this long without answering.
const HANDOVER_LIMIT: Duration = Duration::from_secs(10);
const HANDOVER_POLL: Duration = Duration::from_millis(20);

/// Held for as long as a daemon lives; the kernel lets go of them however it ends.
#[derive(Debug)]
pub(crate) struct Locks {
    _state: File,
    _run: File,
}

// === impl Locks ===

impl Locks {
    /// Takes both locks. A daemon that is just leaving is waited for; one that answers is not.
    pub(crate) fn take(paths: &Paths) -> Result<Self> {
        let deadline = Instant::now() + HANDOVER_LIMIT;
        let state = take_one(&paths.state_lock(), paths, deadline)?;
        let run = take_one(&paths.lock(), paths, deadline)?;
        Ok(Self { _state: state, _run: run })
    }
}

/// Whether a daemon answers on the socket.
pub(crate) fn is_served(paths: &Paths) -> bool {
    UnixStream::connect(paths.socket()).is_ok()
}

fn take_one(path: &Path, paths: &Paths, deadline: Instant) -> Result<File> {
    let failed = || Error::io(format!("lock {}", path.display()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(failed())?;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if is_served(paths) || Instant::now() >= deadline {
            return Err(held_by_other(&mut file, path));
        }
        std::thread::sleep(HANDOVER_POLL);
    }
    file.set_len(0).map_err(failed())?;
    file.rewind().map_err(failed())?;
    write!(file, "{}", std::process::id()).map_err(failed())?;
    Ok(file)
}

fn held_by_other(file: &mut File, path: &Path) -> Error {
    let mut pid = String::new();
    let _read = file.read_to_string(&mut pid);
    let pid = if pid.is_empty() { "unknown".to_owned() } else { pid };
    Error::AlreadyRunning { path: path.parent().unwrap_or(path).to_owned(), pid }
}
