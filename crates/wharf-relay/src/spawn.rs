//! Finding the relay of a run directory, or starting it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wharf_host::process::{
    Detached, Pid, allow_descriptors, current_exe, descriptor_limit_of, spawn_detached,
};

use crate::client::RelayClient;
use crate::error::{During, Error, Result};

/// A relay binds nothing but its control socket at the start; seconds mean that it failed.
const START_LIMIT: Duration = Duration::from_secs(5);
/// Tens of thousands of sockets change hands in a second or two.
const UPGRADE_LIMIT: Duration = Duration::from_secs(20);
const RACE_LIMIT: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(10);
/// A log longer than this is put aside when the next relay starts.
const LOG_LIMIT: u64 = 1 << 20;

/// A relay that was started and may not serve yet.
#[derive(Debug)]
struct Started {
    process: Option<Pid>,
    log: PathBuf,
    /// How long the log was before it could say anything.
    said: u64,
}

/// The control socket of the relay that serves `run_dir`.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("relay.sock")
}

/// Connects to the relay of `run_dir`; if there is none, starts `exe relay --run-dir RUN_DIR`,
/// detached, with its standard error in `RUN_DIR/relay.log`.
///
/// # Errors
/// When it does not answer within 5 s, with the end of its log, or ends, with what it said.
pub fn ensure(run_dir: &Path, exe: &Path) -> Result<RelayClient> {
    let socket = socket_path(run_dir);
    match RelayClient::connect(&socket) {
        Err(error) if is_absent(&error) => {}
        found => return found,
    }
    let started = Started::launch(run_dir, exe, &[])?;
    let mut deadline = Instant::now() + START_LIMIT;
    loop {
        let alive = started.process.is_some_and(|process| process.is_alive());
        match RelayClient::connect(&socket) {
            Err(error) if is_absent(&error) => {}
            found => return found,
        }
        if !alive {
            // It may have lost a race against another relay, which will listen in a moment.
            deadline = deadline.min(Instant::now() + RACE_LIMIT);
        }
        if Instant::now() >= deadline {
            return Err(started.failure(alive, START_LIMIT));
        }
        std::thread::sleep(RETRY);
    }
}

/// Starts `exe`, or else this program, as a relay that takes the place of the one that serves `run_dir`, without a
/// refused connection; that one's connections may go on for `drain_seconds`. Returns a connection
/// to the new one.
///
/// # Errors
/// When no relay serves `run_dir`, or the new one could have fewer open files, or did not take over
/// within 20 s; the old one serves on then.
pub fn upgrade(run_dir: &Path, exe: Option<&Path>, drain_seconds: u32) -> Result<RelayClient> {
    let socket = socket_path(run_dir);
    let old = match RelayClient::connect_to_old(&socket) {
        Ok(relay) => relay.pid(),
        Err(error) if is_absent(&error) => return Err(Error::NotRunning(run_dir.to_owned())),
        Err(error) => return Err(error),
    };
    keep_limit(old)?;
    let more = ["--take-over".to_owned(), drain_seconds.to_string()];
    let started = Started::launch(run_dir, exe.unwrap_or(&current_exe()), &more)?;
    let deadline = Instant::now() + UPGRADE_LIMIT;
    loop {
        let alive = started.process.is_some_and(|process| process.is_alive());
        // Nobody answers while one hands over to the other.
        match RelayClient::connect(&socket) {
            Ok(relay) if relay.pid() != old => return Ok(relay),
            _ => {}
        }
        if !alive || Instant::now() >= deadline {
            return Err(started.failure(alive, UPGRADE_LIMIT));
        }
        std::thread::sleep(RETRY);
    }
}

/// The next relay has its limit of open files from us, and what it takes over is as much as ever.
fn keep_limit(pid: u32) -> Result<()> {
    let Some(theirs) = descriptor_limit_of(pid)? else { return Ok(()) };
    let ours = allow_descriptors(theirs);
    if ours < theirs { Err(Error::FewerFiles { pid, theirs, ours }) } else { Ok(()) }
}

// === impl Started ===

impl Started {
    fn launch(run_dir: &Path, exe: &Path, more: &[String]) -> Result<Self> {
        let (log, file) = open_log(run_dir)?;
        let said = file.metadata().during(|| "look at the relay's log")?.len();
        let mut start = Detached::new(exe, ["relay", "--run-dir"]);
        // It has a working directory of its own.
        let run_dir = std::path::absolute(run_dir).during(|| "find the working directory")?;
        start.args.push(run_dir.into());
        start.args.extend(more.iter().map(Into::into));
        start.arg0 = Some("wharf".into());
        start.stderr = file.into();
        Ok(Self { process: Pid::of(spawn_detached(start)?).ok(), log, said })
    }

    /// Why it does not serve: it needs longer than `limit`, or has ended.
    fn failure(&self, alive: bool, limit: Duration) -> Error {
        if alive {
            return Error::NotStarted { seconds: limit.as_secs(), log: tail(&self.log) };
        }
        let text = fs::read(&self.log).unwrap_or_default();
        let since = usize::try_from(self.said).ok().and_then(|said| text.get(said..));
        let since = String::from_utf8_lossy(since.unwrap_or_default());
        // Others write to this log, too, but no errors.
        let error = since.lines().rev().find_map(|line| line.strip_prefix("wharf: "));
        let reason = match error {
            Some(error) => error.to_owned(),
            None if since.is_empty() => {
                format!("it ended without saying why; see {}", self.log.display())
            }
            None => last_lines(&since),
        };
        Error::Ended { reason }
    }
}

/// Whether nobody listens, rather than somebody strange.
fn is_absent(error: &Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    match error {
        Error::Io { source, .. } => matches!(source.kind(), NotFound | ConnectionRefused),
        Error::Closed => true,
        _ => false,
    }
}

pub(crate) fn open_log(run_dir: &Path) -> Result<(PathBuf, File)> {
    let path = run_dir.join("relay.log");
    if fs::metadata(&path).is_ok_and(|found| found.len() > LOG_LIMIT) {
        fs::rename(&path, run_dir.join("relay.log.1")).during(|| "put the relay's log aside")?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let log = options.open(&path).during(|| format!("open {}", path.display()))?;
    Ok((path, log))
}

fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = last_lines(&String::from_utf8_lossy(&text));
    if text.is_empty() { format!("{} is empty", path.display()) } else { text }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
