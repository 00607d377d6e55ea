//! Processors: the time all of them were busy with anything (programs, kernel and interrupts), and a
//! place on one.

use std::fs;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// `user nice system idle iowait irq softirq`; idle and waiting are not busy, and what a
/// hypervisor stole was not spent here.
const BUSY: [usize; 5] = [0, 1, 2, 5, 6];

/// Seconds of busy time since boot, summed over all processors.
pub(crate) fn busy_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let ticks = busy_ticks(&text).context("understand /proc/stat")?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// One end of a connection whose ends keep apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// Keeps the calling thread, and those it starts, on a processor of its end's own: the first for the
/// client, the last for the server.
pub(crate) fn keep_apart(end: End) -> Result<()> {
    let all = sched_getaffinity(None).context("ask for the processors")?;
    let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
    let own = match end {
        End::Client => usable.next(),
        End::Server => usable.next_back(),
    };
    let mut set = CpuSet::new();
    set.set(own.context("find a processor")?);
    sched_setaffinity(None, &set).context("stay on a processor")
}

fn busy_ticks(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    BUSY.iter().map(|place| fields.get(*place).copied()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        let text = "cpu  1 2 4 1000 1000 8 16 1000 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(text), Some(31));
        assert_eq!(busy_ticks("intr 1"), None);
    }
}
