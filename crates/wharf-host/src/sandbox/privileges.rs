//! Capabilities, and the promise to gain none.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use crate::error::{Context, Result};

/// Leaves the calling thread those capabilities of `kept` that it has, and no way to more.
pub(super) fn keep_only(kept: CapabilitySet) -> Result<CapabilitySet> {
    let what = || "give up capabilities";
    let left = capabilities(None).during(what)?.permitted & kept;
    clear_ambient_capability_set().during(what)?;
    clear_bounding_set().during(what)?;
    let sets =
        CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).during(what)?;
    set_no_new_privs(true).during(|| "promise to gain no privileges")?;
    Ok(left)
}

/// Without `CAP_SETPCAP` the set stays as it is. That is no hole: with `no_new_privs` the kernel
/// cuts what exec would give down to what the caller has, even for root.
fn clear_bounding_set() -> rustix::io::Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => match remove_capability_from_bounding_set(capability) {
                Err(Errno::PERM) => return Ok(()),
                other => other?,
            },
            Ok(false) => {}
            // The kernel's last capability was the one before.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
