//! The daemon's side of a shim: start one, ask it things, find it again after a restart.
//!
//! Everything here blocks, for a bounded time; call it from a thread that may.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use wharf_host::process::{Detached, Pid, Signal, spawn_detached};

use crate::copy::CopySpec;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::exit::{self, Exit, exit_status};
use crate::shim::wire::{
    DIAGNOSTICS, IDENTITY, Identity, LINE_LIMIT, Reply, Request, SOCKET, SPEC, STATE, SocketDir,
    session_socket,
};
use crate::shim::{Attach, State};
use crate::signal;
use crate::spec::{ContainerSpec, ExecSpec};

/// A shim needs some milliseconds to be there; a loaded machine more.
const LAUNCH_LIMIT: Duration = Duration::from_secs(10);
const LAUNCH_POLL: Duration = Duration::from_millis(1);
/// Creating copies volumes' first content, which may be large.
const CREATE_LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Undoing kills, unmounts and removes; see the limits in [`crate::cgroup`].
const DELETE_LIMIT: Duration = Duration::from_secs(30);
const REPLY_LIMIT: u64 = 64 << 10;
const PRIVATE: u32 = 0o700;

/// A shim that is, or was, there.
#[derive(Debug, Clone)]
pub struct Shim {
    run_dir: PathBuf,
    pid: Pid,
}

// === impl Shim ===

impl Shim {
    /// Starts a shim for `spec` and returns as soon as it has its network namespace, before the
    /// container exists: the time to plug a network in through [`Shim::pid`].
    ///
    /// `program` answers to `shim --dir DIR` with [`crate::shim::run_shim`] and to `shim-exec`
    /// with [`crate::shim::run_exec`]. `run_dir` is the shim's own and is made if needed; the
    /// container's directory is `spec.dir`.
    pub fn launch(program: &Path, run_dir: &Path, spec: &ContainerSpec) -> Result<Self> {
        prepare(run_dir, spec)?;
        let mut start =
            Detached::new(program, [PathBuf::from("shim"), "--dir".into(), run_dir.into()]);
        // libcontainer would pass descriptors that systemd gave to the daemon on to containers.
        start.env = vec![("LISTEN_FDS".into(), "0".into())];
        let number = spawn_detached(start)?;
        let died = || Error::Shim {
            action: format!("start the shim of container {}", spec.id),
            reason: last_words(run_dir),
        };
        let pid = Pid::of(number).map_err(|_| died())?;
        let shim = Self { run_dir: run_dir.to_owned(), pid };
        let deadline = Instant::now() + LAUNCH_LIMIT;
        while shim.connect(ANSWER_LIMIT).is_err() {
            if !pid.is_alive() {
                return Err(died());
            }
            if Instant::now() > deadline {
                let _reported_as_timeout = pid.signal(Signal::KILL);
                let action = format!("start the shim of container {}", spec.id);
                return Err(Error::Timeout { action, limit: LAUNCH_LIMIT });
            }
            sleep(LAUNCH_POLL);
        }
        Ok(shim)
    }

    /// Finds the shim of an earlier daemon in `run_dir`; `None` when it has ended, or there was
    /// none. [`exit_status`] then tells how, and [`crate::cgroup::kill_leftovers`] cleans up.
    pub fn adopt(run_dir: &Path) -> Result<Option<Self>> {
        let identity = durable::read_json::<Identity>(&run_dir.join(IDENTITY))?;
        let shim = identity.map(|id| Self { run_dir: run_dir.to_owned(), pid: id.shim });
        Ok(shim.filter(|shim| shim.pid.is_alive()))
    }

