//! The directory with a bpf file system of our own, in which everything is pinned.
//!
//! What is pinned stays in force when the process that pinned it ends. The file system is ours
//! alone, so that taking it away takes everything, and needs no `/sys/fs/bpf`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::{Error, Result};
use crate::obstacle::Obstacle;

/// What a bpf file system says it is (`BPF_FS_MAGIC`, linux/magic.h).
const BPF_FS: i64 = 0xcafe_4a11;

/// Makes `place` a bpf file system unless it is one.
#[cfg_attr(not(feature = "programs"), expect(dead_code, reason = "nothing is pinned"))]
pub(crate) fn prepare(place: &Path) -> Result<()> {
    fs::create_dir_all(place).map_err(Error::place("make", place))?;
    if is_mounted(place)? {
        return Ok(());
    }
    if is_mounted_elsewhere(place) {
        return Err(Obstacle::Elsewhere.into());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("wharf", place, "bpf", flags, c"mode=0700").map_err(|errno| {
        // Whatever was in the directory before keeps it.
        let _kept = fs::remove_dir(place);
        Obstacle::NoFileSystem { source: errno.into() }.into()
    })
}

/// Removes everything at `place`, and the file system.
pub(crate) fn clear(place: &Path) -> Result<(), Vec<Error>> {
    let mut failed = Vec::new();
    match is_mounted(place) {
        Ok(true) => {
            // Another mount namespace may have a copy, which would keep what is pinned alive.
            failed.extend(remove_within(place));
            let unmounted = unmount(place, UnmountFlags::DETACH).map_err(io::Error::from);
            failed.extend(unmounted.map_err(Error::place("unmount", place)).err());
        }
        Ok(false) => {}
        Err(error) => failed.push(error),
    }
    match fs::remove_dir(place) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            failed.push(Error::place("remove", place)(error));
        }
        _ => {}
    }
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

/// Removes a directory and what is in it, as far as it goes. Links come before what they link.
pub(crate) fn remove_all(directory: &Path) -> Vec<Error> {
    let mut failed = remove_within(directory);
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            failed.push(Error::place("remove", directory)(error));
        }
        _ => {}
    }
    failed
}

/// The names of the directories in `directory`.
pub(crate) fn directories(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::place("read", directory))?,
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    Ok(paths.collect())
}

/// Whether a process sees a file system at `place` that we do not see, and something is pinned in
/// it: that is in force.
fn is_mounted_elsewhere(place: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().map(|process| process.path()).any(|process| {
        fs::read_to_string(process.join("mountinfo")).is_ok_and(|mounts| has(&mounts, place))
            && place.strip_prefix("/").is_ok_and(|inside| holds(&process.join("root").join(inside)))
    })
}

/// Whether a bpf file system is at `place` among these mounts (`proc_pid_mountinfo(5)`).
fn has(mounts: &str, place: &Path) -> bool {
    mounts.lines().any(|line| {
        line.contains(" - bpf ") && line.split(' ').nth(4).is_some_and(|at| Path::new(at) == place)
    })
}

/// The kernel puts files of its own there (`maps.debug`); what we pin is in directories.
fn holds(directory: &Path) -> bool {
    directories(directory).is_ok_and(|found| !found.is_empty())
}

fn is_mounted(place: &Path) -> Result<bool> {
    match rustix::fs::statfs(place) {
        Ok(found) => Ok(found.f_type == BPF_FS),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::place("look at", place)(errno.into())),
    }
}

fn remove_within(directory: &Path) -> Vec<Error> {
    let mut failed = Vec::new();
    let mut inside = match directories(directory) {
        Ok(inside) => inside,
        Err(error) => return vec![error],
    };
    inside.sort_by_key(|path| !path.ends_with(LINKS));
    inside.iter().for_each(|path| failed.extend(remove_all(path)));
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|path| !path.is_dir() && !is_of_kernel(path)) {
        failed.extend(fs::remove_file(&file).map_err(Error::place("remove", file)).err());
    }
    failed
}

/// The kernel may put files of its own into a bpf file system (`CONFIG_BPF_PRELOAD`), keeps names
/// with a dot in them for itself, and lets nobody remove them.
fn is_of_kernel(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains('.'))
}

/// The directory of a release's links.
pub(crate) const LINKS: &str = "links";
/// The directory of a release's programs.
#[cfg_attr(not(feature = "programs"), expect(dead_code, reason = "nothing is pinned"))]
pub(crate) const PROGRAMS: &str = "programs";
