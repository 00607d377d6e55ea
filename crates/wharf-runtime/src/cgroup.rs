//! Control groups, wherever the host has them: one tree (v2), one per controller (v1), or both.
//!
//! libcontainer makes a container's groups; this module finds them again, empties and removes
//! them when the shim that would have done it is gone.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Context, Error, Result};

mod freezer;
pub mod limits;
mod usage;

pub use freezer::{freeze, is_frozen, thaw};
pub(crate) use usage::was_short_of_memory;
pub use usage::{Usage, processes, usage};

/// A killed process is gone within milliseconds unless it hangs in a device or a file system.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(2);
/// Groups a container makes inside its own; deeper ones are left and reported.
const DEPTH_LIMIT: usize = 32;

/// Where libcontainer expects them; other places are copies somebody mounted.
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The controllers libcontainer puts containers under in a v1 or hybrid layout.
const V1_CONTROLLERS: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "hugetlb",
    "memory",
    "pids",
    "perf_event",
    "blkio",
    "net_prio",
    "net_cls",
    "freezer",
];

/// How control groups are laid out on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One tree for everything (v2).
    Unified,
    /// One tree per controller (v1, with or without a v2 tree beside them): where they are.
    Separate(Vec<PathBuf>),
}

/// One mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// `None` for v2; the options of the file system for v1, its controllers among them.
    options: Option<String>,
}

// === impl Layout ===

impl Layout {
    /// The layout of this host.
    pub(crate) fn detect() -> Result<Self> {
        let mut separate: Vec<_> = hierarchies()?
            .into_iter()
            .filter(|h| h.has_v1_controller() && h.mount.starts_with(CGROUP_ROOT))
            .map(|hierarchy| hierarchy.mount)
            .collect();
        separate.sort();
        separate.dedup();
        Ok(if separate.is_empty() { Self::Unified } else { Self::Separate(separate) })
    }

    /// The directory of the group `cgroup` where `controller` is in charge of it.
    pub(crate) fn group(&self, controller: &str, cgroup: &Path) -> Option<PathBuf> {
        let mount = match self {
            Self::Unified => Path::new(CGROUP_ROOT),
            Self::Separate(mounts) => mounts.iter().find(|mount| has(mount, controller))?,
        };
        Some(below(mount, cgroup))
    }

    /// Whether this host can limit by `controller` at all.
    pub(crate) fn knows(&self, controller: &str) -> bool {
        match self {
            Self::Unified => {
                let path = Path::new(CGROUP_ROOT).join("cgroup.controllers");
                let text = fs::read_to_string(path).unwrap_or_default();
                text.split_whitespace().any(|name| name == controller)
            }
            Self::Separate(mounts) => mounts.iter().any(|mount| has(mount, controller)),
        }
    }

    /// Whether libcontainer, as built here, can keep containers from devices: with the v1 device
    /// controller only, for a v2 filter is a BPF program.
    pub(crate) fn filters_devices(&self) -> bool {
        match self {
            Self::Unified => false,
            Self::Separate(mounts) => mounts.iter().any(|m| m.ends_with("devices")),
        }
    }
}

// === impl Hierarchy ===

impl Hierarchy {
    /// `… MOUNT OPTIONS … - TYPE SOURCE FSOPTIONS`; spaces in the path are written `\040`, which
    /// no control group mount has.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mount = PathBuf::from(left.split(' ').nth(4)?);
        let mut fields = right.split(' ');
        match fields.next()? {
            "cgroup2" => Some(Self { mount, options: None }),
            "cgroup" => Some(Self { mount, options: Some(fields.nth(1)?.to_owned()) }),
            _ => None,
        }
    }

    fn has_v1_controller(&self) -> bool {
        let options = self.options.as_deref().unwrap_or_default();
        options.split(',').any(|option| V1_CONTROLLERS.contains(&option))
    }
}

/// Kills every process in the group `cgroup` and below, in every hierarchy, and removes it.
///
/// For containers whose shim was killed. A group that is not there is fine, so this may be called
/// again.
///
/// # Errors
/// Something could not be killed or removed in time; all of it was tried.
pub fn kill_leftovers(cgroup: &Path) -> Result<()> {
    check(cgroup)?;
    let groups = groups(cgroup)?;
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let alive = groups.iter().map(|group| kill_all(group, DEPTH_LIMIT)).sum::<usize>();
        if alive == 0 {
            break;
        }
        if Instant::now() > deadline {
            let action = format!("end the processes of {}", cgroup.display());
            return Err(Error::Timeout { action, limit: KILL_LIMIT });
        }
        sleep(KILL_POLL);
    }
    // A process leaves its group a moment after it is gone from the list.
    let failures: Vec<_> =
        groups.iter().filter_map(|group| remove_until(group, deadline).err()).collect();
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Removes the group `parent` in every hierarchy if no group and no process is left in it.
pub fn remove_cgroup_parent(parent: &Path) -> Result<()> {
    check(parent)?;
    let mut failure = Ok(());
    for group in groups(parent)? {
        match fs::remove_dir(&group) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) => {}
            removed => {
                failure = failure.and(removed.during(|| format!("remove {}", group.display())));
            }
        }
    }
    failure
}