    /// The shim's process, whose network namespace is the container's.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The directory it was started with.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.pid.is_alive()
    }

    /// Makes the container, its command ready to run.
    ///
    /// # Errors
    /// Among others [`Error::Command`], when the command cannot be executed. The shim then waits
    /// for [`Shim::delete`].
    pub fn create(&self) -> Result<State> {
        self.ask(Request::Create, "create the container", CREATE_LIMIT)
    }

    /// Runs the command.
    pub fn start(&self) -> Result<State> {
        self.ask(Request::Start, "start the container", ANSWER_LIMIT)
    }

    /// Sends the command a signal.
    pub fn kill(&self, signal: impl Into<signal::Signal>) -> Result<()> {
        let request = Request::Kill { signal: signal.into().number() };
        self.ask(request, "signal the container", ANSWER_LIMIT).map(|_| ())
    }

    /// How far the container is.
    pub fn state(&self) -> Result<State> {
        self.ask(Request::State, "ask about the container", ANSWER_LIMIT)
    }

    /// Undoes a container that was not started, and ends the shim.
    pub fn delete(&self) -> Result<()> {
        match self.ask(Request::Delete, "undo the container", DELETE_LIMIT) {
            Err(_) if !self.is_alive() => return Ok(()),
            answer => answer?,
        };
        if self.pid.wait_exit(ANSWER_LIMIT)? {
            return Ok(());
        }
        Err(Error::Timeout { action: "undo the container".to_owned(), limit: ANSWER_LIMIT })
    }

    /// Waits until the container has ended and nothing of it is left, at most `limit`; `None`
    /// when that was not long enough.
    ///
    /// # Errors
    /// The shim was killed: there is no exit code, and [`crate::cgroup::kill_leftovers`] must
    /// clean up.
    pub fn wait_exit(&self, limit: Duration) -> Result<Option<Exit>> {
        if !self.pid.wait_exit(limit)? {
            return Ok(None);
        }
        let lost = || Error::Shim {
            action: "wait for the container".to_owned(),
            reason: format!("its shim ended without leaving an exit code{}", said(&self.run_dir)),
        };
        exit_status(&self.run_dir)?.map(Some).ok_or_else(lost)
    }

    /// Attaches to the container's streams: what comes over the connection from now on are frames
    /// ([`wharf_spec::frame`]), in both directions. Possible as soon as the container was made, so
    /// that nothing of its output is missed.
    ///
    /// A connection that is closed by the other side without a last frame of [`Exit`] was given up,
    /// because its client took nothing for long.
    ///
    /// [`Exit`]: wharf_spec::frame::Frame::Exit
    pub fn attach(&self, attach: Attach) -> Result<UnixStream> {
        attach_to(&self.run_dir, SOCKET, attach)
    }

    fn connect(&self, limit: Duration) -> std::io::Result<UnixStream> {
        connect_to(&self.run_dir, SOCKET, limit)
    }

    fn ask(&self, request: Request, action: &str, limit: Duration) -> Result<State> {
        let refused = |reason: String| Error::Shim { action: action.to_owned(), reason };
        let timeout = || Error::Timeout { action: action.to_owned(), limit };
        let mut stream =
            self.connect(limit).map_err(|e| refused(format!("its shim cannot be reached: {e}")))?;
        let mut line = serde_json::to_vec(&request).map_err(|e| Error::json("request", e))?;
        line.push(b'\n');
        stream.write_all(&line).during(|| action)?;
        match self.waits_for_answer(&stream, limit).during(|| action)? {
            Waited::Answer => {}
            Waited::End => return Err(refused("its shim ended".to_owned())),
            Waited::Nothing => return Err(timeout()),
        }
        let mut answer = String::new();
        match BufReader::new(stream.take(REPLY_LIMIT)).read_line(&mut answer) {
            Ok(0) => return Err(refused("its shim ended".to_owned())),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Err(timeout()),
            Err(e) => return Err(e).during(|| action),
        }
        understand(answer.as_bytes())
    }

    /// Waits for an answer, or for the end of the shim: a process that it was about to make has its
    /// descriptors, too, so that its socket alone would not tell.
    fn waits_for_answer(&self, stream: &UnixStream, limit: Duration) -> std::io::Result<Waited> {
        let process = self.pid.open().map_err(std::io::Error::other)?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Nobody to wait for is no reason to miss what was said before.
            let left = if process.is_some() { left } else { Duration::ZERO };
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let mut fds = vec![PollFd::new(stream, PollFlags::IN)];
            fds.extend(process.as_ref().map(|process| PollFd::new(process, PollFlags::IN)));
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Err(Errno::INTR) => continue,
                polled => drop(polled?),
            }
            let happened: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            return Ok(match (happened.first(), happened.get(1)) {
                (Some(true), _) => Waited::Answer,
                (_, Some(false)) => Waited::Nothing,
                (_, Some(true) | None) => Waited::End,
            });
        }
    }
}

/// What came of waiting for a shim.
enum Waited {
    Answer,
    End,
    Nothing,
}

fn understand(answer: &[u8]) -> Result<State> {
    match serde_json::from_slice(answer).map_err(|e| Error::json("the shim's answer", e))? {
        Reply::State(state) => Ok(state),
        Reply::Error { code: code @ (126 | 127), message } => Err(Error::Command { code, message }),
        Reply::Error { message, .. } => Err(Error::Spec(message)),
    }
}

