//! Seccomp: the system calls of a profile, and `EPERM` for all others.
//!
//! Refused calls fail instead of killing: libraries probe for calls they can do without.

mod allowed;

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use crate::error::{Error, Result};

pub(super) use allowed::allowed;

/// Calls, each with the arguments it is allowed with; none means with any.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

const WHAT: &str = "filter system calls";

/// Lets the process call nothing but what `rules` allow; tells whether the kernel can do that.
pub(super) fn filter(mut rules: Rules) -> Result<bool> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    // clone3 takes its flags from memory, which a filter cannot read. With ENOSYS, and with that
    // only, the C library makes its threads by clone instead. Of two filters that refuse, the
    // newer one names the errno, so the other has to let clone3 pass.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    rules.insert(libc::SYS_clone3, Vec::new());
    let missing = program(clone3, SeccompAction::Allow, errno(libc::ENOSYS), arch)?;
    let allowed = program(rules, errno(libc::EPERM), SeccompAction::Allow, arch)?;
    Ok(install(&missing)? && install(&allowed)?)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram> {
    SeccompFilter::new(rules, otherwise, matched, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|e| Error::kernel(WHAT, io::Error::other(e)))
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn install(program: &BpfProgram) -> Result<bool> {
    // Built without seccomp, or without its filters.
    let absent = |e: &io::Error| matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL));
    match seccompiler::apply_filter_all_threads(program) {
        Ok(()) => Ok(true),
        Err(seccompiler::Error::Seccomp(e)) if absent(&e) => Ok(false),
        Err(seccompiler::Error::Seccomp(e) | seccompiler::Error::Prctl(e)) => {
            Err(Error::kernel(WHAT, e))
        }
        Err(other) => Err(Error::kernel(WHAT, io::Error::other(other))),
    }
}
