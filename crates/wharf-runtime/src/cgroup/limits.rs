//! Limits of a container's control groups: what can be asked for, whether this host can honour it,
//! and which file says it in which layout.
//!
//! They are written here and not by libcontainer, so that a running container is limited in the
//! same way as a new one.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::{CGROUP_ROOT, Layout};
use crate::error::{Error, Result};
use crate::spec::Limits;

/// Docker's: with less, nothing starts.
const MEMORY_LEAST: u64 = 6 << 20;
/// What the kernel takes, in microseconds.
const PERIODS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const QUOTA_LEAST: i64 = 1_000;
const PERIOD: u64 = 100_000;
/// What the kernel takes as shares (v1).
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// One file of a control group and what to write there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
}

/// What this host's control groups can do, as far as limits depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    memory: bool,
    swap: bool,
    cpu: bool,
    cpuset: bool,
    pids: bool,
}

// === impl Abilities ===

impl Abilities {
    /// Those of this host.
    pub fn of_this_host() -> Result<Self> {
        let layout = Layout::detect()?;
        let memory = layout.knows("memory");
        Ok(Self {
            memory,
            swap: memory && counts_swap(&layout),
            cpu: layout.knows("cpu"),
            cpuset: layout.knows("cpuset"),
            pids: layout.knows("pids"),
        })
    }

    /// Whether swap can be limited.
    pub fn can_limit_swap(self) -> bool {
        self.swap
    }

    /// Refuses limits that make no sense or cannot be honoured here.
    pub fn check(self, limits: &Limits) -> Result<()> {
        check_memory(limits).and_then(|()| check_cpu(limits)).map_err(Error::Spec)?;
        let memory = limits.memory.is_some() || limits.memory_reservation.is_some();
        let cpu = limits.cpu_quota.is_some() || limits.cpu_period.is_some();
        let sets = limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some();
        let needed = [
            (memory, self.memory, "memory", "the memory controller"),
            (
                limits.memory_swap.is_some_and(|swap| swap >= 0),
                self.swap,
                "swap",
                "swap accounting",
            ),
            (cpu || limits.cpu_shares.is_some(), self.cpu, "processor time", "the cpu controller"),
            (sets, self.cpuset, "processors and memory nodes", "the cpuset controller"),
            (
                limits.pids.is_some_and(|pids| pids > 0),
                self.pids,
                "processes",
                "the pids controller",
            ),
        ];
        match needed.into_iter().find(|(asked, able, _, _)| *asked && !able) {
            Some((_, _, what, missing)) => Err(Error::Spec(format!(
                "this host cannot limit {what}: its kernel, or the layout of its control groups, \
                 is without {missing}; leave the limit out, or enable it when the kernel boots"
            ))),
            None => Ok(()),
        }
    }
}

/// Limits the group `cgroup`, in every hierarchy it is in.
pub fn apply(cgroup: &Path, limits: &Limits) -> Result<()> {
    let layout = Layout::detect()?;
    let mut settings = match layout {
        Layout::Unified => unified(limits),
        Layout::Separate(_) => separate(limits),
    };
    // Memory may not be more than memory and swap (v1): whichever comes first can be in the way.
    let pair = settings.iter().filter(|setting| setting.controller == "memory").count() > 1;
    let first = settings.first().cloned();
    if let (true, Some(first)) = (pair, first)
        && write(&layout, cgroup, &first).is_err()
    {
        settings.swap(0, 1);
    }
    settings.iter().try_for_each(|setting| write(&layout, cgroup, setting))
}

fn write(layout: &Layout, cgroup: &Path, setting: &Setting) -> Result<()> {
    let Setting { controller, file, value } = setting;
    let missing = || Error::Spec(format!("this host has no {controller} controller"));
    let path = layout.group(controller, cgroup).ok_or_else(missing)?.join(file);
    fs::write(&path, value).map_err(|e| explain(&e, setting))
}

fn explain(error: &io::Error, setting: &Setting) -> Error {
    let Setting { file, value, .. } = setting;
    let why = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BUSY) => "the container uses more than that already".to_owned(),
        Some(Errno::NOENT) => "the kernel has no such limit".to_owned(),
        Some(Errno::ACCESS | Errno::RANGE) => "there is no such processor or node".to_owned(),
        _ => error.to_string(),
    };
    Error::Spec(format!("cannot limit the container: {file}={value}: {why}"))
}

/// In one tree for everything (v2).
fn unified(limits: &Limits) -> Vec<Setting> {
    let mut settings = Settings::default();
    settings.add("memory", "memory.max", limits.memory);
    settings.add("memory", "memory.swap.max", limits.memory_swap.map(|both| swap(limits, both)));
    settings.add("memory", "memory.low", limits.memory_reservation);
    settings.add("cpu", "cpu.weight", limits.cpu_shares.map(weight));
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let quota = limits.cpu_quota.filter(|quota| *quota > 0);
        let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
        let period = limits.cpu_period.unwrap_or(PERIOD);
        settings.add("cpu", "cpu.max", Some(format!("{quota} {period}")));
    }
    settings.finish(limits)
}

/// In a tree for each controller (v1).
fn separate(limits: &Limits) -> Vec<Setting> {
    let mut settings = Settings::default();
    settings.add("memory", "memory.limit_in_bytes", limits.memory);
    settings.add("memory", "memory.memsw.limit_in_bytes", limits.memory_swap);
    settings.add("memory", "memory.soft_limit_in_bytes", limits.memory_reservation);
    settings.add("cpu", "cpu.shares", limits.cpu_shares);
    settings.add("cpu", "cpu.cfs_period_us", limits.cpu_period);
    settings.add("cpu", "cpu.cfs_quota_us", limits.cpu_quota);
    settings.finish(limits)
}

