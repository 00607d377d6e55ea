//! Which system calls a container may make: profiles, and the filter the kernel runs for them.
//!
//! A profile is Docker's: the default one (`docker`), or a file of the user's in the same format
//! (`profile`). What it says is translated into one program (`program`) that is installed right
//! before the container's command is executed.

mod docker;
mod numbers;
mod profile;
mod program;

use std::collections::BTreeSet;

use seccompiler::sock_filter;

use crate::error::Result;
use crate::spec::Seccomp;
use numbers::Abi;
use profile::Profile;

/// One instruction of a filter.
pub(crate) type Instruction = sock_filter;

/// What decides which rules of a profile hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Circumstances {
    /// The capabilities the container has, as `CAP_SYS_ADMIN`.
    capabilities: BTreeSet<String>,
    /// The version of the running kernel.
    kernel: (u32, u32),
}

/// Refuses a profile that is none, or asks for what cannot be had.
pub fn check(profile: &str) -> Result<()> {
    let circumstances = Circumstances { capabilities: BTreeSet::new(), kernel: kernel() };
    translate(&Profile::parse(profile)?, &circumstances).map(|_| ())
}

/// The filter for a container with `capabilities`; `None` when it may make every call.
pub(crate) fn filter(choice: &Seccomp, capabilities: &[&str]) -> Result<Option<Vec<Instruction>>> {
    let profile = match choice {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => docker::profile(),
        Seccomp::Profile(text) => Profile::parse(text)?,
    };
    let capabilities = capabilities.iter().map(|&name| name.to_owned()).collect();
    translate(&profile, &Circumstances { capabilities, kernel: kernel() }).map(Some)
}

fn translate(profile: &Profile, circumstances: &Circumstances) -> Result<Vec<Instruction>> {
    program::translate(profile, circumstances, &Abi::of_this_machine()?)
}

/// The version of the running kernel; the oldest when it cannot be told.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    profile::version(&release).unwrap_or_default()
}

#[cfg(test)]
mod tests;
