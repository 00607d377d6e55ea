//! Processes of our own: detached starts, identities that survive a recycled pid, pidfds.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

pub use rustix::process::Signal;

const SELF_EXE: &str = "/proc/self/exe";

/// A program to be started in a session of its own, to outlive its starter.
#[derive(Debug)]
pub struct Detached {
    /// The program.
    pub program: PathBuf,
    /// What it is to see as its own name; the path of the program when absent.
    pub arg0: Option<OsString>,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables set in addition to the starter's own.
    pub env: Vec<(OsString, OsString)>,
    /// Its standard input.
    pub stdin: Stdio,
    /// Its standard output.
    pub stdout: Stdio,
    /// Its standard error.
    pub stderr: Stdio,
}

/// One process, told apart from any later one with the same number by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pid {
    /// The number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

/// The path of the running executable, good for starting it again even after the file was
/// replaced: then it is `/proc/self/exe`, which leads to the file as it was.
pub fn current_exe() -> PathBuf {
    let fallback = PathBuf::from(SELF_EXE);
    let Ok(path) = fs::read_link(SELF_EXE) else { return fallback };
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (fs::metadata(SELF_EXE), fs::metadata(&path)) {
        (Ok(running), Ok(there)) if same(&running, &there) => path,
        _ => fallback,
    }
}

/// Starts a program in its own session, with working directory `/`, umask 022 and no descriptor
/// of ours but the three given. It is nobody's child here, so it never becomes our zombie.
///
/// # Errors
/// When it cannot be executed. What it does afterwards is not waited for.
pub fn spawn_detached(start: Detached) -> Result<u32> {
    let what = format!("start {}", start.program.display());
    let (report, reporter) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during(|| what.clone())?;
    let mut command = Command::new(&start.program);
    command.args(&start.args).envs(start.env).current_dir("/");
    command.stdin(start.stdin).stdout(start.stdout).stderr(start.stderr);
    if let Some(name) = &start.arg0 {
        command.arg0(name);
    }
    detach_before_exec(&mut command, reporter);
    let mut between = command.spawn().during(|| what.clone())?;
    between.wait().during(|| what.clone())?;
    // `command` still holds the pipe's other end, so a missing report must not be waited for.
    drop(command);
    let mut number = [0; 4];
    fs::File::from(report).read_exact(&mut number).during(|| what.clone())?;
    u32::try_from(i32::from_ne_bytes(number))
        .map_err(|_| Error::answer(what, "the process has no number"))
}

/// Makes the child of `command` start a new session, fork once more and end, so that the
/// grandchild, which executes the program, belongs to init.
#[expect(unsafe_code, reason = "a session of its own must exist before exec")]
fn detach_before_exec(command: &mut Command, reporter: OwnedFd) {
    let prepare = move || {
        rustix::process::setsid()?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        // SAFETY: marks descriptors only; 3 and up are not standard streams. A kernel before 5.11
        // refuses, which leaves what Rust opened itself, all of it close-on-exec.
        // JUSTIFICATION: libraries may have opened descriptors without close-on-exec.
        unsafe {
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
        // SAFETY: this process has one thread, being a fresh fork, and does nothing afterwards but
        // system calls until it ends or executes.
        // JUSTIFICATION: without the second fork it would stay our child, and a zombie at its end.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            number => {
                let told = rustix::io::write(&reporter, &number.to_ne_bytes()).is_ok();
                // SAFETY: _exit runs no destructor and no handler of the parent's image.
                // JUSTIFICATION: returning would execute the program in this process, too.
                unsafe { libc::_exit(i32::from(!told)) }
            }
        }
    };
    // SAFETY: `prepare` makes only async-signal-safe calls and does not allocate.
    // JUSTIFICATION: a setsid after exec leaves a moment in which Ctrl-C ends the program.
    unsafe { command.pre_exec(prepare) };
}

/// Makes the calling process lead a session, away from any terminal, if it may. Processes of
/// [`spawn_detached`] do already; this is for those started by other programs.
pub fn become_daemon_session() -> Result<()> {
    match rustix::process::setsid() {
        // Refused to leaders: of a session, which is what is wanted, or of a shell's job, which
        // keeps its terminal. Asking first would not do: a session led from outside our process
        // namespace has number 0, which no type of ours admits.
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(errno) => Err(errno).during(|| "start a session"),
    }
}

