//! What a command is left with when it is executed: its capabilities, and a filter of its system
//! calls.
//!
//! libcontainer has no filter of ours and drops capabilities before it hands over, while installing
//! a filter takes `CAP_SYS_ADMIN` unless the command is to gain no privileges. So two capabilities
//! are lent until the filter is in place, to code of ours only.

use caps::{CapSet, Capability, CapsHashSet};
use libcontainer::workload::ExecutorError;

use crate::bundle::Privileges;
use crate::error::Result;
use crate::seccomp::{self, Instruction};
use crate::spec::Security;

/// How a command is confined.
#[derive(Debug, Clone)]
pub(super) struct Confinement {
    filter: Option<Vec<Instruction>>,
    privileges: Privileges,
}

// === impl Confinement ===

impl Confinement {
    pub(super) fn of(security: &Security, privileges: Privileges) -> Result<Self> {
        let filter = match security.privileged {
            true => None,
            false => seccomp::filter(&security.seccomp, &privileges.bounding)?,
        };
        Ok(Self { filter, privileges })
    }

    /// Nothing may be executed unless all of this succeeds.
    pub(super) fn take_effect(&self) -> Result<(), ExecutorError> {
        let refuse = |what: &str, why: &dyn std::fmt::Display| {
            ExecutorError::Other(format!("{what}: {why}"))
        };
        for lent in self.privileges.lent() {
            let capability =
                lent.parse::<Capability>().map_err(|e| refuse("read a capability", &e))?;
            caps::drop(None, CapSet::Bounding, capability)
                .map_err(|e| refuse("take a lent capability back", &e))?;
        }
        if let Some(program) = &self.filter {
            wharf_host::confine::install_filter(program).map_err(|e| refuse("confine", &e))?;
        }
        let held = self.privileges.held.iter().map(|name| name.parse::<Capability>());
        let held = held.collect::<Result<CapsHashSet, _>>();
        let held = held.map_err(|e| refuse("read a capability", &e))?;
        // The permitted set bounds the effective one, so that comes first.
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, &held).map_err(|e| {
                refuse("drop capabilities (the seccomp profile must allow capset)", &e)
            })?;
        }
        Ok(())
    }
}
