//! Memory: of processes, and of the kernel on their behalf.

use std::fs;
use std::ops::{Div, Sub};

use anyhow::{Context, Result};

/// What the kernel holds for sockets, descriptors, threads and address spaces.
const KERNEL: [&str; 3] = ["Slab:", "KernelStack:", "PageTables:"];

/// Bytes; differences may be negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Memory {
    /// Resident memory of some processes; what several share is counted once.
    pub(crate) user: f64,
    /// Slabs, stacks and page tables of the whole machine.
    pub(crate) kernel: f64,
}

// === impl Memory ===

impl Memory {
    /// What these processes and the kernel hold now.
    pub(crate) fn now(processes: &[u32]) -> Result<Self> {
        let mut user = 0.0;
        for pid in processes {
            // One that has ended meanwhile holds nothing.
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            user += kilobytes(&text, "Pss:").unwrap_or_default();
        }
        let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
        let fields: Option<f64> = KERNEL.iter().map(|field| kilobytes(&text, field)).sum();
        let kernel = fields.context("understand /proc/meminfo")?;
        Ok(Self { user: user * 1024.0, kernel: kernel * 1024.0 })
    }
}

impl Sub for Memory {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { user: self.user - other.user, kernel: self.kernel - other.kernel }
    }
}

impl Div<f64> for Memory {
    type Output = Self;

    fn div(self, count: f64) -> Self {
        Self { user: self.user / count, kernel: self.kernel / count }
    }
}

/// Resident bytes of a process, shared pages counted in full; `None` when it has ended.
pub(crate) fn resident(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kilobytes(&text, "Rss:").map(|found| found * 1024.0)
}

fn kilobytes(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_name() {
        let text = "MemTotal:  1 kB\nSlab:      200 kB\n";
        assert_eq!(kilobytes(text, "Slab:"), Some(200.0));
        assert_eq!(kilobytes(text, "Pss:"), None);
    }

    #[test]
    fn this_process_has_memory() {
        let memory = Memory::now(&[std::process::id()]).unwrap();
        assert!(memory.user > 1e5 && memory.kernel > 1e6, "{memory:?}");
    }
}
