//! Debian's Docker on a host: the real daemon, with directories and a mount namespace of its own.
//!
//! It lives in an instance's directory and in the instance's cgroups, so that whatever it leaves
//! is found and ended with the instance.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wharf_host::netns::Netns;

use crate::host::Host;
use crate::process::{Output, Process};
use crate::wait;
use crate::wharf::{Wharf, sweep};

const DAEMON: &str = "/usr/sbin/dockerd";
const CLIENT: &str = "/usr/bin/docker";

/// It starts a containerd of its own, and after a crash looks at every container there was.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Docker itself takes 44 s to start a container with a thousand ports; no test asks for that.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A Docker daemon; dropping it ends it and its containers.
#[derive(Debug)]
pub struct Docker {
    host: Host,
    directory: PathBuf,
    daemon: Process,
    /// Holds the mount namespace, which has to outlive a daemon whose containers do.
    mounts: Process,
    options: Vec<String>,
    run_dir: PathBuf,
}

// === impl Docker ===

impl Docker {
    /// Starts Docker on the host of `wharf` with more `options` than it needs to keep to itself.
    /// Prints why and gives nothing where it is not installed.
    ///
    /// # Errors
    /// When it does not come up within a minute; the error holds its log.
    pub fn start(wharf: &Wharf, options: &[&str]) -> Result<Option<Self>> {
        if ![DAEMON, CLIENT].iter().all(|program| Path::new(program).exists()) {
            eprintln!("skipped: {DAEMON} or {CLIENT} is not installed (Debian: docker.io)");
            return Ok(None);
        }
        let directory = wharf.directory().join("docker");
        fs::create_dir(&directory).context("make Docker's directory")?;
        let mut all = own_options(&directory);
        if let Some(group) = wharf.cgroup_name() {
            all.push(format!("--cgroup-parent=/{group}"));
        }
        all.extend(options.iter().map(|&option| option.to_owned()));
        let (host, options, run_dir) = (wharf.host().clone(), all, wharf.run_dir());
        let mounts = mount_namespace(&host, &directory, "true")?;
        let daemon = daemon(&host, &mounts, &options, &run_dir)?;
        Ok(Some(Self { host, directory, daemon, mounts, options, run_dir }))
    }

    /// Its directory, which goes with the instance.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its API socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// What the daemon has logged since its last start.
    pub fn log(&self) -> String {
        self.daemon.stderr()
    }

