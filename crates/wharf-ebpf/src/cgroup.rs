//! The root of the cgroup hierarchy that programs can be attached to.

use std::fs::{self, File};
use std::path::PathBuf;

use crate::obstacle::Obstacle;

const TABLE: &str = "/proc/self/mountinfo";

/// Opens the root of the version 2 hierarchy. Machines that have both versions have it somewhere
/// else than others, so the table of mounts is asked.
#[cfg_attr(not(feature = "programs"), expect(dead_code, reason = "nothing is attached"))]
pub(crate) fn open_root() -> Result<File, Obstacle> {
    let table = fs::read_to_string(TABLE).map_err(|_| Obstacle::NoCgroup2)?;
    let mut places = roots(&table).into_iter();
    places.find_map(|place| File::open(place).ok()).ok_or(Obstacle::NoCgroup2)
}

/// Where the hierarchy's root is mounted; a mount of a part of it would show only that part.
fn roots(table: &str) -> Vec<PathBuf> {
    let root = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut fields = front.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let wanted = root == "/" && back.split(' ').next() == Some("cgroup2");
        wanted.then(|| PathBuf::from(unescaped(place)))
    };
    table.lines().filter_map(root).collect()
}

/// The kernel writes blanks and backslashes of a path in octal.
fn unescaped(place: &str) -> String {
    place.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
    const HYBRID: &str = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        32 30 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";

    #[test]
    fn the_root_is_found_wherever_it_is() {
        assert_eq!(roots(UNIFIED), [PathBuf::from("/sys/fs/cgroup")]);
        assert_eq!(roots(HYBRID), [PathBuf::from("/sys/fs/cgroup/unified")]);
        let odd = UNIFIED.replace("/sys/fs/cgroup", "/mnt/a\\040b");
        assert_eq!(roots(&odd), [PathBuf::from("/mnt/a b")]);
    }

    #[test]
    fn a_part_of_it_is_not_the_root() {
        let part = UNIFIED.replace(" / /sys", " /system.slice /sys");
        assert_eq!(roots(&part), Vec::<PathBuf>::new());
        assert_eq!(roots("nonsense\n"), Vec::<PathBuf>::new());
    }
}
