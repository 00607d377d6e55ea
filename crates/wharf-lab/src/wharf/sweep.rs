//! Finding the processes and cgroups of one instance, and ending them.
//!
//! An instance is known by its directory, which no other has: its processes carry it in their
//! environment or command line, a container's first process has it in its mount table, and
//! everything else descends from those.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::mounts_below;
use crate::wait;

/// The kernel needs a moment to take a killed process and its namespaces apart.
const ENDING: Duration = Duration::from_secs(10);

/// A process of the instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// Its id.
    pub(crate) pid: i32,
    /// Its command line, the program without its directory.
    pub(crate) command: String,
}

/// One look at `/proc`.
#[derive(Debug, Default)]
struct Census {
    parents: BTreeMap<i32, i32>,
    marked: BTreeSet<i32>,
}

/// Every process of the instance whose directory is `mark`.
pub(crate) fn processes(mark: &Path) -> Vec<Found> {
    let census = Census::take(mark);
    let ours = census.parents.keys().copied().filter(|pid| census.descends(*pid));
    ours.filter_map(|pid| Some(Found { pid, command: command_line(pid)? })).collect()
}

/// Kills every process of the instance, and those that they make meanwhile.
///
/// # Errors
/// Lists what would not end.
pub(crate) fn kill_all(mark: &Path) -> Result<()> {
    let ended = wait::until(ENDING, "the end of all processes", || {
        let left = processes(mark);
        for found in &left {
            if let Some(pid) = Pid::from_raw(found.pid) {
                // It may have ended between the look and the kill.
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
        left.is_empty().then_some(())
    });
    ended.map_err(|error| error.context(format!("{:?}", processes(mark))))
}

/// Takes down what an instance that was killed has left pinned in its bpf file system. Unmounting
/// alone would not do: copies of the mount live on in mount namespaces that were made meanwhile.
pub(crate) fn unpin(place: &Path) {
    for directory in mounts_below(place) {
        remove_pins(&directory);
        if let Err(error) = unmount(&directory, UnmountFlags::DETACH) {
            eprintln!("wharf-lab: cannot unmount {}: {error}", directory.display());
        }
    }
}

fn remove_pins(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_pins(&path);
            let _gone = fs::remove_dir(&path);
            continue;
        }
        // The kernel's own files there (`maps.debug`) have a dot, and nobody can remove them.
        let is_of_kernel = path.extension().is_some();
        if let Err(error) = fs::remove_file(&path)
            && !is_of_kernel
        {
            eprintln!("wharf-lab: cannot unpin {}: {error}", path.display());
        }
    }
}

/// The cgroups that hold processes of the instance, as directories, without those that the test
/// itself is in.
pub(crate) fn cgroups(mark: &Path) -> BTreeSet<PathBuf> {
    let own: BTreeSet<PathBuf> = cgroups_of("self").collect();
    let of_ours = processes(mark).into_iter().flat_map(|found| cgroups_of(&found.pid.to_string()));
    // An ancestor of our own cgroup (a root, for example) is nobody's leak.
    of_ours.filter(|group| !own.iter().any(|ours| ours.starts_with(group))).collect()
}

/// The highest directory of each cgroup that is not also above the test's own, in every hierarchy:
/// a process may have been seen before it had joined them all.
pub(crate) fn cgroup_tops(groups: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let own: BTreeSet<PathBuf> = cgroups_of("self").collect();
    let roots: BTreeSet<PathBuf> = hierarchies().into_values().collect();
    let is_shared = |group: &Path| own.iter().any(|ours| ours.starts_with(group));
    let mut names = BTreeSet::new();
    for (group, root) in groups.iter().flat_map(|it| roots.iter().map(move |root| (it, root))) {
        let Ok(below) = group.strip_prefix(root) else { continue };
        let above = below.ancestors().filter(|name| !is_shared(&root.join(name)));
        names.extend(above.last().map(Path::to_owned));
    }
    roots.iter().flat_map(|root| names.iter().map(move |name| root.join(name))).collect()
}

/// Where an instance with this state directory keeps its cgroups, in every hierarchy: the program
/// names the parent by the FNV-1a hash of the path.
pub(crate) fn parents(state_dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let hash =
        state_dir.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
    let name = format!("wharf-{hash:016x}");
    hierarchies().into_values().map(move |root| root.join(&name))
}

/// Every directory under `tops`, the deepest first.
pub(crate) fn cgroup_tree(tops: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = tops.iter().filter(|top| top.is_dir()).cloned().collect();
    while let Some(group) = waiting.pop() {
        let below = fs::read_dir(&group).into_iter().flatten().flatten();
        waiting.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
        found.push(group);
    }
    found.sort_by_key(|group| std::cmp::Reverse(group.components().count()));
    found
}

/// Removes the cgroups under `tops`; they must be empty.
///
/// # Errors
/// Lists those that would not go.
pub(crate) fn remove_cgroups(tops: &BTreeSet<PathBuf>) -> Result<()> {
    // A cgroup stays busy for a moment after its last process has been killed.
    let gone = wait::until(ENDING, "the end of all cgroups", || {
        let left = cgroup_tree(tops);
        left.iter().all(|group| fs::remove_dir(group).is_ok()).then_some(())
    });
    if gone.is_err() {
        bail!("cgroups that cannot be removed: {:?}", cgroup_tree(tops));
    }
    Ok(())
}

