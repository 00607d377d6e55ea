//! Landlock: no file can be reached any more.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::error::{Context, Result};

/// The newest this was tried with (Linux 6.15). What later ones add about files is connecting to
/// named unix sockets, and the system call filter lets no unix socket be made.
const NEWEST: ABI = ABI::V7;

/// Opens the directory beneath which files may be removed later.
pub(super) fn open(directory: &Path) -> Result<PathFd> {
    PathFd::new(directory)
        .map_err(io::Error::other)
        .during(|| format!("open {}", directory.display()))
}

/// Denies the calling thread every access to files but removing those beneath `removable`, and
/// signals and abstract unix sockets of others. Returns the ABI in force; `None` where the kernel
/// has no landlock or it is switched off.
pub(super) fn deny_all_but_removal(removable: Option<PathFd>) -> Result<Option<u32>> {
    let status =
        restrict(removable).map_err(io::Error::other).during(|| "restrict access to files")?;
    Ok(abi_in_force(&status))
}

/// TCP ports are left alone: which ones a relay binds and connects to is its work, and is not
/// known now.
fn restrict(removable: Option<PathFd>) -> std::result::Result<RestrictionStatus, RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let rules = match removable {
        Some(directory) => rules.add_rule(PathBeneath::new(directory, AccessFs::RemoveFile))?,
        None => rules,
    };
    rules.restrict_self()
}

fn abi_in_force(status: &RestrictionStatus) -> Option<u32> {
    match (&status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            u32::try_from(effective_abi.min(NEWEST) as i32).ok()
        }
        _ => None,
    }
}
