//! What containers use, and what runs in them, from the kernel's counters.

use std::collections::BTreeMap;
use std::fs;

use wharf_api::{ContainerStats, ContainerTop};
use wharf_runtime::cgroup::{processes, usage};
use wharf_runtime::client::Shim;

use crate::clock;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase};

/// Docker's columns, which are those of `ps -ef`.
const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/// The major number of pseudo terminals.
const PTS: u64 = 136;

/// What `ps` reads of one process, in the words of proc(5).
struct Process {
    pid: u32,
    ppid: u32,
    tty: u64,
    /// Clock ticks of processor time.
    ticks: u64,
    /// Clock ticks since boot when it started.
    started: u64,
    uid: u32,
    command: String,
}

/// The clocks process times are told by.
struct Clocks {
    per_second: u64,
    /// Seconds since boot.
    uptime: u64,
}

// === impl Daemon ===

impl Daemon {
    /// The counters of one container; all zero when it does not run.
    pub fn stats(&self, name: &str) -> Result<ContainerStats> {
        let record = self.ledger.read(|state| state.find_container(name).cloned())?;
        let usage = match record.phase {
            Phase::Running => usage(&record.spec.cgroup)?,
            _ => wharf_runtime::cgroup::Usage::default(),
        };
        let (network_received, network_sent) = self.traffic_of(&record);
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0);
        let rest = u64::try_from(monotonic.tv_nsec).unwrap_or(0);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(ContainerStats {
            id: record.id,
            name: record.name,
            time: clock::now(),
            monotonic_nanoseconds: seconds * 1_000_000_000 + rest,
            cpu_nanoseconds: usage.cpu_nanoseconds,
            processors: u64::try_from(processors).unwrap_or(1),
            memory: usage.memory,
            memory_limit: usage.memory_limit.unwrap_or_else(memory_of_the_host),
            network_received,
            network_sent,
            block_read: usage.block_read,
            block_written: usage.block_written,
            pids: usage.pids,
            pids_limit: usage.pids_limit,
        })
    }

    /// Bytes in and out, as counted in the network namespace of its shim.
    fn traffic_of(&self, record: &ContainerRecord) -> (u64, u64) {
        let shim = Shim::adopt(&self.paths.shim(&record.id)).ok().flatten();
        let path = shim.map(|shim| format!("/proc/{}/net/dev", shim.pid().pid));
        let text = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        traffic(&text)
    }

    /// The processes of a running container.
    pub fn top(&self, name: &str) -> Result<ContainerTop> {
        let record = self.ledger.read(|state| state.find_container(name).cloned())?;
        if record.phase != Phase::Running {
            return Err(Error::Conflict(format!("container {} is not running", record.name)));
        }
        let clocks = Clocks::now();
        let names = user_names(&fs::read_to_string("/etc/passwd").unwrap_or_default());
        let found = processes(&record.spec.cgroup)?;
        let rows = found.into_iter().filter_map(Process::read).map(|p| p.row(&clocks, &names));
        Ok(ContainerTop {
            titles: TITLES.iter().map(|&title| title.to_owned()).collect(),
            processes: rows.collect(),
        })
    }
}

// === impl Process ===

impl Process {
    /// `None` when it has ended meanwhile.
    fn read(pid: u32) -> Option<Self> {
        // A process calls itself what it likes.
        let read = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let stat = read("stat")?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let status = read("status")?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let arguments = read("cmdline").unwrap_or_default();
        let words: Vec<&str> = arguments.split('\0').filter(|word| !word.is_empty()).collect();
        Some(Self {
            pid,
            ppid: u32::try_from(field(1)?).ok()?,
            tty: field(4)?,
            ticks: field(11)? + field(12)?,
            started: field(19)?,
            uid: uid.split_ascii_whitespace().next()?.parse().ok()?,
            command: if words.is_empty() { format!("[{name}]") } else { words.join(" ") },
        })
    }

    fn row(&self, clocks: &Clocks, names: &BTreeMap<u32, String>) -> Vec<String> {
        let seconds = self.ticks / clocks.per_second;
        let age = clocks.uptime.saturating_sub(self.started / clocks.per_second).max(1);
        vec![
            names.get(&self.uid).cloned().unwrap_or_else(|| self.uid.to_string()),
            self.pid.to_string(),
            self.ppid.to_string(),
            (seconds * 100 / age).min(99).to_string(),
            start_time(age),
            terminal(self.tty),
            format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60),
            self.command.clone(),
        ]
    }
}

// === impl Clocks ===

impl Clocks {
    fn now() -> Self {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let whole = uptime.split('.').next().and_then(|text| text.parse().ok());
        Self {
            per_second: rustix::param::clock_ticks_per_second().max(1),
            uptime: whole.unwrap_or(0),
        }
    }
}

/// The time of day of a start that is `age` seconds ago, or its day when that was not today.
fn start_time(age: u64) -> String {
    let now = jiff::Zoned::now();
    let age = i64::try_from(age).unwrap_or(0);
    let Ok(then) = now.checked_sub(jiff::SignedDuration::from_secs(age)) else { return "?".into() };
    let format = if then.date() == now.date() { "%H:%M" } else { "%b%d" };
    then.strftime(format).to_string()
}

fn terminal(device: u64) -> String {
    match (device >> 8 & 0xfff, device & 0xff) {
        (0, 0) => "?".into(),
        (PTS, minor) => format!("pts/{minor}"),
        (major, minor) => format!("{major}:{minor}"),
    }
}

/// The names of this host's users.
fn user_names(passwd: &str) -> BTreeMap<u32, String> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first of several names counts.
    passwd.lines().rev().filter_map(user).collect()
}

/// The columns of `/proc/net/dev` that count bytes, without the loopback.
fn traffic(text: &str) -> (u64, u64) {
    let counted = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        (name.trim() != "lo").then_some((*numbers.first()?, *numbers.get(8)?))
    };
    text.lines().filter_map(counted).fold((0, 0), |sum, (a, b)| (sum.0 + a, sum.1 + b))
}

fn memory_of_the_host() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_described_as_ps_does() {
        let own = Process::read(std::process::id()).unwrap();
        let row = own.row(&Clocks::now(), &BTreeMap::from([(own.uid, "me".into())]));
        assert_eq!((row.len(), row[0].as_str()), (TITLES.len(), "me"));
        assert_eq!(row[1], std::process::id().to_string());
        assert!(row[7].contains("wharf"), "{row:?}");
        assert!(Process::read(u32::MAX).is_none());
    }

    #[test]
    fn a_process_does_not_hide_behind_a_name_that_is_no_text() {
        let comm = fs::read("/proc/self/comm").unwrap();
        fs::write("/proc/self/comm", b"\xff) (\xfe").unwrap();
        let found = Process::read(std::process::id());
        fs::write("/proc/self/comm", comm.trim_ascii_end()).unwrap();
        let parent = u32::try_from(rustix::process::getppid().unwrap().as_raw_nonzero().get());
        assert_eq!(found.unwrap().ppid, parent.unwrap());
    }

    #[test]
    fn bytes_are_counted_without_the_loopback() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  \
                    eth0: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (10, 20));
    }

    #[test]
    fn terminals_and_users_have_names() {
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(136 << 8 | 3), "pts/3");
        assert_eq!(user_names("root:x:0:0:::\nalso:x:0:0:::\n")[&0], "root");
    }
}
