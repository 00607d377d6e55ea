//! One container on libcontainer, from its root to its removal.
//!
//! libcontainer's own `delete` gives up at the first thing it cannot remove; ours is in
//! [`Live::remove`], which tries everything.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};

use crate::bundle::{self, Privileges};
use crate::cgroup::{Layout, kill_leftovers, limits};
use crate::crash;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::inroot::Root;
use crate::shim::confinement::Confinement;
use crate::shim::console::{self, Ends, Wanted};
use crate::shim::diagnostics;
use crate::shim::executor::{CommandExecutor, find_marked};
use crate::shim::rootfs::Rootfs;
use crate::shim::target::{check_kernel_directories, make_targets, make_workdir};
use crate::shim::volume;
use crate::shim::wire::STATE;
use crate::signal::Signal;
use crate::spec::ContainerSpec;
use crate::user::User;

const CONFIG: &str = "config.json";

/// A container that exists.
#[derive(Debug)]
pub(super) struct Live {
    container: Container,
    pid: Pid,
    /// Readable once the command has ended.
    pub(super) pidfd: OwnedFd,
    rootfs: Rootfs,
}

// === impl Live ===

impl Live {
    /// Makes the container of `spec`; its command waits for [`Live::start`].
    pub(super) fn create(spec: &ContainerSpec, run_dir: &Path) -> Result<(Self, Ends)> {
        let rootfs = Rootfs::mount(spec, run_dir)?;
        crash::shim("shim.mounted");
        let user = prepare(spec, rootfs.path())?;
        let layout = Layout::detect()?;
        let mut config = bundle::config(spec, &user, rootfs.path(), &layout)?;
        if let Some(process) = config.get_mut("process") {
            console::ask_for(process, spec.terminal.tty);
        }
        durable::write_json(&run_dir.join(CONFIG), &config)?;
        let (container, ends) =
            build(spec, &user, run_dir).inspect_err(|_| clean(spec, run_dir))?;
        let pid = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw()));
        let pid = pid.ok_or_else(|| failed("create the container", "it has no process"))?;
        crash::shim("shim.created");
        // Its one process waits: what it is limited to holds before its command runs.
        limit(spec, pid).inspect_err(|_| clean(spec, run_dir))?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .during(|| format!("open process {}", pid.as_raw_nonzero()))
            .inspect_err(|_| clean(spec, run_dir))?;
        Ok((Self { container, pid, pidfd, rootfs }, ends))
    }

    /// Lets the command run.
    pub(super) fn start(&mut self) -> Result<()> {
        self.container.start().map_err(|e| failed("start the container", e))?;
        crash::shim("shim.started");
        Ok(())
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        match wharf_host::signal::send(&self.pidfd, signal) {
            Ok(()) => Ok(()),
            // It has just ended; whoever asked will hear of that.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::SRCH) => Ok(()),
            Err(e) => Err(e).during(|| format!("send signal {} to the container", signal.number())),
        }
    }

    /// Takes the end of the command off the process table. Blocks until there is one.
    pub(super) fn reap(&self) -> Option<WaitStatus> {
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Ok(Some((_, status))) => return Some(status),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Removes the ended container: control groups, mounts, libcontainer's state.
    pub(super) fn remove(self, spec: &ContainerSpec, run_dir: &Path) -> Vec<Error> {
        let mut failures = Vec::new();
        failures.extend(kill_leftovers(&spec.cgroup).err());
        reap_others();
        failures.extend(self.rootfs.unmount().err());
        failures.extend(forget(run_dir).err());
        failures
    }
}

/// What must be true of the root before libcontainer sees it, with error texts of our own.
fn prepare(spec: &ContainerSpec, rootfs: &Path) -> Result<User> {
    let root = Root::open(rootfs).during(|| "open the container's root")?;
    check_kernel_directories(&root)?;
    let mut user = User::find(&root, &spec.user)?;
    user.join(&root, &spec.security.groups)?;
    set_network_sysctls(&spec.security.sysctls)?;
    bundle::check_binds(&spec.binds)?;
    volume::fill_all(&root, spec)?;
    make_targets(&root, spec)?;
    make_workdir(&root, &spec.workdir)?;
    Ok(user)
}

/// The network is there by now, so that settings of its interfaces can be set, too.
fn set_network_sysctls(sysctls: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in sysctls.iter().filter(|(name, _)| bundle::is_network_sysctl(name)) {
        wharf_host::sysctl::set(&name.replace('.', "/"), value)?;
    }
    Ok(())
}

/// Limits the container's control groups, and its first process.
fn limit(spec: &ContainerSpec, pid: Pid) -> Result<()> {
    limits::apply(&spec.cgroup, &spec.resources.limits)?;
    set_oom_score(&pid.as_raw_nonzero().to_string(), spec.resources.oom_score_adj)
}

/// How gladly the kernel ends the process `pid` when memory runs out; children have it from it. Where
/// nothing is said it is not the daemon's own, which is low so that it outlives what it serves.
pub(super) fn set_oom_score(pid: &str, score: Option<i32>) -> Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    let written = fs::write(&path, score.unwrap_or_default().to_string());
    match (written, score) {
        // A daemon that is ended more gladly than others may not make it less so for its children.
        (Err(error), None) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        (written, _) => {
            written.during(|| format!("set oom_score_adj to {}", score.unwrap_or_default()))
        }
    }
}

fn build(spec: &ContainerSpec, user: &User, run_dir: &Path) -> Result<(Container, Ends)> {
    let what = "create the container";
    let state = run_dir.join(STATE);
    fs::create_dir_all(&state).during(|| format!("make {}", state.display()))?;
    let privileges = Privileges::of(&spec.security, user, &Layout::detect()?);
    let executor = CommandExecutor {
        args: spec.args.clone(),
        env: bundle::with_home(&spec.env, user),
        ends_with_parent: true,
        size: None,
        confinement: Confinement::of(&spec.security, privileges)?,
        init: spec.security.init,
    };
    let before = diagnostics::length(run_dir);
    let builder = ContainerBuilder::new(spec.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(state)
        .and_then(ContainerBuilder::validate_id)
        .map_err(|e| failed(what, e))?;
    let wanted = Wanted { stdin: spec.terminal.stdin, tty: spec.terminal.tty };
    let (builder, coming) = wanted.give(builder, user, run_dir)?;
    let container = builder
        .as_init(run_dir)
        .with_systemd(false)
        // What a terminal of the container's own is bound to; nothing else depends on it.
        .with_detach(wanted.tty)
        .build()
        .map_err(|e| {
            let text = e.to_string();
            let cause = || diagnostics::since(run_dir, before).unwrap_or_else(|| text.clone());
            find_marked(&text).unwrap_or_else(|| failed(what, cause()))
        })?;
    Ok((container, coming.take(user)?))
}

fn failed(action: &str, reason: impl std::fmt::Display) -> Error {
    Error::Shim { action: action.to_owned(), reason: reason.to_string() }
}

/// After a failed creation: libcontainer does most of it, but stops at its first failure.
fn clean(spec: &ContainerSpec, run_dir: &Path) {
    let _reported_with_the_failure = kill_leftovers(&spec.cgroup);
    let _reported_with_the_failure = forget(run_dir);
    reap_others();
}

fn forget(run_dir: &Path) -> Result<()> {
    let mut failure = Ok(());
    for name in [STATE, "layers"] {
        let path = run_dir.join(name);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            removed => {
                failure = failure.and(removed.during(|| format!("remove {}", path.display())))
            }
        }
    }
    failure
}

/// Processes handed to us because their parent ended: libcontainer's helpers, mostly.
fn reap_others() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}
