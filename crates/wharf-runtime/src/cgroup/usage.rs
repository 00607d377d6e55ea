//! What a container uses: its control groups' counters.

use std::fs;
use std::path::Path;

use super::{DEPTH_LIMIT, Layout, children};
use crate::error::Result;

/// v1 writes "no limit" as the largest number of whole pages; anything near it is none.
const NO_LIMIT: u64 = 1 << 62;

/// Counters of one container; what this host does not count is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Bytes of memory, without what the kernel can drop at once.
    pub memory: u64,
    /// The limit of memory; `None` when there is none.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// The limit of processes; `None` when there is none.
    pub pids_limit: Option<u64>,
    /// Bytes read from devices.
    pub block_read: u64,
    /// Bytes written to devices.
    pub block_written: u64,
}

/// What the group `cgroup` uses.
pub fn usage(cgroup: &Path) -> Result<Usage> {
    let layout = Layout::detect()?;
    let read = |controller: &str, file: &str| {
        let group = layout.group(controller, cgroup)?;
        fs::read_to_string(group.join(file)).ok()
    };
    let number = |controller: &str, file: &str| read(controller, file)?.trim().parse::<u64>().ok();
    let unified = layout == Layout::Unified;
    let memory_stat = read("memory", "memory.stat").unwrap_or_default();
    let (cpu, memory, limit, inactive, io) = match unified {
        true => (
            field(&read("cpu", "cpu.stat").unwrap_or_default(), "usage_usec").map(|u| u * 1_000),
            number("memory", "memory.current"),
            number("memory", "memory.max"),
            field(&memory_stat, "inactive_file"),
            io_stat(&read("io", "io.stat").unwrap_or_default()),
        ),
        false => (
            number("cpuacct", "cpuacct.usage"),
            number("memory", "memory.usage_in_bytes"),
            number("memory", "memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT),
            field(&memory_stat, "total_inactive_file"),
            service_bytes(&read("blkio", "blkio.throttle.io_service_bytes").unwrap_or_default()),
        ),
    };
    Ok(Usage {
        cpu_nanoseconds: cpu.unwrap_or(0),
        memory: memory.unwrap_or(0).saturating_sub(inactive.unwrap_or(0)),
        memory_limit: limit,
        pids: number("pids", "pids.current").unwrap_or(0),
        pids_limit: number("pids", "pids.max"),
        block_read: io.0,
        block_written: io.1,
    })
}

/// Whether the kernel has ended a process of the group `cgroup` because its memory was used up.
pub(crate) fn was_short_of_memory(cgroup: &Path) -> bool {
    let Ok(layout) = Layout::detect() else { return false };
    // In v1 the file counts since Linux 4.13.
    let file = if layout == Layout::Unified { "memory.events" } else { "memory.oom_control" };
    let group = layout.group("memory", cgroup);
    let text = group.and_then(|group| fs::read_to_string(group.join(file)).ok());
    text.and_then(|text| field(&text, "oom_kill")).is_some_and(|killed| killed > 0)
}

/// The processes of the group `cgroup` and of those below it, by their numbers here.
pub fn processes(cgroup: &Path) -> Result<Vec<u32>> {
    let layout = Layout::detect()?;
    let by = ["pids", "memory", "cpu", "devices", "freezer"];
    let group = by.into_iter().find_map(|controller| layout.group(controller, cgroup));
    let mut found = Vec::new();
    collect(&group.unwrap_or_default(), DEPTH_LIMIT, &mut found);
    found.sort_unstable();
    Ok(found)
}

fn collect(group: &Path, depth: usize, found: &mut Vec<u32>) {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid > 0));
    if let Some(depth) = depth.checked_sub(1) {
        children(group).iter().for_each(|child| collect(child, depth, found));
    }
}

/// `name value` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// `8:0 rbytes=1 wbytes=2 …` (v2).
fn io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_whitespace().filter_map(|word| word.strip_prefix(key));
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `8:0 Read 1` (v1).
fn service_bytes(text: &str) -> (u64, u64) {
    let sum = |what: &str| {
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let values = lines.filter_map(|words| match words.as_slice() {
            [_, kind, value] if *kind == what => value.parse::<u64>().ok(),
            _ => None,
        });
        values.sum()
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_both_kinds_of_files() {
        let v2 = "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n";
        assert_eq!(io_stat(v2), (11, 22));
        let v1 = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\n8:0 Total 30\n8:16 Read 1\nTotal 31\n";
        assert_eq!(service_bytes(v1), (11, 20));
        let stat = "cache 5\nrss 6\ntotal_inactive_file 4096\n";
        assert_eq!(field(stat, "total_inactive_file"), Some(4096));
        assert_eq!(field(stat, "inactive_file"), None);
    }

    #[test]
    fn a_group_that_is_not_there_uses_nothing() {
        let absent = Path::new("/wharf-test-absent/x");
        assert_eq!(usage(absent).unwrap(), Usage::default());
        assert_eq!(processes(absent).unwrap(), Vec::<u32>::new());
    }
}
