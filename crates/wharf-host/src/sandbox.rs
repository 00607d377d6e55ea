//! Confinement: what a process of ours gives up once it has everything it needs.
//!
//! A process that reads bytes from anybody is confined before it reads the first. Three layers,
//! each of which would do alone for most of it: capabilities (what root may do), landlock (which
//! files there are), seccomp (which questions the kernel hears at all). The first always takes
//! effect; a kernel without one of the others is told of in [`Entered`], and is no failure.
//! What each layer allows, and why, is in `docs/internals/sandbox.md`.

mod calls;
mod files;
mod privileges;
#[cfg(test)]
pub(crate) mod single;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::{Context, Error, Result};

pub use rustix::thread::CapabilitySet;

/// What a process keeps.
#[derive(Debug, Clone)]
pub struct Confinement {
    /// Capabilities it keeps, as far as it has them.
    pub capabilities: CapabilitySet,
    /// The directory beneath which it may remove files. Without landlock it may remove none:
    /// nothing else could tell that directory from any other.
    pub unlink_in: Option<PathBuf>,
    /// System calls it keeps.
    pub syscalls: Profile,
}

/// The work for which system calls are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Carrying streams and datagrams with a runtime of several threads: internet sockets, pipes,
    /// timers, readiness; connections to a listener that exists already.
    Relay,
    /// Making sockets in network namespaces (see [`crate::opener`]): one thread, `setns` and
    /// `socket`, and messages on a socket that exists already.
    Opener,
}

/// What has taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// The capabilities left: those to be kept that were there.
    pub capabilities: CapabilitySet,
    /// The landlock ABI in force; `None` where the kernel has none.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
}

// === impl Confinement ===

impl Confinement {
    /// Confines the calling process, for good. To be called when everything is open that has to
    /// be opened and before the first thread is started: threads inherit what their starter has.
    ///
    /// # Errors
    /// When other threads run already, `unlink_in` cannot be opened, or the kernel refuses a
    /// layer that it has. The process is then confined in part, and had better end.
    pub fn enter(&self) -> Result<Entered> {
        be_the_only_thread()?;
        // Opened while the capabilities that may be needed to reach it are still there.
        let removable = self.unlink_in.as_deref().map(files::open).transpose()?;
        let capabilities = privileges::keep_only(self.capabilities)?;
        let removes = removable.is_some();
        let landlock = files::deny_all_but_removal(removable)?;
        let allowed = calls::allowed(self.syscalls, removes && landlock.is_some())?;
        let seccomp = calls::filter(allowed)?;
        Ok(Entered { capabilities, landlock, seccomp })
    }
}

/// Capabilities and landlock belong to a thread (landlock's option for all of them is of Linux
/// 7.0), so another thread would stay as it was.
fn be_the_only_thread() -> Result<()> {
    let what = || "confine the process";
    let count = std::fs::read_dir("/proc/self/task").during(what)?.count();
    if count == 1 {
        return Ok(());
    }
    let detail = format!("{count} threads run already; this has to come before the second");
    Err(Error::kernel(what(), io::Error::new(io::ErrorKind::ResourceBusy, detail)))
}

// === impl Entered ===

impl Entered {
    /// The layers that this kernel does not have, for a warning.
    pub fn missing(&self) -> Vec<&'static str> {
        let layers = [(self.landlock.is_none(), "landlock"), (!self.seccomp, "seccomp")];
        layers.into_iter().filter_map(|(missing, name)| missing.then_some(name)).collect()
    }
}

impl fmt::Display for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> =
            self.capabilities.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join("+") };
        let landlock = self.landlock.map_or("none".to_owned(), |abi| format!("ABI {abi}"));
        let seccomp = if self.seccomp { "filter" } else { "none" };
        write!(f, "capabilities {names}, landlock {landlock}, seccomp {seccomp}")
    }
}
