//! Whose socket a number belongs to.

use std::fs;
use std::path::Path;

/// `NETLINK_NETFILTER`.
const NETFILTER: &str = "12";
/// Processes looked at; a host with more is told a number without a name.
const PROCESSES: usize = 65_536;

/// The process that has the netfilter socket numbered `port` open, as `"NAME (process PID)"`, or
/// the number alone where none is found. Looks in the calling thread's network namespace, and
/// through all processes; not for the way of a change.
pub fn socket_owner(port: u32) -> String {
    let unknown = || format!("netlink socket {port}");
    let Some(inode) = inode(port) else { return unknown() };
    let target = format!("socket:[{inode}]");
    // The first netlink socket of a process bears its number.
    let likely = Path::new("/proc").join(port.to_string());
    let others = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(likely)
        .chain(others.take(PROCESSES))
        .find(|process| has_open(process, &target))
        .and_then(|process| describe(&process))
        .unwrap_or_else(unknown)
}

fn inode(port: u32) -> Option<String> {
    let table = fs::read_to_string("/proc/thread-self/net/netlink").ok()?;
    let port = port.to_string();
    table
        .lines()
        .find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (protocol, number) = (fields.get(1)?, fields.get(2)?);
            (*protocol == NETFILTER && *number == port).then(|| fields.last().copied())?
        })
        .map(str::to_owned)
}

fn has_open(process: &Path, target: &str) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|link| link.as_os_str() == target)
}

fn describe(process: &Path) -> Option<String> {
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(format!("{} (process {})", name.trim_end(), process.file_name()?.to_str()?))
}
