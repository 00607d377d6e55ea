//! Processes on this machine, by group or by what they were started with, and their end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process_group, set_child_subreaper, waitpgid, waitpid,
};

/// How long those who were asked to end may take before they are killed.
const END_LIMIT: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(5);

/// Makes this process the parent of what its children leave behind, so that it can be waited for.
pub(crate) fn adopt_orphans() -> Result<()> {
    set_child_subreaper(Some(getpid())).context("become the parent of orphans")
}

/// Asks all processes of these groups to end, and kills those that do not.
pub(crate) fn end_groups(groups: &BTreeSet<u32>) {
    signal(groups, Signal::TERM);
    let deadline = Instant::now() + END_LIMIT;
    while of_groups(groups).is_ok_and(|left| !left.is_empty()) && Instant::now() < deadline {
        sleep(STEP);
    }
    signal(groups, Signal::KILL);
}

fn signal(groups: &BTreeSet<u32>, signal: Signal) {
    for group in groups.iter().filter_map(|group| pid(*group)) {
        // There may be nobody left.
        let _told = kill_process_group(group, signal);
    }
}

/// Waits for the dead of these groups whose parents are dead, too.
pub(crate) fn reap_groups(groups: &BTreeSet<u32>) {
    for group in groups.iter().filter_map(|group| pid(*group)) {
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
    }
}

/// Waits for a process that has ended, if it has become our child.
pub(crate) fn reap(process: u32) {
    // Somebody else's child is somebody else's to wait for.
    let _reaped = waitpid(pid(process), WaitOptions::NOHANG);
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// All processes of these groups that have not ended.
pub(crate) fn of_groups(groups: &BTreeSet<u32>) -> Result<Vec<u32>> {
    let in_group = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        living_group(&stat).is_some_and(|group| groups.contains(&group))
    };
    Ok(all()?.into_iter().filter(in_group).collect())
}

/// All processes with `path` in their command line.
pub(crate) fn naming(path: &Path) -> Result<Vec<u32>> {
    let wanted = path.as_os_str().as_encoded_bytes();
    let names = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == wanted)
    };
    Ok(all()?.into_iter().filter(names).collect())
}

fn all() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("list /proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// The third field after the name, which may hold anything; a zombie has no group any more.
fn living_group(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets() {
        assert_eq!(living_group("12 (a) b (c)) S 1 77 77 0"), Some(77));
        assert_eq!(living_group("12 (a) Z 1 77 77 0"), None);
        assert_eq!(living_group("12"), None);
    }

    #[test]
    fn this_process_is_found() {
        let me = std::process::id();
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(of_groups(&BTreeSet::from([living_group(&stat).unwrap()])).unwrap().contains(&me));
    }
}