fn connect_to(run_dir: &Path, name: &str, limit: Duration) -> std::io::Result<UnixStream> {
    let dir = SocketDir::open(run_dir)?;
    let stream = UnixStream::connect(dir.socket(name))?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

fn attach_to(run_dir: &Path, name: &str, attach: Attach) -> Result<UnixStream> {
    let what = || "attach to the container";
    let mut stream = connect_to(run_dir, name, ANSWER_LIMIT).during(what)?;
    let mut line =
        serde_json::to_vec(&Request::Attach(attach)).map_err(|e| Error::json("request", e))?;
    line.push(b'\n');
    stream.write_all(&line).during(what)?;
    // One byte after the other: what follows the line are frames already.
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.last() != Some(&b'\n') && answer.len() < LINE_LIMIT {
        stream.read_exact(&mut byte).during(what)?;
        answer.extend(byte);
    }
    understand(&answer)?;
    Ok(stream)
}

/// Starts a command that clients attach to, in the container of the shim in `run_dir`, and attaches
/// the first if it is to wait for one. It ends by itself.
pub fn exec_session(
    program: &Path,
    run_dir: &Path,
    exec: &ExecSpec,
    attach: Attach,
) -> Result<Option<UnixStream>> {
    let session = exec.session.clone().unwrap_or_default();
    let number = spawn_exec(program, run_dir, exec)?;
    if !session.awaits_client {
        return Ok(None);
    }
    let action = "run a command in the container";
    let died = || Error::Shim { action: action.to_owned(), reason: "it ended at once".to_owned() };
    let pid = Pid::of(number).map_err(|_| died())?;
    let deadline = Instant::now() + LAUNCH_LIMIT;
    loop {
        if let Some(stream) = attach_to_session(run_dir, &session.id, attach)? {
            return Ok(Some(stream));
        }
        if !pid.is_alive() {
            return Err(died());
        }
        if Instant::now() > deadline {
            let _reported_as_timeout = pid.signal(Signal::KILL);
            return Err(Error::Timeout { action: action.to_owned(), limit: LAUNCH_LIMIT });
        }
        sleep(LAUNCH_POLL);
    }
}

/// Starts a command without streams in the container of the shim in `run_dir`. It ends by itself,
/// and nobody hears how.
pub fn exec_detached(program: &Path, run_dir: &Path, exec: &ExecSpec) -> Result<()> {
    spawn_exec(program, run_dir, exec).map(drop)
}

fn spawn_exec(program: &Path, run_dir: &Path, exec: &ExecSpec) -> Result<u32> {
    let file = describe(run_dir, exec)?;
    let words = ["shim-exec".into(), "--dir".into(), run_dir.into(), "--spec".into(), file];
    let mut start = Detached::new(program, words.map(PathBuf::into_os_string));
    start.env = vec![("LISTEN_FDS".into(), "0".into())];
    Ok(spawn_detached(start)?)
}

/// Attaches to a command of [`exec_session`]; `None` when there is none of that id, any more or yet.
pub fn attach_to_session(run_dir: &Path, id: &str, attach: Attach) -> Result<Option<UnixStream>> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    match attach_to(run_dir, &session_socket(id), attach) {
        Err(Error::Io { source, .. }) if matches!(source.kind(), NotFound | ConnectionRefused) => {
            Ok(None)
        }
        attached => attached.map(Some),
    }
}

/// The program to run, streams still to be chosen, for a command in the container of the shim in
/// `run_dir`: it ends as the command does. If it is never started, its description stays in
/// `run_dir`.
pub fn exec_command(program: &Path, run_dir: &Path, exec: &ExecSpec) -> Result<Command> {
    let file = describe(run_dir, exec)?;
    let mut command = Command::new(program);
    command.arg("shim-exec").arg("--dir").arg(run_dir).arg("--spec").arg(file);
    command.env_remove("LISTEN_FDS").current_dir("/");
    Ok(command)
}

/// The program to run, streams still to be chosen, for a task with the files of a container; see
/// [`crate::copy::run_copy`]. `dir` is the process' own, and the caller's to remove.
pub fn copy_command(program: &Path, dir: &Path, copy: &CopySpec) -> Result<Command> {
    fs::create_dir_all(dir).during(|| format!("make {}", dir.display()))?;
    let file = dir.join("copy.json");
    durable::write_json(&file, copy)?;
    let mut command = Command::new(program);
    command.arg("shim-copy").arg("--dir").arg(dir).arg("--spec").arg(file);
    command.env_remove("LISTEN_FDS").current_dir("/");
    Ok(command)
}

fn describe(run_dir: &Path, exec: &ExecSpec) -> Result<PathBuf> {
    let file = run_dir.join(format!("exec-{:016x}.json", rand::random::<u64>()));
    durable::write_json(&file, exec)?;
    Ok(file)
}

/// Makes `run_dir` and removes what an earlier run of the same container left in it.
fn prepare(run_dir: &Path, spec: &ContainerSpec) -> Result<()> {
    let what = || format!("prepare {}", run_dir.display());
    if Shim::adopt(run_dir)?.is_some() {
        let action = format!("start the shim of container {}", spec.id);
        return Err(Error::Shim { action, reason: "one is running already".to_owned() });
    }
    fs::create_dir_all(run_dir).during(what)?;
    fs::set_permissions(run_dir, Permissions::from_mode(PRIVATE)).during(what)?;
    for name in [exit::FILE, IDENTITY, SOCKET, DIAGNOSTICS] {
        match fs::remove_file(run_dir.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).during(what),
            _ => {}
        }
    }
    // A killed shim leaves libcontainer's.
    match fs::remove_dir_all(run_dir.join(STATE)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).during(what),
        _ => {}
    }
    durable::write_json(&run_dir.join(SPEC), spec)
}

fn last_words(run_dir: &Path) -> String {
    let text = said(run_dir);
    if text.is_empty() { "it ended at once".to_owned() } else { format!("it ended{text}") }
}

/// What the shim in `run_dir` last said, after a colon.
fn said(run_dir: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(run_dir.join(DIAGNOSTICS)) {
        let _whatever_there_is = file.take(REPLY_LIMIT).read_to_string(&mut text);
    }
    text.lines().last().map(|line| format!(": {line}")).unwrap_or_default()
}
