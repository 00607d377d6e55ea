//! The process beside every container: it holds the network namespace and the mounts, keeps the
//! log and the exit code, and does what the daemon asks over a socket.
//!
//! It has one thread, because libcontainer forks. It outlives the daemon; when it ends, so does
//! its container, and everything it made is gone with its namespaces.

use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::shim::control::Control;
use crate::shim::wire::{DIAGNOSTICS, IDENTITY, Identity, SPEC};
use crate::spec::ContainerSpec;
use crate::{bundle, durable};

mod at_rest;
mod client;
mod confinement;
mod console;
mod container;
mod control;
mod diagnostics;
mod exec;
mod executor;
mod init;
mod input;
mod output;
mod peer;
mod rootfs;
mod session;
mod streams;
mod target;
mod volume;
pub(crate) mod wire;

pub(crate) use at_rest::mount_at_rest;
pub use exec::run_exec;
pub use wire::{Attach, Phase, State};

const PROCESS_NAME: &std::ffi::CStr = c"wharf-shim";
const SYSCTL_ROOT: &str = "/proc/sys";

/// The body of `wharf shim --dir DIR`: runs until the container of `DIR/spec.json` has ended.
///
/// Must be called with no other thread running. The result is the exit status for the process.
pub fn run_shim(dir: &Path) -> i32 {
    diagnostics::install(dir);
    match serve(dir) {
        Ok(()) => 0,
        Err(error) => {
            report(dir, &error);
            1
        }
    }
}

fn serve(dir: &Path) -> Result<()> {
    let dir = dir.canonicalize().during(|| format!("use {}", dir.display()))?;
    let spec = durable::read_json::<ContainerSpec>(&dir.join(SPEC))?;
    let spec = spec.ok_or_else(|| missing(&dir))?;
    settle()?;
    set_sysctls()?;
    let identity = Identity { shim: wharf_host::process::Pid::current()? };
    durable::write_json(&dir.join(IDENTITY), &identity)?;
    Control::listen(dir, spec)?.run()
}

fn missing(dir: &Path) -> Error {
    Error::Shim { action: format!("read {}", dir.display()), reason: format!("it has no {SPEC}") }
}

/// Makes this process what the container's is to come from: of no session, no groups, in
/// namespaces of its own.
fn settle() -> Result<()> {
    wharf_host::process::become_daemon_session()?;
    let _cosmetic = rustix::thread::set_name(PROCESS_NAME);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .during(|| "become the parent of orphans")?;
    executor::unignore_signals();
    // libcontainer sets a container's groups only when it has some.
    rustix::thread::set_thread_groups(&[]).during(|| "drop supplementary groups")?;
    wharf_host::netns::unshare_network()?;
    wharf_host::netns::unshare_mount_private()?;
    Ok(())
}

/// Those of a network namespace, set from inside it: libcontainer refuses to for one it has not
/// made itself.
fn set_sysctls() -> Result<()> {
    for (name, value) in bundle::SYSCTLS {
        let path = PathBuf::from(SYSCTL_ROOT).join(name);
        match std::fs::write(&path, value) {
            // An older kernel, or one without this protocol.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            set => set.during(|| format!("set {}", path.display()))?,
        }
    }
    Ok(())
}

/// Leaves the error where [`crate::client::Shim::launch`] looks for it.
fn report(dir: &Path, error: &Error) {
    use std::io::Write as _;
    let file = std::fs::File::options().create(true).append(true).open(dir.join(DIAGNOSTICS));
    if let Ok(mut file) = file {
        let _nowhere_else_to_say = writeln!(file, "{error}");
    }
}
