//! One instance of the real program on one host.

mod container;
mod live;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use wharf_host::process::{Pid, Signal};

use crate::host::Host;
use crate::process::{Output, Process};
use crate::snapshot::Snapshot;
use crate::wait;

pub use live::Events;

/// Long enough for fifty containers at once on two cores; a hang is a hang.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The daemon opens its store and looks at the host before it answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// An instance of the program; dropping it ends every process it made and removes its cgroups.
#[derive(Debug)]
pub struct Wharf {
    host: Host,
    binary: PathBuf,
    directory: PathBuf,
    cgroups: Mutex<BTreeSet<PathBuf>>,
    environment: Vec<(String, String)>,
}

/// `wharf daemon` in the foreground.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
}

// === impl Wharf ===

impl Wharf {
    pub(crate) fn new(host: Host, binary: &Path, directory: PathBuf) -> Result<Self> {
        let binary = fs::canonicalize(binary)
            .with_context(|| format!("the program {} is not there", binary.display()))?;
        for name in ["state", "run"] {
            fs::create_dir(directory.join(name)).context("make the instance's directories")?;
        }
        let (cgroups, environment) = (Mutex::default(), Vec::new());
        Ok(Self { host, binary, directory, cgroups, environment })
    }

    /// The same instance with one more environment variable for everything it starts.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The host it is on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Its run directory.
    pub fn run_dir(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// A directory that is the instance's own, for a test's files; it goes with the lab.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The command line `wharf args…`, not yet started, without standard input.
    pub fn command<I, A>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("WHARF_STATE_DIR", self.state_dir())
            .env("WHARF_RUN_DIR", self.run_dir())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts `wharf args…` with a pipe to its standard input and returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<I, A>(&self, args: I) -> Result<Process>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        self.host.spawn(command)
    }

