//! Places where tests can kill a process of ours, to prove that the others find their way.
//!
//! A debug build whose environment asks for it kills itself with SIGKILL at a step it has a name for;
//! a release build has none of this.

/// Every named step of a shim, in the order in which a container passes them.
pub const SHIM_STEPS: [&str; 6] =
    ["shim.mounted", "shim.created", "shim.started", "shim.ended", "shim.recorded", "shim.removed"];

/// Dies here if the environment's `variable` is `step`.
#[cfg(debug_assertions)]
pub fn die_if_asked(variable: &str, step: &str) {
    use rustix::process::{Pid, Signal, kill_process};

    if std::env::var(variable).is_ok_and(|asked| asked == step)
        && let Some(own) = Pid::from_raw(std::process::id().cast_signed())
        && kill_process(own, Signal::KILL).is_ok()
    {
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn die_if_asked(_variable: &str, _step: &str) {}

/// A step of a shim.
pub(crate) fn shim(step: &str) {
    debug_assert!(SHIM_STEPS.contains(&step), "unnamed step {step}");
    die_if_asked("WHARF_SHIM_CRASH_AT", step);
}