/// v2 counts swap alone.
fn swap(limits: &Limits, both: i64) -> String {
    match u64::try_from(both) {
        Ok(both) => both.saturating_sub(limits.memory.unwrap_or(0)).to_string(),
        Err(_) => "max".to_owned(),
    }
}

/// Shares from 2 to 262144 as weights from 1 to 10000, as runc has it.
fn weight(shares: u64) -> u64 {
    1 + shares.saturating_sub(*SHARES.start()) * 9_999 / (SHARES.end() - SHARES.start())
}

/// Settings under way.
#[derive(Debug, Default)]
struct Settings(Vec<Setting>);

// === impl Settings ===

impl Settings {
    fn add(&mut self, controller: &'static str, file: &'static str, value: Option<impl ToString>) {
        let setting = |value: &dyn ToString| Setting { controller, file, value: value.to_string() };
        self.0.extend(value.map(|value| setting(&value)));
    }

    /// Those that go by the same names everywhere.
    fn finish(mut self, limits: &Limits) -> Vec<Setting> {
        self.add("cpuset", "cpuset.cpus", limits.cpuset_cpus.as_ref());
        self.add("cpuset", "cpuset.mems", limits.cpuset_mems.as_ref());
        let most = limits.pids.map(|pids| if pids > 0 { pids.to_string() } else { "max".into() });
        self.add("pids", "pids.max", most);
        self.0
    }
}

fn counts_swap(layout: &Layout) -> bool {
    let root = Path::new(CGROUP_ROOT);
    match layout {
        Layout::Separate(_) => layout
            .group("memory", Path::new("/"))
            .is_some_and(|root| root.join("memory.memsw.limit_in_bytes").exists()),
        // The root has no limits; any group below tells.
        Layout::Unified => {
            let groups = fs::read_dir(root).into_iter().flatten().flatten();
            let mut limited = groups.map(|g| g.path()).filter(|g| g.join("memory.max").exists());
            limited.next().is_none_or(|group| group.join("memory.swap.max").exists())
        }
    }
}

/// With Docker's texts.
fn check_memory(limits: &Limits) -> Result<(), String> {
    let few = |bytes: Option<u64>| bytes.is_some_and(|bytes| bytes < MEMORY_LEAST);
    if few(limits.memory) {
        return Err("Minimum memory limit allowed is 6MB".into());
    }
    if few(limits.memory_reservation) {
        return Err("Minimum memory reservation allowed is 6MB".into());
    }
    match (limits.memory, limits.memory_swap) {
        (None, Some(both)) if both >= 0 => {
            return Err(
                "You should always set the Memory limit when using Memoryswap limit, see usage"
                    .into(),
            );
        }
        (Some(memory), Some(both)) if u64::try_from(both).is_ok_and(|both| both < memory) => {
            return Err(
                "Minimum memoryswap limit should be larger than memory limit, see usage".into()
            );
        }
        (_, Some(both)) if both < -1 => {
            return Err(
                "invalid memory-swap: use a size, or -1 for as much swap as there is".into()
            );
        }
        _ => {}
    }
    match (limits.memory, limits.memory_reservation) {
        (Some(memory), Some(reserved)) if reserved > memory => {
            Err("Minimum memory limit can not be less than memory reservation limit, see usage"
                .into())
        }
        _ => Ok(()),
    }
}

fn check_cpu(limits: &Limits) -> Result<(), String> {
    if limits.cpu_period.is_some_and(|period| !PERIODS.contains(&period)) {
        return Err(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
                .into(),
        );
    }
    if limits.cpu_quota.is_some_and(|quota| quota != -1 && quota < QUOTA_LEAST) {
        return Err("CPU cfs quota can not be less than 1ms (i.e. 1000)".into());
    }
    if let Some(shares) = limits.cpu_shares.filter(|shares| !SHARES.contains(shares)) {
        return Err(format!(
            "invalid cpu-shares {shares}: use {} to {}; others have 1024",
            SHARES.start(),
            SHARES.end()
        ));
    }
    check_set("cpus", limits.cpuset_cpus.as_deref(), "/sys/devices/system/cpu/online")?;
    check_set("mems", limits.cpuset_mems.as_deref(), "/sys/devices/system/node/online")
}

/// Refuses a list that is none, or names what the host does not have.
fn check_set(what: &str, asked: Option<&str>, online: &str) -> Result<(), String> {
    let Some(asked) = asked else { return Ok(()) };
    let wanted = list(asked).ok_or_else(|| format!("Invalid value {asked} for cpuset {what}"))?;
    let text = fs::read_to_string(online).unwrap_or_else(|_| "0".into());
    let there = list(text.trim()).unwrap_or_default();
    let missing =
        |number: &(u32, u32)| !there.iter().any(|(a, b)| a <= &number.0 && &number.1 <= b);
    match wanted.iter().any(missing) {
        true => Err(format!(
            "Requested {} are not available - requested {asked}, available: {}",
            if what == "cpus" { "CPUs" } else { "memory nodes" },
            text.trim()
        )),
        false => Ok(()),
    }
}

/// `0-2,4` as ranges.
fn list(text: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last))
    };
    text.split(',').map(range).collect()
}

#[cfg(test)]
mod tests;
