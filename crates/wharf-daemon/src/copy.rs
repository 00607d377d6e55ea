//! Files in and out of containers: a process of ours goes into the container's root and does it.
//!
//! While the files of a container that does not run are looked at, nobody may start it: two mounts of
//! one writable layer corrupt it.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use wharf_host::process::Pid;
use wharf_runtime::client::{Shim, copy_command};
use wharf_runtime::copy::{CopySpec, CopyTask, FileStat, NOT_FOUND};

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase};

const PIECE: usize = 64 << 10;
/// A client that neither sends nor reads for so long has lost interest.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// What is kept of the reason for a failure.
const REASON_LIMIT: u64 = 4096;

/// One process at work, and the directory it has to itself.
struct Copying {
    child: Child,
    dir: PathBuf,
    what: String,
}

// === impl Daemon ===

impl Daemon {
    /// Tells what is at a path in a container.
    pub fn stat_file(&self, name: &str, path: &str, follow: bool) -> Result<FileStat> {
        let task = CopyTask::Stat { path: absolute(path), follow };
        self.at_files(name, task, |mut copying| {
            let mut answer = Vec::new();
            copying.output(|piece| {
                answer.extend_from_slice(piece);
                Ok(())
            })?;
            copying.finish()?;
            serde_json::from_slice(&answer)
                .map_err(|e| Error::Conflict(format!("what is at {path} cannot be told: {e}")))
        })
    }

    /// Sends what is at a path in a container to `to`, as a tar stream.
    pub fn read_files(
        &self,
        name: &str,
        path: &str,
        (follow, name_there): (bool, Option<String>),
        to: &mpsc::Sender<std::io::Result<Bytes>>,
    ) -> Result<()> {
        let task =
            CopyTask::Read { path: absolute(path), follow, name: name_there.map(PathBuf::from) };
        let runtime = Handle::current();
        self.at_files(name, task, |mut copying| {
            copying.output(|piece| {
                let piece = Ok(Bytes::copy_from_slice(piece));
                let sent = async { tokio::time::timeout(IDLE_LIMIT, to.send(piece)).await };
                match runtime.block_on(sent) {
                    Ok(Ok(())) => Ok(()),
                    _ => Err(Error::Conflict("the client has stopped reading".into())),
                }
            })?;
            copying.finish()
        })
    }

    /// Unpacks a tar stream in a directory of a container.
    pub fn write_files(
        &self,
        name: &str,
        path: &str,
        owners: bool,
        mut from: impl Read,
    ) -> Result<()> {
        let task = CopyTask::Write { path: absolute(path), owners };
        self.at_files(name, task, |mut copying| {
            let fed = copying.input(&mut from);
            // Why it has stopped reading is its to say.
            copying.finish()?;
            fed
        })
    }

    fn at_files<T>(
        &self,
        name: &str,
        task: CopyTask,
        work: impl FnOnce(Copying) -> Result<T>,
    ) -> Result<T> {
        let id = self.id_of(name)?;
        let what = format!("{name}:{}", path_of(&task).display());
        let record = self.ledger.container(&id)?;
        if record.phase == Phase::Running {
            return work(self.start_copying(&record, task, what)?);
        }
        self.in_turn(&id, || {
            let record = self.ledger.container(&id)?;
            work(self.start_copying(&record, task, what)?)
        })
    }

    fn start_copying(
        &self,
        record: &ContainerRecord,
        task: CopyTask,
        what: String,
    ) -> Result<Copying> {
        let shim = Shim::adopt(&self.paths.shim(&record.id)).ok().flatten();
        let pid = shim.and_then(|shim| first_process(&shim));
        if record.phase == Phase::Running && pid.is_none() {
            return Err(Error::Conflict(format!(
                "container {:?} is just ending: try again",
                record.name
            )));
        }
        let dir = self.paths.shim(&format!("copy-{:016x}", rand::random::<u64>()));
        let spec = CopySpec { container: record.spec.clone(), pid, task };
        let exe = wharf_host::process::current_exe();
        let started =
            copy_command(&exe, &dir, &spec).map_err(Error::from).and_then(|mut command| {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().map_err(Error::io("start a process for the files of a container"))
            });
        match started {
            Ok(child) => Ok(Copying { child, dir, what }),
            Err(error) => {
                let _gone = std::fs::remove_dir_all(&dir);
                Err(error)
            }
        }
    }
}

// === impl Copying ===

impl Copying {
    /// Gives everything it writes to `take`.
    fn output(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        drop(self.child.stdin.take());
        let Some(mut stdout) = self.child.stdout.take() else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        loop {
            match stdout.read(&mut piece).map_err(Error::io(format!("read {}", self.what)))? {
                0 => return Ok(()),
                read => take(piece.get(..read).unwrap_or_default())?,
            }
        }
    }

    /// Gives it everything there is in `from`.
    fn input(&mut self, from: &mut impl Read) -> Result<()> {
        let Some(mut stdin) = self.child.stdin.take() else { return Ok(()) };
        let fed = std::io::copy(from, &mut stdin).and_then(|_| stdin.flush());
        fed.map_err(Error::io(format!("write {}", self.what)))
    }

    /// Waits for its end, and says why it failed if it did.
    fn finish(&mut self) -> Result<()> {
        let mut reason = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _whatever_there_is = stderr.take(REASON_LIMIT).read_to_string(&mut reason);
        }
        let status = self.child.wait().map_err(Error::io("wait for a process"))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(NOT_FOUND) => {
                Err(Error::NotFound { kind: "container:path", name: self.what.clone() })
            }
            _ => Err(Error::Invalid(format!("{}: {reason}", self.what))),
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// A container's first process. Its shim tells the number before and after it is looked at, so that
/// it was not another process that was seen.
fn first_process(shim: &Shim) -> Option<Pid> {
    let number = || shim.state().ok()?.pid;
    let pid = Pid::of(number()?).ok()?;
    (number() == Some(pid.pid)).then_some(pid)
}

/// A path in a container begins at its root, as with Docker, even if it is not written so.
fn absolute(path: &str) -> PathBuf {
    PathBuf::from("/").join(path)
}

fn path_of(task: &CopyTask) -> &std::path::Path {
    match task {
        CopyTask::Stat { path, .. }
        | CopyTask::Read { path, .. }
        | CopyTask::Write { path, .. } => path,
    }
}
