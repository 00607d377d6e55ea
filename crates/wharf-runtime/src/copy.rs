//! Files in and out of a container: a process of its own goes into the container's root and makes or
//! reads a tar stream there.
//!
//! It changes its root for good before it looks at anything, so that no link of the container's leads
//! it out, however quickly somebody inside puts one there.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use wharf_host::process::Pid;

use crate::durable;
use crate::error::{Context, Error, Result};
use crate::shim::mount_at_rest;
use crate::spec::ContainerSpec;

mod read;
mod write;

pub use read::archive;
pub use write::unpack;

/// What is to be done, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySpec {
    /// The container.
    pub container: ContainerSpec,
    /// Its first process; `None` while it does not run.
    pub pid: Option<Pid>,
    /// What is to be done.
    pub task: CopyTask,
}

/// What can be done with a container's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum CopyTask {
    /// Tell what is at a path, as JSON ([`FileStat`]).
    Stat {
        /// The path, from the container's root.
        path: PathBuf,
        /// Follow a link at its end.
        follow: bool,
    },
    /// Write what is at a path as a tar stream whose entries begin with its name.
    Read {
        /// The path, from the container's root.
        path: PathBuf,
        /// Follow a link at its end.
        follow: bool,
        /// What it is called in the stream, in place of the last part of the path.
        name: Option<PathBuf>,
    },
    /// Unpack a tar stream.
    Write {
        /// A directory that exists, from the container's root.
        path: PathBuf,
        /// Keep the owners the stream names; everything is root's otherwise.
        owners: bool,
    },
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// The last part of the path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its type and permissions, as in `stat(2)`.
    pub mode: u32,
    /// Whether it is a directory, or a link to one.
    pub is_dir: bool,
    /// Where a link leads; empty when it is none.
    pub link_target: String,
}

/// The body of `wharf shim-copy --dir DIR --spec FILE`: does what `FILE` says, which it removes, with
/// this process' standard streams. `DIR` is the process' own.
///
/// Must be called with no other thread running. The result is the exit status for the process: 0, 4
/// when there is nothing at the path, or 1, with the reason on standard error.
pub fn run_copy(dir: &Path, file: &Path) -> i32 {
    match run(dir, file) {
        Ok(()) => 0,
        Err(error) => {
            let _nowhere_else_to_say = write!(std::io::stderr(), "{error}");
            if is_absence(&error) { NOT_FOUND } else { 1 }
        }
    }
}

/// The exit status of [`run_copy`] when there is nothing at the path.
pub const NOT_FOUND: i32 = 4;

fn is_absence(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

fn run(dir: &Path, file: &Path) -> Result<()> {
    let spec = durable::read_json::<CopySpec>(file)?
        .ok_or_else(|| Error::Spec(format!("nothing is asked for in {}", file.display())))?;
    std::fs::remove_file(file).during(|| format!("remove {}", file.display()))?;
    enter(dir, &spec)?;
    match &spec.task {
        CopyTask::Stat { path, follow } => {
            let stat = if *follow { stat(&followed(path)?)? } else { stat(path)? };
            serde_json::to_writer(std::io::stdout(), &stat).map_err(|e| Error::json("answer", e))
        }
        CopyTask::Read { path, follow, name } => {
            archive(path, *follow, name.as_deref(), std::io::stdout().lock())
        }
        CopyTask::Write { path, owners } => {
            write::unpack_inside(path, *owners, std::io::stdin().lock())
        }
    }
}

/// Makes the container's root this process' own.
fn enter(dir: &Path, spec: &CopySpec) -> Result<()> {
    let root = match spec.pid {
        Some(pid) => return enter_running(pid),
        None => {
            // The daemon keeps the container from being started meanwhile; the next daemon would not
            // know of this process, and two mounts of one writable layer corrupt it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .during(|| "end with the daemon")?;
            // Nobody else sees what is mounted here, and it goes with this process.
            wharf_host::netns::unshare_mount_private()?;
            mount_at_rest(&spec.container, dir)?
        }
    };
    let what = || format!("go into {}", root.display());
    rustix::process::chdir(&root).during(what)?;
    rustix::process::chroot(".").during(what)?;
    rustix::process::chdir("/").during(what)
}

fn enter_running(pid: Pid) -> Result<()> {
    let what = || format!("go into the root of process {pid}");
    rustix::process::chdir(format!("/proc/{pid}/root")).during(what)?;
    // Only now that its root is held: another process may have got its number.
    if !pid.is_alive() {
        return Err(Error::Spec("the container has just ended: try again".to_owned()));
    }
    rustix::process::chroot(".").during(what)?;
    rustix::process::chdir("/").during(what)
}

/// Where a path leads in the end.
fn followed(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).during(|| format!("follow {}", path.display()))
}

fn stat(path: &Path) -> Result<FileStat> {
    let what = || format!("look at {}", path.display());
    let own = std::fs::symlink_metadata(path).during(what)?;
    let link = own.is_symlink().then(|| std::fs::read_link(path).during(what)).transpose()?;
    let name = path.file_name().map_or_else(|| "/".into(), |name| name.to_string_lossy());
    Ok(FileStat {
        name: name.into_owned(),
        size: own.size(),
        mode: own.mode(),
        is_dir: std::fs::metadata(path).is_ok_and(|seen| seen.is_dir()),
        link_target: link.unwrap_or_default().to_string_lossy().into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if the container had ended and its number were somebody else's.
    #[test]
    fn a_number_that_belongs_to_another_process_is_not_gone_into() {
        let own = Pid::current().unwrap();
        let other = Pid { start_time: own.start_time + 1, ..own };
        let error = enter_running(other).unwrap_err().to_string();
        assert_eq!(error, "the container has just ended: try again");
    }
}