/// How many namespaces of each kind the instance's processes are in, besides the machine's own
/// and the network namespace `host`.
pub(crate) fn namespaces(mark: &Path, host: Option<&str>) -> BTreeMap<&'static str, usize> {
    let ours = processes(mark);
    let count = |kind: &'static str| {
        let machine = namespace("self", kind);
        let distinct: BTreeSet<String> = ours
            .iter()
            .filter_map(|found| namespace(&found.pid.to_string(), kind))
            .filter(|found| Some(found) != machine.as_ref() && Some(found.as_str()) != host)
            .collect();
        (kind, distinct.len())
    };
    ["net", "mnt", "pid", "uts", "ipc"].into_iter().map(count).collect()
}

fn namespace(pid: &str, kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

// === impl Census ===

impl Census {
    fn take(mark: &Path) -> Self {
        let mark = mark.as_os_str().as_bytes();
        let own_mounts = namespace("self", "mnt");
        let mut census = Self::default();
        for pid in numeric(fs::read_dir("/proc").into_iter().flatten().flatten()) {
            let Some(parent) = parent(pid) else { continue };
            census.parents.insert(pid, parent);
            if is_marked(pid, mark, own_mounts.as_deref()) {
                census.marked.insert(pid);
            }
        }
        for above in census.line(own_pid()) {
            census.parents.remove(&above);
            census.marked.remove(&above);
        }
        census
    }

    /// Whether `pid` is marked or has a marked process above it.
    fn descends(&self, pid: i32) -> bool {
        self.line(pid).iter().any(|above| self.marked.contains(above))
    }

    /// `pid` and its ancestors; a census is not taken at one instant, so the length is capped.
    fn line(&self, pid: i32) -> Vec<i32> {
        std::iter::successors(Some(pid), |child| self.parents.get(child).copied())
            .take(256)
            .take_while(|pid| *pid > 0)
            .collect()
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

fn numeric(entries: impl Iterator<Item = fs::DirEntry>) -> impl Iterator<Item = i32> {
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn is_marked(pid: i32, mark: &[u8], own_mounts: Option<&str>) -> bool {
    let holds = |file: &str| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|text| text.windows(mark.len()).any(|window| window == mark))
    };
    // A mount table says something only where it is not the one we share with the machine.
    let elsewhere = namespace(&pid.to_string(), "mnt").is_some_and(|it| Some(&*it) != own_mounts);
    holds("environ") || holds("cmdline") || (elsewhere && mounts_hold(pid, mark))
}

/// Whether a mount of a process is the instance's. What an instance mounts for everybody, its bpf
/// file system, is copied into every mount namespace that is made meanwhile, whoever's that is.
fn mounts_hold(pid: i32, mark: &[u8]) -> bool {
    let table = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let holds = |line: &[u8]| line.windows(mark.len()).any(|window| window == mark);
    let is_everybodys = |line: &[u8]| line.windows(7).any(|window| window == b" - bpf ");
    table.split(|byte| *byte == b'\n').any(|line| !is_everybodys(line) && holds(line))
}

fn command_line(pid: i32) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    // A process that has ended but was not reaped has none.
    let text = String::from_utf8_lossy(text.strip_suffix(b"\0")?).into_owned();
    let mut words = text.split('\0');
    let program = words.next()?.rsplit('/').next()?;
    Some([program].into_iter().chain(words).collect::<Vec<_>>().join(" "))
}

/// Where each hierarchy is mounted, by its controllers; the unified one by the empty name.
pub(super) fn hierarchies() -> BTreeMap<String, PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter_map(hierarchy).flatten().collect()
}

fn hierarchy(line: &str) -> Option<Vec<(String, PathBuf)>> {
    let (place, kind) = line.split_once(" - ")?;
    let place = PathBuf::from(place.split(' ').nth(4)?);
    let mut kind = kind.split(' ');
    match kind.next()? {
        "cgroup2" => Some(vec![(String::new(), place)]),
        "cgroup" => Some(kind.nth(1)?.split(',').map(|c| (c.to_owned(), place.clone())).collect()),
        _ => None,
    }
}

fn cgroups_of(pid: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let known = hierarchies();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.into_iter().filter_map(move |line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controller = parts.next()?.split(',').next()?.to_owned();
        let root = known.get(&controller)?;
        Some(root.join(parts.next()?.trim_start_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn marked_processes_and_their_children_are_found_and_killed() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "env -i sleep 61 & wait"])
            .env("WHARF_RUN_DIR", mark)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let found = wait::until(ENDING, "two processes", || {
            let found = processes(mark);
            found.iter().any(|it| it.command == "sleep 61").then_some(found)
        });
        assert_eq!(found.unwrap().len(), 2);
        kill_all(mark).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(processes(mark), []);
    }

    #[test]
    fn nobody_carries_a_mark_that_was_never_given() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(processes(directory.path()), []);
        assert!(cgroups(directory.path()).is_empty());
    }

    #[test]
    fn hierarchies_are_read_from_the_mount_table() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert!(hierarchy(v1).unwrap().contains(&("cpu".to_owned(), "/sys/fs/cgroup/cpu".into())));
        let v2 = "31 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(hierarchy(v2).unwrap(), [(String::new(), "/sys/fs/cgroup".into())]);
        assert_eq!(hierarchy("1 1 0:1 / / rw - ext4 /dev/vda rw"), None);
    }
}