    /// Runs `wharf args…` to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub fn run<I, A>(&self, args: I) -> Result<Output>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let output = self.host.output(self.command(args), COMMAND_LIMIT);
        self.note_cgroups();
        output
    }

    /// Runs `wharf args…`, which must succeed, and returns its standard output without the last
    /// line break.
    ///
    /// # Panics
    /// When it does not succeed or leaves its output held by another process, with all it said
    /// and the end of the daemon's log.
    pub fn ok<I, A>(&self, args: I) -> String
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let args: Vec<A> = args.into_iter().collect();
        let output = self.run(&args);
        match output {
            Ok(output) if output.is_success() && !output.pipes_held => {
                output.stdout.trim_end_matches('\n').to_owned()
            }
            Ok(output) => self.give_up(&args, &format!("{output:?}")),
            Err(error) => self.give_up(&args, &format!("{error:#}")),
        }
    }

    /// Runs `wharf args…`, which must fail, and returns what it left.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails<I, A>(&self, args: I) -> Output
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let args: Vec<A> = args.into_iter().collect();
        match self.run(&args) {
            Ok(output) if !output.is_success() => output,
            Ok(output) => self.give_up(&args, &format!("it succeeded: {output:?}")),
            Err(error) => self.give_up(&args, &format!("{error:#}")),
        }
    }

    /// Runs `wharf args… --format json` and returns what it printed.
    ///
    /// # Panics
    /// When it does not succeed or prints something else.
    pub fn json<I, A>(&self, args: I) -> Value
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let mut line: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        line.extend(["--format".into(), "json".into()]);
        let text = self.ok(&line);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| self.give_up(&line, &format!("{error}: {text:?}")))
    }

    /// Starts `wharf daemon` in the foreground and waits until it listens.
    ///
    /// # Errors
    /// When it ends or does not listen within twenty seconds.
    pub fn daemon(&self) -> Result<Daemon> {
        self.daemon_with::<[(&str, &str); 0]>([])
    }

    /// As [`Wharf::daemon`], with environment variables for the daemon alone.
    ///
    /// # Errors
    /// As [`Wharf::daemon`].
    pub fn daemon_with<'a, E>(&self, environment: E) -> Result<Daemon>
    where
        E: IntoIterator<Item = (&'a str, &'a str)>,
    {
        let mut command = self.command(["daemon"]);
        command.envs(environment);
        let mut process = self.host.spawn(command)?;
        let socket = self.run_dir().join("wharf.sock");
        let state = wait::until(START_LIMIT, "a daemon that listens", || {
            let running = process.is_running();
            let listens = UnixStream::connect(&socket).is_ok();
            (listens || !running).then_some(running)
        });
        match state {
            Ok(true) => Ok(Daemon { process }),
            // What it said may still be on its way.
            Ok(false) => {
                let said = process.output(START_LIMIT)?.stderr;
                anyhow::bail!("the daemon did not come up:\n{said}")
            }
            Err(_) => anyhow::bail!("the daemon did not come up:\n{}", process.stderr()),
        }
    }

    /// The processes of this instance: their ids and command lines.
    pub fn processes(&self) -> Vec<(i32, String)> {
        sweep::processes(&self.directory).into_iter().map(|it| (it.pid, it.command)).collect()
    }

    /// The ids of this instance's processes that run `wharf verb`.
    pub fn pids_of(&self, verb: &str) -> Vec<i32> {
        let is_it = |command: &str| command.split(' ').nth(1) == Some(verb);
        self.processes().into_iter().filter(|(_, it)| is_it(it)).map(|(pid, _)| pid).collect()
    }

    /// Kills (SIGKILL) every process of this instance that runs `wharf verb`; returns how many
    /// there were.
    ///
    /// # Errors
    /// When one cannot be killed.
    pub fn kill9(&self, verb: &str) -> Result<usize> {
        let numbers = self.pids_of(verb).into_iter().filter_map(|pid| u32::try_from(pid).ok());
        // One that has ended by itself meanwhile is not found.
        let killed: Vec<Pid> = numbers.filter_map(|number| Pid::of(number).ok()).collect();
        for process in &killed {
            match process.signal(Signal::KILL) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        for process in &killed {
            // Its command line goes before its files are closed.
            anyhow::ensure!(process.wait_exit(START_LIMIT)?, "wharf {verb} does not end");
        }
        Ok(killed.len())
    }

    /// Leaves what a reboot leaves: the state directory, and neither a process nor what the run
    /// directory says of them. The host's links and rules stay; the next daemon has to cope.
    ///
    /// # Errors
    /// When a process does not end, or a file does not go.
    pub fn reboot(&self) -> Result<()> {
        for verb in ["daemon", "relay", "shim"] {
            self.kill9(verb)?;
        }
        for name in ["containers", "wharf.sock", "relay.sock"] {
            let path = self.run_dir().join(name);
            let gone =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match gone {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Everything that could leak: what the host's kernel holds, and the instance's processes,
    /// namespaces, mounts, cgroups and files in its run directory.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.note_cgroups();
        Snapshot::of_instance(self)
    }

    /// Waits until a snapshot is the same as `before`.
    ///
    /// # Errors
    /// When it is not within `limit`; the error lists the differences.
    pub fn settles_to(&self, before: &Snapshot, limit: Duration) -> Result<()> {
        let mut last = Vec::new();
        let settled = wait::until(limit, "everything as it was before", || {
            last = before.differences(&self.snapshot().ok()?);
            last.is_empty().then_some(())
        });
        settled.map_err(|error| error.context(last.join("\n")))
    }

    /// The highest cgroups of this instance: those its processes have been seen in, and the parent
    /// it has when none of its containers runs.
    pub(crate) fn cgroup_tops(&self) -> BTreeSet<PathBuf> {
        let mut tops = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tops.extend(sweep::parents(&self.state_dir()));
        tops
    }

    /// The name of the cgroup that holds all of the instance's, in every hierarchy.
    pub(crate) fn cgroup_name(&self) -> Option<String> {
        let parent = sweep::parents(&self.state_dir()).next()?;
        Some(parent.file_name()?.to_string_lossy().into_owned())
    }

    fn note_cgroups(&self) {
        let mut known = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner);
        // Looking costs milliseconds, and an instance keeps its parents for life.
        if known.is_empty() {
            *known = sweep::cgroup_tops(&sweep::cgroups(&self.directory));
        }
    }

    #[expect(clippy::panic, reason = "this is how a test fails")]
    fn give_up<A: AsRef<OsStr>>(&self, args: &[A], why: &str) -> ! {
        let line: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        panic!("on {}: wharf {}\n{why}\n{}", self.host.name(), line.join(" "), self.logs())
    }

    /// The last lines of every log file of the instance.
    fn logs(&self) -> String {
        let mut text = String::new();
        for directory in [self.run_dir(), self.state_dir()] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let log = fs::read_to_string(entry.path()).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().collect();
                    let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
                    text += &format!("-- {}\n{}\n", entry.path().display(), tail.join("\n"));
                }
            }
        }
        text
    }
}

impl Drop for Wharf {
    fn drop(&mut self) {
        self.note_cgroups();
        let ended = sweep::kill_all(&self.directory);
        sweep::unpin(&self.run_dir().join("bpf"));
        let removed = sweep::remove_cgroups(&self.cgroup_tops());
        let failures: Vec<String> = [ended, removed]
            .into_iter()
            .filter_map(Result::err)
            .map(|e| format!("{e:#}"))
            .collect();
        if !failures.is_empty() && !std::thread::panicking() {
            leaked(&failures);
        }
    }
}

#[expect(clippy::panic, reason = "a leak fails the test")]
fn leaked(failures: &[String]) {
    panic!("the instance cannot be ended: {}", failures.join("; "));
}

// === impl Daemon ===

impl Daemon {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Waits for it to end by itself, as at a crash that a test asked for.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub fn wait(mut self, limit: Duration) -> Result<()> {
        self.process.wait(limit).map(drop)
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(mut self) -> Result<()> {
        self.process.kill9().map(drop)
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it does not end in ten seconds.
    pub fn stop(mut self) -> Result<()> {
        self.process.stop().map(drop)
    }
}
