//! Child processes whose output is collected and whose every wait has a limit.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// After a child has ended, its pipes must end too, unless it left someone behind holding them.
const PIPE_GRACE: Duration = Duration::from_secs(2);

/// How long [`Process::stop`] waits between asking and killing.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A running child process; dropping it kills it.
pub struct Process {
    child: Child,
    what: String,
    started: Instant,
    stdout: Collector,
    stderr: Collector,
}

/// What a child process left when it had ended.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Whether a process it left behind still holds its output; `$(wharf …)` would hang.
    pub pipes_held: bool,
    /// How long it ran.
    pub took: Duration,
}

/// Reads one pipe to its end on a thread of its own.
struct Collector {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Collected>,
    changed: Condvar,
}

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

// === impl Process ===

impl Process {
    /// Starts `command` from the calling thread, so in that thread's network namespace.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start {what}"))?;
        let stdout = Collector::new(child.stdout.take());
        let stderr = Collector::new(child.stderr.take());
        Ok(Self { child, what, started, stdout, stderr })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Writes `bytes` to its standard input, which must have been piped, and closes it.
    ///
    /// # Errors
    /// When there is no such pipe or nobody reads it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut stdin = self.child.stdin.take().context("standard input is not a pipe")?;
        stdin.write_all(bytes).with_context(|| format!("write to {}", self.what))
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.handle()?, signal).with_context(|| format!("signal {}", self.what))
    }

    /// Kills it at once and waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.child.kill().with_context(|| format!("kill {}", self.what))?;
        Ok(self.child.wait()?)
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it did not end in ten seconds; it is killed then.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.wait(STOP_GRACE)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When `limit` passes; the process is killed then and the error holds its output.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if !self.ends_within(limit)? {
            self.kill9()?;
            bail!(
                "{} did not end within {limit:?}\n-- stdout\n{}\n-- stderr\n{}",
                self.what,
                self.stdout(),
                self.stderr()
            );
        }
        Ok(self.child.wait()?)
    }

    /// Waits for its end and takes all it has written.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn output(mut self, limit: Duration) -> Result<Output> {
        drop(self.child.stdin.take());
        let status = self.wait(limit)?;
        let took = self.started.elapsed();
        let ended = self.await_pipes();
        Ok(Output {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            pipes_held: ended.contains(&false),
            took,
        })
    }

    /// Waits until it has written `wanted` to standard output or standard error.
    ///
    /// # Errors
    /// When `limit` passes or it ends without having done so; the error holds its output.
    pub fn wait_for(&mut self, wanted: &str, limit: Duration) -> Result<()> {
        let what = format!("{:?} from {}", wanted, self.what);
        let found = crate::wait::until(limit, &what, || {
            let over = !self.is_running();
            if over {
                // What it has said at its end may still be in the pipe.
                self.await_pipes();
            }
            let said = self.stdout().contains(wanted) || self.stderr().contains(wanted);
            (said || over).then_some(said)
        });
        match found {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{what}: it ended\n{}{}", self.stdout(), self.stderr()),
            Err(error) => bail!("{error}\n{}{}", self.stdout(), self.stderr()),
        }
    }

    /// Whether each of them has ended, after a while at most.
    fn await_pipes(&self) -> [bool; 2] {
        [&self.stdout, &self.stderr].map(|pipe| pipe.wait_end(PIPE_GRACE))
    }

    fn ends_within(&mut self, limit: Duration) -> Result<bool> {
        if self.child.try_wait()?.is_some() {
            return Ok(true);
        }
        let pidfd = pidfd_open(self.handle()?, PidfdFlags::empty()).context("open a pidfd")?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).context("the limit")?;
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for a process"),
            }
        }
    }

    fn handle(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("pid", &self.pid()).field("what", &self.what).finish()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left to wait for.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

// === impl Output ===

impl Output {
    /// Whether it ended with exit code 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// The exit code, or 128 and the signal's number, as a shell says it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr, pipes_held, took } = self;
        write!(f, "{status} after {took:?}")?;
        if *pipes_held {
            write!(f, "; a process it left behind still holds its output")?;
        }
        write!(f, "\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

// === impl Collector ===

impl Collector {
    fn new<R: Read + Send + 'static>(pipe: Option<R>) -> Self {
        let shared = Arc::new(Shared::default());
        if let Some(pipe) = pipe {
            let sink = Arc::clone(&shared);
            // Not joined: it ends with the pipe, which may outlive the child.
            let _reader: JoinHandle<()> = std::thread::spawn(move || sink.fill(pipe));
        }
        Self { shared }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().bytes).into_owned()
    }

    fn wait_end(&self, limit: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, limit, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, mut pipe: impl Read) {
        let mut buffer = [0u8; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            self.lock().bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        Process::spawn(command).unwrap()
    }

    #[test]
    fn output_and_code_are_taken() {
        let output = shell("echo out; echo err >&2; exit 3").output(LIMIT).unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!((output.code(), output.pipes_held), (3, false));
    }

    #[test]
    fn a_hanging_child_is_killed_and_named() {
        let error = shell("echo begun; sleep 60").output(Duration::from_millis(200)).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("did not end within") && text.contains("begun"), "{text}");
    }

    #[test]
    fn someone_left_behind_with_the_pipe_is_noticed() {
        let output = shell("sleep 4 & exit 0").output(LIMIT).unwrap();
        assert!(output.is_success() && output.pipes_held, "{output:?}");
    }

    #[test]
    fn input_is_fed_and_signals_are_told() {
        let mut cat = shell("exec cat");
        cat.feed(b"hello").unwrap();
        assert_eq!(cat.output(LIMIT).unwrap().stdout, "hello");
        let mut sleeper = shell("exec sleep 60");
        assert!(sleeper.is_running());
        assert_eq!(sleeper.stop().unwrap().signal(), Some(15));
    }

    #[test]
    fn a_line_can_be_waited_for() {
        let mut process = shell("echo ready; sleep 60");
        process.wait_for("ready", LIMIT).unwrap();
        assert!(shell("true").wait_for("ready", LIMIT).is_err());
    }
}
