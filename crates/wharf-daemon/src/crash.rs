//! Places where tests can kill the daemon, to prove that the next one finds its way.
//!
//! Each step of `run` and `rm` has a name, and so have those of a change of what is published, of an
//! end, and of a start that fails. A debug build whose environment has `WHARF_CRASH_AT=<name>` kills
//! itself with SIGKILL there ([`wharf_runtime::crash`]).

/// Every named step, in the order a `run` followed by an `rm` passes them.
pub const STEPS: [&str; 18] = [
    "create.recorded",
    "create.files",
    "create.done",
    "start.reserved",
    "start.marked",
    "start.launched",
    "start.plugged",
    "start.created",
    "start.recorded",
    "start.relayed",
    "start.published",
    "start.started",
    "start.done",
    "remove.marked",
    "remove.killed",
    "remove.unpublished",
    "remove.unplugged",
    "remove.files",
];

/// Every named step of a change: of a publication to another, and of one that is taken down.
pub const CHANGE_STEPS: [&str; 3] = ["alter.recorded", "alter.served", "unpublish.recorded"];

/// Every named step of an end: of a `stop`, or of a start that fails.
pub const END_STEPS: [&str; 5] =
    ["stop.signalled", "settle.recorded", "settle.withdrawn", "settle.unplugged", "undo.killed"];

/// Dies here if a test asked for it.
pub(crate) fn point(step: &str) {
    let known = STEPS.contains(&step) || CHANGE_STEPS.contains(&step) || END_STEPS.contains(&step);
    debug_assert!(known, "unnamed step {step}");
    wharf_runtime::crash::die_if_asked("WHARF_CRASH_AT", step);
}