/// Whether this host can keep containers from devices; elsewhere they cannot make nodes.
pub fn filters_devices() -> Result<bool> {
    Ok(Layout::detect()?.filters_devices())
}

/// The names of the groups directly below `parent`, in whatever hierarchy they are.
pub fn names_below(parent: &Path) -> Result<BTreeSet<String>> {
    check(parent)?;
    let found = groups(parent)?.iter().flat_map(|group| children(group)).collect::<Vec<_>>();
    let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    Ok(found.iter().filter_map(name).collect())
}

/// The directory of the group `cgroup` in the hierarchy mounted at `mount`.
pub(crate) fn below(mount: &Path, cgroup: &Path) -> PathBuf {
    mount.join(cgroup.strip_prefix("/").unwrap_or(cgroup))
}

/// Whether a v1 hierarchy, which is named after them, has this controller.
fn has(mount: &Path, controller: &str) -> bool {
    let name = mount.file_name().map(|name| name.to_string_lossy().into_owned());
    name.is_some_and(|name| name.split(',').any(|part| part == controller))
}

/// A path that means the root would end every process of the host.
fn check(cgroup: &Path) -> Result<()> {
    let climbs = cgroup.components().any(|c| c == Component::ParentDir);
    if climbs {
        return Err(Error::Spec(format!("the control group {} climbs", cgroup.display())));
    }
    let names = cgroup.components().filter(|c| matches!(c, Component::Normal(_))).count();
    if names == 0 {
        return Err(Error::Spec("the root control group is nobody's own".to_owned()));
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let path = "/proc/thread-self/mountinfo";
    let text = fs::read_to_string(path).during(|| format!("read {path}"))?;
    Ok(text.lines().filter_map(Hierarchy::parse).collect())
}

fn groups(cgroup: &Path) -> Result<Vec<PathBuf>> {
    let mut groups: Vec<_> = hierarchies()?.iter().map(|h| below(&h.mount, cgroup)).collect();
    groups.sort();
    groups.dedup();
    groups.retain(|group| group.is_dir());
    Ok(groups)
}

/// Kills what is in `group` and below and returns how many processes there were.
fn kill_all(group: &Path, depth: usize) -> usize {
    // v2, Linux 5.14: everything at once, and nothing forks away meanwhile.
    let _where_available = fs::write(group.join("cgroup.kill"), "1");
    // A frozen process dies only when it runs again: v2 since 5.2, v1.
    let _where_available = fs::write(group.join("cgroup.freeze"), "0");
    let _where_available = fs::write(group.join("freezer.state"), "THAWED");
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = std::process::id();
    let mut count = 0;
    for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()) {
        if pid <= 0 || u32::try_from(pid) == Ok(own) {
            continue;
        }
        count += 1;
        if let Some(pid) = Pid::from_raw(pid) {
            let _gone_is_fine = kill_process(pid, Signal::KILL);
        }
    }
    let below = depth.checked_sub(1).map(|depth| (depth, children(group)));
    let (depth, children) = below.unwrap_or_default();
    count + children.iter().map(|child| kill_all(child, depth)).sum::<usize>()
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn remove_until(group: &Path, deadline: Instant) -> Result<()> {
    for child in children(group) {
        remove_until(&child, deadline)?;
    }
    loop {
        match fs::remove_dir(group) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                sleep(KILL_POLL);
            }
            removed => return removed.during(|| format!("remove {}", group.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_are_understood() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        let hierarchy = Hierarchy::parse(v1).unwrap();
        assert_eq!(hierarchy.mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(hierarchy.has_v1_controller());
        let named = "30 25 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
        assert!(!Hierarchy::parse(named).unwrap().has_v1_controller());
        let v2 = "30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw";
        assert_eq!(Hierarchy::parse(v2).unwrap().options, None);
        assert_eq!(Hierarchy::parse("30 25 0:26 / / rw - ext4 /dev/sda rw"), None);
    }

    #[test]
    fn the_root_and_climbing_paths_are_refused() {
        for path in ["", "/", ".", "/a/../..", "..", "//"] {
            assert!(kill_leftovers(Path::new(path)).is_err(), "{path}");
            assert!(remove_cgroup_parent(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_fine() {
        kill_leftovers(Path::new("/wharf-test-absent/x")).unwrap();
        remove_cgroup_parent(Path::new("/wharf-test-absent")).unwrap();
    }
}
