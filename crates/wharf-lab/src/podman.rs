//! Debian's Podman on a host: the real program and its API service, with directories and a mount
//! namespace of its own.
//!
//! It lives in an instance's directory and in the instance's cgroups, as [`Docker`] does. Unlike
//! Docker it needs no daemon: containers run on while the service is down, and `podman` verbs work
//! then.
//!
//! [`Docker`]: crate::docker::Docker

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit};
use wharf_host::netns::Netns;

use crate::docker::mount_namespace;
use crate::host::Host;
use crate::process::{Output, Process};
use crate::wait;
use crate::wharf::{Wharf, sweep};

const PROGRAM: &str = "/usr/bin/podman";
/// The runtime that Docker uses too; crun, Podman's first choice, is not always installed.
const RUNTIME: &str = "/usr/sbin/runc";

const START_LIMIT: Duration = Duration::from_secs(20);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// What Podman writes outside the directories that can be chosen: names of network namespaces and
/// locks in `/run`, a cache of blobs in `/var/lib`.
const OWN_PLACES: &str = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib";

/// A Podman with its API service; dropping it ends it and its containers.
#[derive(Debug)]
pub struct Podman {
    host: Host,
    directory: PathBuf,
    cgroup: Option<String>,
    service: Process,
    /// Holds the mount namespace, which has to outlive the service.
    mounts: Process,
}

// === impl Podman ===

impl Podman {
    /// Starts Podman's API service on the host of `wharf`. Prints why and gives nothing where
    /// Podman is not installed.
    ///
    /// # Errors
    /// When it does not come up within twenty seconds; the error holds its log.
    pub fn start(wharf: &Wharf) -> Result<Option<Self>> {
        if ![PROGRAM, RUNTIME].iter().all(|program| Path::new(program).exists()) {
            eprintln!("skipped: {PROGRAM} or {RUNTIME} is not installed (Debian: podman, runc)");
            return Ok(None);
        }
        let directory = wharf.directory().join("podman");
        for name in ["networks", "tmp"] {
            fs::create_dir_all(directory.join(name)).context("make Podman's directories")?;
        }
        fs::write(directory.join("containers.conf"), settings(&directory))
            .context("write Podman's settings")?;
        let (host, cgroup) = (wharf.host().clone(), wharf.cgroup_name());
        let mounts = mount_namespace(&host, &directory, OWN_PLACES)?;
        let service = service(&host, &mounts, &directory)?;
        Ok(Some(Self { host, directory, cgroup, service, mounts }))
    }

    /// Its directory, which goes with the instance.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its API socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// What the service has logged since its last start.
    pub fn log(&self) -> String {
        self.service.stderr()
    }

    /// Runs `podman args…` to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_within(args, COMMAND_LIMIT)
    }

    /// As [`Podman::run`], for what takes longer.
    ///
    /// # Errors
    /// When it cannot be started or does not end within `limit`.
    pub fn run_within(&self, args: &[&str], limit: Duration) -> Result<Output> {
        let mut command = command(&self.mounts, &self.directory);
        let (verb, rest) = args.split_at(args.len().min(1));
        command.args(verb);
        if let (["run" | "create"], Some(group)) = (verb, &self.cgroup) {
            command.arg(format!("--cgroup-parent=/{group}"));
        }
        command.args(rest);
        self.host.output(command, limit)
    }

    /// Runs `podman args…`, which must succeed, and returns its standard output, trimmed.
    ///
    /// # Panics
    /// When it does not succeed, with all it said and the service's log.
    pub fn ok(&self, args: &[&str]) -> String {
        match self.run(args) {
            Ok(output) if output.is_success() => output.stdout.trim().to_owned(),
            other => self.give_up(args, &format!("{other:?}")),
        }
    }

    /// Makes the image `name` of a root file system.
    ///
    /// # Errors
    /// When it cannot be packed.
    ///
    /// # Panics
    /// When Podman does not take it.
    pub fn import(&self, rootfs: &Path, name: &str) -> Result<()> {
        let archive = self.directory.join("import.tar");
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(rootfs).arg("-cf").arg(&archive).arg(".");
        let packed = self.host.output(pack, COMMAND_LIMIT)?;
        ensure!(packed.is_success(), "tar: {packed:?}");
        self.ok(&["import", "--quiet", &archive.to_string_lossy(), name]);
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

    /// Kills the service at once, as a crash would; containers go on.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        self.service.kill9().map(drop)
    }

    /// Starts the service again.
    ///
    /// # Errors
    /// As [`Podman::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.service = service(&self.host, &self.mounts, &self.directory)?;
        Ok(())
    }

    #[expect(clippy::panic, reason = "this is how a test fails")]
    fn give_up(&self, args: &[&str], why: &str) -> ! {
        panic!("podman {}\n{why}\n-- service\n{}", args.join(" "), self.log())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let killed = self.service.kill9().and_then(|_| sweep::kill_all(&self.directory));
        if let Err(error) = killed {
            eprintln!("podman: {error:#}");
        }
    }
}

/// Podman gives containers higher limits than the test itself may have, and may not give, where root
/// is not all-powerful.
fn settings(directory: &Path) -> String {
    let limit = |resource, wanted| getrlimit(resource).maximum.unwrap_or(wanted).min(wanted);
    let (files, processes) = (limit(Resource::Nofile, 20_000), limit(Resource::Nproc, 1_000));
    let networks = directory.join("networks");
    format!(
        "[containers]\n\
         default_ulimits = [\"nofile={files}:{files}\", \"nproc={processes}:{processes}\"]\n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"file\"\n\
         runtime = \"runc\"\n\
         [network]\n\
         network_backend = \"netavark\"\n\
         network_config_dir = \"{}\"\n",
        networks.display()
    )
}

fn command(mounts: &Process, directory: &Path) -> Command {
    let place = |option: &str, name: &str| format!("--{option}={}", directory.join(name).display());
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--mount=/proc/{}/ns/mnt", mounts.pid()))
        .args(["--", PROGRAM])
        .args([place("root", "root"), place("runroot", "runroot"), place("tmpdir", "state")])
        // The only one that works on every file system a temporary directory may be on.
        .arg("--storage-driver=vfs")
        .env("CONTAINERS_CONF", directory.join("containers.conf"))
        .env("TMPDIR", directory.join("tmp"))
        .env("HOME", directory)
        .stdin(Stdio::null());
    command
}

fn service(host: &Host, mounts: &Process, directory: &Path) -> Result<Process> {
    let socket = directory.join("sock");
    // One that was killed leaves its socket behind, and the next would not take its place.
    if socket.exists() {
        fs::remove_file(&socket).context("remove the socket of a killed service")?;
    }
    let mut command = command(mounts, directory);
    command.args(["system", "service", "--time=0"]).arg(format!("unix://{}", socket.display()));
    let service = host.spawn(command)?;
    let listens = || UnixStream::connect(&socket).ok().map(drop);
    wait::until(START_LIMIT, "Podman's API service", listens).with_context(|| service.stderr())?;
    Ok(service)
}
