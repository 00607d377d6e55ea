//! Stops every process of a container where it is, and lets it go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Layout;
use crate::error::{Context, Error, Result};

/// A process stops at its next return from the kernel; one that waits for a disk takes as long.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// How the kernel is told in this layout.
struct Freezer {
    switch: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
    /// Where it says how far it is, and the line that says it is done.
    told: (PathBuf, &'static str),
}

/// Stops the processes of the group `cgroup`; returns when all of them stand still.
pub fn freeze(cgroup: &Path) -> Result<()> {
    let freezer = Freezer::of(cgroup)?;
    let what = || format!("freeze {}", cgroup.display());
    fs::write(&freezer.switch, freezer.frozen).during(what)?;
    let deadline = Instant::now() + FREEZE_LIMIT;
    while !freezer.is_done() {
        if Instant::now() > deadline {
            let _as_it_was = fs::write(&freezer.switch, freezer.thawed);
            return Err(Error::Timeout { action: what(), limit: FREEZE_LIMIT });
        }
        sleep(POLL);
        // v1 gives up on a process that was just being made, and has to be told again.
        let _again = fs::write(&freezer.switch, freezer.frozen);
    }
    Ok(())
}

/// Lets the processes of the group `cgroup` go on.
pub fn thaw(cgroup: &Path) -> Result<()> {
    let freezer = Freezer::of(cgroup)?;
    fs::write(&freezer.switch, freezer.thawed).during(|| format!("thaw {}", cgroup.display()))
}

/// Whether the processes of the group `cgroup` stand still.
pub fn is_frozen(cgroup: &Path) -> bool {
    Freezer::of(cgroup).is_ok_and(|freezer| freezer.is_done())
}

// === impl Freezer ===

impl Freezer {
    fn of(cgroup: &Path) -> Result<Self> {
        let layout = Layout::detect()?;
        let missing = || {
            Error::Spec("this host cannot pause containers: it has no freezer controller".into())
        };
        let group = layout.group("freezer", cgroup).ok_or_else(missing)?;
        Ok(match layout {
            Layout::Unified => Self {
                switch: group.join("cgroup.freeze"),
                frozen: "1",
                thawed: "0",
                told: (group.join("cgroup.events"), "frozen 1"),
            },
            Layout::Separate(_) => Self {
                switch: group.join("freezer.state"),
                frozen: "FROZEN",
                thawed: "THAWED",
                told: (group.join("freezer.state"), "FROZEN"),
            },
        })
    }

    fn is_done(&self) -> bool {
        let text = fs::read_to_string(&self.told.0).unwrap_or_default();
        text.lines().any(|line| line == self.told.1)
    }
}
