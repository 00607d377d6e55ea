//! The programs as clang built them, and how the kernel is asked to take them.

use std::fs;
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use aya::maps::MapError;
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};
use wharf_host::netns;

use crate::error::{Error, Result};
use crate::hooks::{HOOKS, Hook};
use crate::maps::NAMES;
use crate::obstacle::Obstacle;
use crate::{RELAY_MARK, hooks};

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/wharf.bpf.o"));

/// What maps look like; releases in which this is the same share them.
const LAYOUT: &str = env!("WHARF_EBPF_LAYOUT");

/// There on every kernel that has multipath TCP.
const MPTCP: &str = "/proc/sys/net/mptcp/enabled";

/// What the kernel answers to those who may not, and when an option is unknown to it.
const EPERM: i32 = 1;
const ENOPROTOOPT: i32 = 92;

/// The kernel's release.
pub(crate) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The number by which programs know the calling thread's network namespace.
pub(crate) fn cookie() -> Result<u64> {
    netns::cookie().map_err(|error| match error.errno() {
        Some(ENOPROTOOPT) => {
            Obstacle::TooOld { kernel: kernel(), what: "cookies of network namespaces" }.into()
        }
        _ => error.into(),
    })
}

/// The name of a directory for these programs in the namespace of `cookie`; other programs, and
/// those of another namespace, have another.
pub(crate) fn release_name(cookie: u64) -> String {
    let hash = OBJECT.iter().chain(&cookie.to_ne_bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
    format!("{hash:016x}")
}

/// The name of a directory for the maps.
pub(crate) fn maps_name(cookie: u64) -> String {
    format!("maps-{LAYOUT}-{cookie:x}")
}

/// FNV-1a, which is the same in every release of the compiler.
fn fnv(hash: u64, byte: &u8) -> u64 {
    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
}

/// Loads every program and lets go of them.
pub(crate) fn rehearse() -> Result<()> {
    let cookie = cookie()?;
    aside(|| load(cookie, None).map(|_| ()))
}

/// Loads the programs for the namespace of `cookie` and pins them in `programs`. Maps that are
/// pinned in `maps` are used, and those that are not are made and pinned there.
pub(crate) fn install(cookie: u64, maps: &Path, programs: &Path) -> Result<()> {
    aside(|| pin(&mut load(cookie, Some(maps))?, programs))
}

/// Runs `work` on a thread of its own. The loader reads the kernel's whole type information,
/// whether it is needed or not, into a great many small pieces; the memory of a thread's own is
/// given back when they are gone, and that of the main one often is not (18 MB stayed).
fn aside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("ebpf".to_owned()).spawn_scoped(scope, work);
        let failed = |source: io::Error| Error::Program {
            action: "start a thread to load",
            program: "wharf",
            source: source.into(),
        };
        thread.map_err(failed)?.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn load(cookie: u64, maps: Option<&Path>) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    let has_mptcp = u32::from(Path::new(MPTCP).exists());
    loader
        .override_global("has_mptcp", &has_mptcp, true)
        .override_global("netns_cookie", &cookie, true)
        .override_global("relay_mark", &RELAY_MARK.value, true)
        .override_global("relay_mask", &RELAY_MARK.mask, true);
    for name in NAMES {
        if let Some(directory) = maps {
            loader.map_pin_path(name, directory.join(name));
        }
    }
    let mut programs = loader.load(OBJECT).map_err(unloadable)?;
    for hook in &HOOKS {
        load_one(&mut programs, hook).map_err(|error| refused(hook, error))?;
    }
    Ok(programs)
}

/// Pins the programs, so that they can be attached again.
fn pin(programs: &mut Ebpf, directory: &Path) -> Result<()> {
    for hook in &HOOKS {
        let failed = |source| Error::Program { action: "pin", program: hook.name, source };
        let program = programs.program_mut(hook.name).ok_or_else(|| failed("missing".into()))?;
        program.pin(directory.join(hook.name)).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn load_one(programs: &mut Ebpf, hook: &Hook) -> Result<(), ProgramError> {
    match programs.program_mut(hook.name) {
        Some(Program::CgroupSockAddr(program)) => program.load(),
        Some(Program::CgroupSock(program)) => program.load(),
        Some(Program::SockOps(program)) => program.load(),
        Some(Program::SkLookup(program)) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn unloadable(error: EbpfError) -> Error {
    let refusal = match &error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => io_error.raw_os_error(),
        EbpfError::MapError(MapError::SyscallError(refused)) => refused.io_error.raw_os_error(),
        _ => None,
    };
    if refusal == Some(EPERM) {
        return not_allowed().into();
    }
    let reason = chain(&error);
    Obstacle::Refused { kernel: kernel(), program: "wharf", reason }.into()
}

fn refused(hook: &hooks::Hook, error: ProgramError) -> Error {
    let ProgramError::LoadError { io_error, verifier_log } = &error else {
        return Error::Program { action: "load", program: hook.name, source: error.into() };
    };
    if io_error.raw_os_error() == Some(EPERM) {
        return not_allowed().into();
    }
    let log = verifier_log.to_string();
    // Statistics come last; what went wrong is in the line before.
    let said = log.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_statistics(line));
    let reason = said.map_or_else(|| io_error.to_string(), |line| format!("{io_error}: {line}"));
    Obstacle::Refused { kernel: kernel(), program: hook.name, reason }.into()
}

fn is_statistics(line: &str) -> bool {
    ["processed ", "verification time", "stack depth"].iter().any(|start| line.starts_with(start))
}

/// Why the kernel says no to someone who seems to be allowed.
fn not_allowed() -> Obstacle {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let chosen = modes.split(['[', ']']).nth(1).unwrap_or("none");
    match chosen {
        "none" => Obstacle::NotAllowed { source: io::Error::from_raw_os_error(EPERM) },
        mode => Obstacle::LockedDown { mode: mode.to_owned() },
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_own_name_in_each_namespace() {
        assert_eq!(release_name(1), release_name(1));
        assert_ne!(release_name(1), release_name(2));
        // Names with a dot in them are not for users of a bpf file system.
        assert!(!maps_name(1).contains('.') && !release_name(1).contains('.'));
    }
}
