//! What files take on the disk, as Docker counts it.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files with several names that are remembered; the rest count once for each name.
const LINKS_LIMIT: usize = 64 << 10;

/// The bytes of the files below `dir`; what cannot be looked at, or goes away meanwhile, counts none.
pub(crate) fn below(dir: &Path) -> u64 {
    let mut linked = HashSet::new();
    let mut sum = 0u64;
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => waiting.push(entry.path()),
                Ok(found) => {
                    let first = found.nlink() == 1
                        || linked.len() == LINKS_LIMIT
                        || linked.insert((found.dev(), found.ino()));
                    sum = sum.saturating_add(if first { found.len() } else { 0 });
                }
                Err(_) => {}
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_however_deep_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d/".repeat(1000));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("one"), "12345").unwrap();
        std::fs::hard_link(deep.join("one"), dir.path().join("two")).unwrap();
        std::fs::write(dir.path().join("three"), "123").unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("out")).unwrap();
        assert_eq!(below(dir.path()), 5 + 3 + 1);
        assert_eq!(below(&dir.path().join("gone")), 0);
    }
}
