//! Processes on this machine, by group or by what they were started with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// All processes of these groups.
pub(crate) fn of_groups(groups: &BTreeSet<u32>) -> Result<Vec<u32>> {
    let in_group = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        group(&stat).is_some_and(|group| groups.contains(&group))
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

/// The third field after the name, which may hold anything.
fn group(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets() {
        assert_eq!(group("12 (a) b (c)) S 1 77 77 0"), Some(77));
        assert_eq!(group("12"), None);
    }

    #[test]
    fn this_process_is_found() {
        let me = std::process::id();
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(of_groups(&BTreeSet::from([group(&stat).unwrap()])).unwrap().contains(&me));
    }
}