/// Ends this process with `code` and nothing else: no destructor runs, no buffer is written.
#[expect(unsafe_code, reason = "a copy of a process must not undo what the original still uses")]
pub fn end_at_once(code: i32) -> ! {
    // SAFETY: _exit runs no handler of the image, whose state is shared with the original.
    // JUSTIFICATION: std::process::exit runs handlers that the C library has from the original.
    unsafe { libc::_exit(code) }
}

/// Raises the soft limit of open files to the hard limit and returns it.
pub fn raise_descriptor_limit() -> Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum {
        rustix::process::setrlimit(Resource::Nofile, wanted)
            .during(|| "raise the limit of open files")?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// How many files the process `pid` may raise its limit to; `None` if there is no such process.
///
/// # Errors
/// When its limits cannot be read.
pub fn descriptor_limit_of(pid: u32) -> Result<Option<u64>> {
    let what = || format!("read the limits of process {pid}");
    let text = match fs::read_to_string(format!("/proc/{pid}/limits")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.during(what)?,
    };
    let words = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = words.and_then(|words| words.split_whitespace().nth(1));
    Ok(hard.map(|hard| hard.parse().unwrap_or(u64::MAX)))
}

/// Lets this process, and those it starts, have `count` open files at least; how many they may have
/// then, which is fewer where the kernel does not allow it.
pub fn allow_descriptors(count: u64) -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let own = limit.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit { maximum: Some(count), ..limit };
    if own < count && rustix::process::setrlimit(Resource::Nofile, wanted).is_ok() {
        return count;
    }
    own
}

// === impl Detached ===

impl Detached {
    /// A start of `program` with `args`, our environment, and nothing on its standard streams.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arg0: None,
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: Stdio::null(),
        }
    }
}

// === impl Pid ===

impl Pid {
    /// The process that has the number `pid` now.
    ///
    /// # Errors
    /// When there is none (`is_not_found`).
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path)
            .map_err(|e| Error::kernel(format!("look at process {pid}"), e))?;
        let (_, start_time) = parse_stat(&stat)
            .ok_or_else(|| Error::answer(format!("read {path}"), format!("{stat:?}")))?;
        Ok(Self { pid, start_time })
    }

    /// The calling process.
    pub fn current() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        matches!(parse_stat(&stat),
            Some((state, started)) if started == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    /// Sends it a signal, and never to another process that has got its number since.
    ///
    /// # Errors
    /// `ESRCH` (`is_not_found`) when it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let what = || format!("send {signal:?} to process {}", self.pid);
        let gone = || Error::kernel(what(), io::Error::from_raw_os_error(libc::ESRCH));
        let pidfd = self.open()?.ok_or_else(gone)?;
        rustix::process::pidfd_send_signal(pidfd, signal).during(what)
    }

    /// Waits until it has ended, at most `limit`; tells whether it has. A limit beyond what a clock
    /// can tell is none.
    pub fn wait_exit(&self, limit: Duration) -> Result<bool> {
        let what = || format!("wait for process {}", self.pid);
        let Some(pidfd) = self.open()? else { return Ok(true) };
        let deadline = Instant::now().checked_add(limit);
        loop {
            let left = deadline.map(|it| it.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
            let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(Error::kernel(what(), e)),
            }
        }
    }

    /// The file it executes, if it can be seen.
    pub fn executable(&self) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        self.is_alive().then_some(path)
    }

    /// Opens a pidfd; `None` when the process is gone.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        let number = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        let Some(number) = number else { return Ok(None) };
        let pidfd = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(e) => return Err(Error::kernel(format!("open process {}", self.pid), e)),
        };
        // Checked with the pidfd in hand: a process that took the number later started later.
        Ok(Self::of(self.pid).is_ok_and(|now| now == *self).then_some(pidfd))
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid.fmt(f)
    }
}

/// State and start time: fields 3 and 22 of `/proc/PID/stat`. Field 2, the name, is in
/// parentheses and may itself hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests;