    /// Runs `docker args…` to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_within(args, COMMAND_LIMIT)
    }

    /// As [`Docker::run`], for what takes longer.
    ///
    /// # Errors
    /// When it cannot be started or does not end within `limit`.
    pub fn run_within(&self, args: &[&str], limit: Duration) -> Result<Output> {
        self.host.output(self.command(args), limit)
    }

    /// Runs `docker args…`, which must succeed, and returns its standard output, trimmed.
    ///
    /// # Panics
    /// When it does not succeed, with all it said and the daemon's log.
    pub fn ok(&self, args: &[&str]) -> String {
        match self.run(args) {
            Ok(output) if output.is_success() => output.stdout.trim().to_owned(),
            other => self.give_up(args, &format!("{other:?}")),
        }
    }

    /// Runs `docker args…`, which must fail, and returns what it left.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails(&self, args: &[&str]) -> Output {
        match self.run(args) {
            Ok(output) if !output.is_success() => output,
            other => self.give_up(args, &format!("{other:?}")),
        }
    }

    /// Makes the image `name` of a root file system.
    ///
    /// # Errors
    /// When it cannot be packed.
    ///
    /// # Panics
    /// When Docker does not take it.
    pub fn import(&self, rootfs: &Path, name: &str) -> Result<()> {
        let archive = self.directory.join("import.tar");
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(rootfs).arg("-cf").arg(&archive).arg(".");
        let packed = self.host.output(pack, COMMAND_LIMIT)?;
        ensure!(packed.is_success(), "tar: {packed:?}");
        self.ok(&["import", &archive.to_string_lossy(), name]);
        fs::remove_file(&archive).context("remove the packed root file system")
    }

    /// The network namespace of the running container `name`, as a host to make sockets on.
    ///
    /// # Errors
    /// When it does not run.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn container(&self, name: &str) -> Result<Host> {
        let pid: u32 = self.ok(&["inspect", "--format", "{{.State.Pid}}", name]).parse()?;
        ensure!(pid > 0, "container {name} does not run");
        Ok(self.host.with_inside(name, Netns::of_process(pid)?))
    }

    /// Kills the daemon at once, as a crash would. With `--live-restore` its containers go on.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        self.daemon.kill9()?;
        // Its containerd dies of it (PDEATHSIG), a moment later: the next daemon would take what is
        // dying for one to go on with.
        let note = self.directory.join("exec/containerd/containerd.pid");
        let text = fs::read_to_string(&note).context("read containerd's number")?;
        let containerd = wharf_host::process::Pid::of(text.trim().parse()?);
        let ended = || containerd.as_ref().is_ok_and(|it| !it.is_alive()).then_some(());
        if containerd.is_ok() {
            wait::until(COMMAND_LIMIT, "the end of containerd", ended)?;
        }
        fs::remove_file(&note).context("remove containerd's number")
    }

    /// Starts the daemon again.
    ///
    /// # Errors
    /// As [`Docker::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.daemon = daemon(&self.host, &self.mounts, &self.options, &self.run_dir)?;
        Ok(())
    }

    /// Ends the daemon in good order (SIGTERM).
    ///
    /// # Errors
    /// When it does not end in ten seconds.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop().map(drop)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        command
            .arg(format!("--host=unix://{}", self.socket().display()))
            .args(args)
            .env("DOCKER_CONFIG", &self.directory)
            .stdin(Stdio::null());
        command
    }

    #[expect(clippy::panic, reason = "this is how a test fails")]
    fn give_up(&self, args: &[&str], why: &str) -> ! {
        panic!("docker {}\n{why}\n-- dockerd\n{}", args.join(" "), self.log())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Asking would mean waiting for every container's ten seconds of grace.
        let killed = self.daemon.kill9().and_then(|_| sweep::kill_all(&self.directory));
        if let Err(error) = killed {
            eprintln!("docker: {error:#}");
        }
    }
}

/// What keeps a Docker to its directory.
fn own_options(directory: &Path) -> Vec<String> {
    let place = |option: &str, name: &str| format!("--{option}={}", directory.join(name).display());
    vec![
        place("data-root", "data"),
        place("exec-root", "exec"),
        place("pidfile", "pid"),
        format!("--host=unix://{}", directory.join("sock").display()),
        // The only one that works on every file system a temporary directory may be on.
        "--storage-driver=vfs".to_owned(),
    ]
}

/// An engine's mounts would otherwise be seen in every mount namespace made meanwhile. The shell
/// command `prepare` is run there first.
pub(crate) fn mount_namespace(host: &Host, directory: &Path, prepare: &str) -> Result<Process> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation=private", "--", "sh", "-c"])
        .arg(format!("{prepare} && echo ready && exec sleep 3600"))
        // Marks it as the instance's.
        .env("WHARF_LAB", directory)
        .stdin(Stdio::null());
    let mut process = host.spawn(command)?;
    process.wait_for("ready", START_LIMIT)?;
    Ok(process)
}

fn daemon(host: &Host, mounts: &Process, options: &[String], run_dir: &Path) -> Result<Process> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{}/ns/mnt", mounts.pid())).args(["--", DAEMON]);
    command.args(options).env("WHARF_RUN_DIR", run_dir).stdin(Stdio::null());
    let mut daemon = host.spawn(command)?;
    daemon.wait_for("API listen on", START_LIMIT)?;
    Ok(daemon)
}
