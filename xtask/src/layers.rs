//! The arrows between crates, and the house rules that no compiler checks.
//!
//! Arrows are read from `cargo metadata`, so they are what cargo builds. A crate that is not in
//! the table may depend on nothing of ours until someone has thought about its place.

mod source;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::steps::{cargo, read, root};

/// Which of our crates each may depend on.
const ARROWS: [(&str, &[&str]); 15] = [
    ("wharf-spec", &[]),
    ("wharf-plan", &["wharf-spec"]),
    ("wharf-host", &["wharf-spec"]),
    ("wharf-nft", &["wharf-spec", "wharf-plan", "wharf-host"]),
    ("wharf-ebpf", &["wharf-spec", "wharf-plan", "wharf-host"]),
    ("wharf-network", &["wharf-spec", "wharf-host"]),
    ("wharf-names", &["wharf-spec", "wharf-host"]),
    ("wharf-relay", &["wharf-spec", "wharf-host"]),
    ("wharf-runtime", &["wharf-spec", "wharf-host"]),
    ("wharf-api", &["wharf-spec"]),
    ("wharf-engine", &["wharf-spec"]),
    (
        "wharf-daemon",
        &[
            "wharf-spec",
            "wharf-plan",
            "wharf-host",
            "wharf-nft",
            "wharf-ebpf",
            "wharf-network",
            "wharf-names",
            "wharf-relay",
            "wharf-runtime",
            "wharf-api",
            "wharf-engine",
        ],
    ),
    ("wharf-cli", &["wharf-api", "wharf-daemon", "wharf-relay", "wharf-runtime", "wharf-spec"]),
    ("wharf-lab", &["wharf-host"]),
    ("xtask", &["wharf-lab", "wharf-host", "wharf-relay"]),
];

/// Crates whose tests stay as pure as they are.
const PURE: [&str; 3] = ["wharf-spec", "wharf-plan", "wharf-api"];

/// What the tests of every other crate may use besides.
const FOR_TESTS: [&str; 3] = ["wharf-spec", "wharf-host", "wharf-lab"];

/// Crates of others that have one home each.
const HOMES: [(&str, &[&str]); 11] = [
    ("netlink-packet-core", &["wharf-host"]),
    ("netlink-packet-netfilter", &["wharf-host"]),
    ("netlink-packet-route", &["wharf-host"]),
    ("netlink-packet-sock-diag", &["wharf-host"]),
    ("netlink-sys", &["wharf-host"]),
    ("aya", &["wharf-ebpf"]),
    ("io-uring", &["wharf-host"]),
    ("hickory-proto", &["wharf-names"]),
    ("libcontainer", &["wharf-runtime"]),
    ("redb", &["wharf-daemon"]),
    ("axum", &["wharf-daemon"]),
];

/// One dependency as cargo sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    tests_only: bool,
}

/// Fails with every violation found, not only the first.
pub(crate) fn check() -> Result<()> {
    let arrows = arrows()?;
    let mut faults: Vec<String> = arrows.iter().filter_map(fault).collect();
    let sources = source::check(root())?;
    faults.extend(sources.faults);
    if !faults.is_empty() {
        bail!("house rules broken ({}):\n  {}", faults.len(), faults.join("\n  "));
    }
    println!("{} arrows and {} files keep the house rules", arrows.len(), sources.files);
    Ok(())
}

fn arrows() -> Result<BTreeSet<Arrow>> {
    let text = read(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("read what cargo metadata wrote")?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("no packages")?;
    let mut found = BTreeSet::new();
    for package in packages {
        let from = name(package)?;
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        for dependency in dependencies.into_iter().flatten() {
            let tests_only = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            found.insert(Arrow { from: from.clone(), to: name(dependency)?, tests_only });
        }
    }
    Ok(found)
}

fn name(package: &Value) -> Result<String> {
    let name = package.get("name").and_then(Value::as_str);
    Ok(name.context("a package without a name")?.to_owned())
}

fn fault(arrow: &Arrow) -> Option<String> {
    let Arrow { from, to, tests_only } = arrow;
    let table: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    if let Some((_, homes)) = HOMES.iter().find(|(theirs, _)| theirs == to) {
        return (!homes.contains(&from.as_str()))
            .then(|| format!("{from} -> {to}: only {} may use it", homes.join(", ")));
    }
    if !table.contains_key(to.as_str()) {
        return None;
    }
    let Some(allowed) = table.get(from.as_str()) else {
        return Some(format!("{from} has no place in the table of layers"));
    };
    let for_tests =
        *tests_only && !PURE.contains(&from.as_str()) && FOR_TESTS.contains(&to.as_str());
    (!allowed.contains(&to.as_str()) && !for_tests)
        .then(|| format!("{from} -> {to}: the arrow points the wrong way"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(from: &str, to: &str, tests_only: bool) -> Option<String> {
        fault(&Arrow { from: from.to_owned(), to: to.to_owned(), tests_only })
    }

    #[test]
    fn arrows_of_the_table_pass_and_others_do_not() {
        assert_eq!(verdict("wharf-daemon", "wharf-nft", false), None);
        assert!(verdict("wharf-nft", "wharf-daemon", false).is_some());
        assert!(verdict("wharf-cli", "wharf-host", false).is_some());
        assert!(verdict("wharf-spec", "wharf-host", false).is_some());
    }

    #[test]
    fn tests_may_use_the_lab_unless_the_crate_is_pure() {
        assert_eq!(verdict("wharf-cli", "wharf-lab", true), None);
        assert!(verdict("wharf-cli", "wharf-lab", false).is_some());
        assert!(verdict("wharf-plan", "wharf-lab", true).is_some());
    }

    #[test]
    fn some_crates_of_others_have_one_home() {
        assert_eq!(verdict("wharf-runtime", "libcontainer", false), None);
        assert!(verdict("wharf-daemon", "libcontainer", false).is_some());
        assert_eq!(verdict("wharf-daemon", "serde", false), None);
    }

    #[test]
    fn a_crate_nobody_has_placed_is_a_fault() {
        assert!(verdict("wharf-new", "wharf-spec", false).is_some());
    }

    #[test]
    fn the_table_has_no_circle() {
        let mut placed = BTreeSet::new();
        while placed.len() < ARROWS.len() {
            let next = ARROWS.iter().find(|(from, to)| {
                !placed.contains(from) && to.iter().all(|crate_| placed.contains(crate_))
            });
            placed.insert(next.expect("a circle").0);
        }
    }
}
