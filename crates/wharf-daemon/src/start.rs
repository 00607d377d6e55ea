//! Starting a daemon in the background, and learning why it did not start.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

use wharf_host::process::{Detached, Pid, current_exe, spawn_detached};

use crate::error::{Error, Result};
use crate::paths::Paths;

/// The log of a daemon in the background starts anew past this size, so that it cannot fill a disk.
const LOG_LIMIT: u64 = 8 << 20;
/// It names containers and ports, which are not everybody's business.
const LOG_MODE: u32 = 0o640;

/// A daemon that was started; one that has already ended has no process.
#[derive(Debug)]
pub struct Started(Option<Pid>);

/// Starts a daemon for `paths` in a session of its own. When another one starts at the same time,
/// one of the two gives way without harm.
pub fn in_background(paths: &Paths) -> Result<Started> {
    crate::serve::make_dirs(paths)?;
    forget_failure(paths);
    let log = open_log(paths)?;
    let copy = log.try_clone().map_err(Error::io("share the daemon's log"))?;
    let mut start = Detached::new(current_exe(), ["daemon"]);
    start.stdout = Stdio::from(copy);
    start.stderr = Stdio::from(log);
    start.env = vec![
        ("WHARF_STATE_DIR".into(), paths.state_dir().into()),
        ("WHARF_RUN_DIR".into(), paths.run_dir().into()),
    ];
    Ok(Started(Pid::of(spawn_detached(start)?).ok()))
}

// === impl Started ===

impl Started {
    /// Whether it has ended, because it failed or because another one serves already.
    pub fn has_ended(&self) -> bool {
        !self.0.is_some_and(|process| process.is_alive())
    }
}

/// Waits until the daemon with this process id has ended; `false` when it has not within `limit`.
pub fn wait_end(pid: u32, limit: Duration) -> bool {
    match Pid::of(pid) {
        Ok(daemon) => daemon.wait_exit(limit).unwrap_or(false),
        Err(_) => true,
    }
}

/// Why the daemon that was started last gave up, if it did.
pub fn failure(paths: &Paths) -> Option<String> {
    std::fs::read_to_string(paths.start_failure()).ok().filter(|text| !text.is_empty())
}

/// Leaves word for [`failure`]; a failure to do so only costs the explanation.
pub fn leave_word(paths: &Paths, why: &str) {
    let _written = std::fs::write(paths.start_failure(), why);
}

pub(crate) fn forget_failure(paths: &Paths) {
    let _gone = std::fs::remove_file(paths.start_failure());
}

fn open_log(paths: &Paths) -> Result<File> {
    let path = paths.daemon_log();
    let full = std::fs::metadata(&path).is_ok_and(|m| m.len() > LOG_LIMIT);
    let mut options = OpenOptions::new();
    options.create(true).mode(LOG_MODE);
    if full {
        options.write(true).truncate(true)
    } else {
        options.append(true)
    };
    options.open(&path).map_err(Error::io(format!("open {}", path.display())))
}
