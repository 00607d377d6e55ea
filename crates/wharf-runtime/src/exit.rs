//! How a container ended.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::Result;

pub(crate) const FILE: &str = "exit.json";

/// How and when a container's command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit status, or 128 and the number of the signal that ended it.
    pub code: i32,
    /// When.
    pub finished_at: Timestamp,
    /// Whether one of its processes was ended because its memory was used up.
    #[serde(default)]
    pub oom_killed: bool,
}

/// How the container of the shim in `run_dir` ended; `None` if it has not.
pub fn exit_status(run_dir: &Path) -> Result<Option<Exit>> {
    durable::read_json(&run_dir.join(FILE))
}

/// The exit code a shell would give this status.
pub fn code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(255)
}

/// The same for a process that was waited for by its number.
pub(crate) fn code_of(status: rustix::process::WaitStatus) -> i32 {
    code(ExitStatus::from_raw(status.as_raw()))
}
