//! What is there, as lines of text that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use wharf_host::link::{Link, Links};
use wharf_host::route::Routes;

use crate::host::Host;
use crate::lab::mounts_below;
use crate::wharf::{Wharf, sweep};

const NFT_LIMIT: Duration = Duration::from_secs(20);

/// The state of one host, and of one instance on it, in sections of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<&'static str, Vec<String>>,
}

/// The links of a host; their numbers change when they are made anew, their names do not.
struct Names(Vec<Link>);

/// Fails the test when two snapshots differ.
///
/// # Panics
/// With every line that only one of them has.
#[track_caller]
pub fn assert_same(before: &Snapshot, after: &Snapshot) {
    let differences = before.differences(after);
    assert!(differences.is_empty(), "not as it was before:\n{}", differences.join("\n"));
}

// === impl Snapshot ===

impl Snapshot {
    /// What the kernel holds for `host`.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of(host: &Host) -> Result<Self> {
        let mut links = Links::open_in(host.netns())?;
        let mut routes = Routes::open_in(host.netns())?;
        let names = Names(links.list()?);
        let addresses = links.addresses(None)?;
        let addresses = addresses.iter().map(|it| format!("{} {}", names.of(it.link), it.net));
        let rules = routes.rules()?.into_iter().map(|rule| rule.to_string());
        let routes = routes.list()?.into_iter().map(|route| {
            let link = route.link.map_or("-", |index| names.of(index));
            format!("{} {link} {:?} {}", route.destination, route.gateway, route.table)
        });
        let sockets = host.run(sockets)?;
        Ok(Self {
            sections: BTreeMap::from([
                ("nftables", ruleset(host)?),
                ("links", sorted(names.0.iter().map(|link| link.name.clone()))),
                ("addresses", sorted(addresses)),
                ("routes", sorted(routes)),
                ("rules", sorted(rules)),
                ("sockets", sorted(sockets)),
            ]),
        })
    }

    pub(crate) fn of_instance(wharf: &Wharf) -> Result<Self> {
        let mut snapshot = Self::of(wharf.host())?;
        let mark = wharf.directory();
        let own_netns = format!("net:[{}]", wharf.host().netns().identity()?);
        let processes = sweep::processes(mark).into_iter().map(|found| found.command);
        let namespaces = sweep::namespaces(mark, Some(&own_netns)).into_iter();
        let paths = |paths: Vec<PathBuf>| sorted(paths.iter().map(|it| it.display().to_string()));
        snapshot.sections.extend([
            ("processes", sorted(processes)),
            ("namespaces", sorted(namespaces.map(|(kind, count)| format!("{kind}: {count}")))),
            ("mounts", paths(mounts_below(mark))),
            ("cgroups", paths(sweep::cgroup_tree(&wharf.cgroup_tops()))),
            ("run directory", paths(files_below(&wharf.run_dir()))),
        ]);
        Ok(snapshot)
    }

    /// The lines of one section (`links`, `nftables`, `processes`, …).
    pub fn section(&self, name: &str) -> &[String] {
        self.sections.get(name).map_or(&[], Vec::as_slice)
    }

    /// The same snapshot without one section, for a comparison that does not mind it.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.sections.remove(name);
        self
    }

    /// Every line that only one of the two has, marked `-` (only before) or `+` (only after);
    /// sections that one of them lacks are not compared.
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (section, old) in &self.sections {
            let Some(new) = after.sections.get(section) else { continue };
            lines.extend(surplus(old, new).map(|line| format!("- {section}: {line}")));
            lines.extend(surplus(new, old).map(|line| format!("+ {section}: {line}")));
        }
        lines
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, lines) in &self.sections {
            writeln!(f, "{section}:")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

// === impl Names ===

impl Names {
    fn of(&self, index: u32) -> &str {
        self.0.iter().find(|link| link.index == index).map_or("?", |link| &link.name)
    }
}

/// The lines of `left` that are not in `right`, counted.
fn surplus<'a>(left: &'a [String], right: &[String]) -> impl Iterator<Item = &'a String> {
    let mut left_over: BTreeMap<&str, usize> = BTreeMap::new();
    for line in right {
        *left_over.entry(line).or_default() += 1;
    }
    left.iter().filter(move |line| match left_over.get_mut(line.as_str()) {
        Some(count @ 1..) => {
            *count -= 1;
            false
        }
        _ => true,
    })
}

fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().collect();
    lines.sort();
    lines
}

/// The ruleset without counters, as `nft` writes it; rules are an ordered list, so not sorted.
fn ruleset(host: &Host) -> Result<Vec<String>> {
    let directories = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Path::new);
    let Some(nft) = directories.iter().map(|it| it.join("nft")).find(|it| it.exists()) else {
        eprintln!("not compared: nftables rules (the program nft is not installed)");
        return Ok(Vec::new());
    };
    let mut command = Command::new(nft);
    command.args(["--stateless", "list", "ruleset"]);
    let output = host.output(command, NFT_LIMIT)?;
    anyhow::ensure!(output.is_success(), "nft list ruleset: {output:?}");
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

/// Listening TCP sockets and unconnected UDP sockets of the calling thread's namespace, by their
/// local address as the kernel writes it.
pub(crate) fn sockets() -> Vec<String> {
    const LISTEN: &str = "0A";
    const UNCONNECTED: &str = "07";
    let tables = [("tcp", LISTEN), ("tcp6", LISTEN), ("udp", UNCONNECTED), ("udp6", UNCONNECTED)];
    tables.into_iter().flat_map(|(table, state)| sockets_of(table, state)).collect()
}

fn sockets_of(table: &str, state: &str) -> Vec<String> {
    // Not `/proc/net`, which is the main thread's namespace.
    let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    let address = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?.to_owned();
        (fields.nth(1) == Some(state)).then(|| format!("{table} {local}"))
    };
    text.lines().skip(1).filter_map(address).collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(place) = waiting.pop() {
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            let relative = entry.path().strip_prefix(directory).map(Path::to_owned);
            found.extend(relative.ok());
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(links: &[&str]) -> Snapshot {
        let lines = links.iter().map(|it| (*it).to_owned()).collect();
        Snapshot { sections: BTreeMap::from([("links", lines)]) }
    }

    #[test]
    fn differences_are_counted_lines() {
        let (before, after) = (snapshot(&["lo", "a", "a"]), snapshot(&["lo", "a", "b"]));
        assert_eq!(before.differences(&after), ["- links: a", "+ links: b"]);
        assert!(before.differences(&before.clone()).is_empty());
        assert!(before.differences(&after.without("links")).is_empty());
    }
}
