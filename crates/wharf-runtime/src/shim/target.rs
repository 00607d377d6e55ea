//! Makes the places in a container's root that things are mounted on or run in.
//!
//! libcontainer would make most of them, but not through a link whose target does not exist yet,
//! as `/etc/resolv.conf` is in many images.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::bundle::ETC_FILES;
use crate::error::{Context, Error, Result};
use crate::inroot::{Root, kind_of, relative};
use crate::spec::ContainerSpec;

/// As the kernel's own limit for links in one lookup.
const LINKS_LIMIT: usize = 40;
const KERNEL_DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);
const FILE: Mode = Mode::from_raw_mode(0o644);

/// Refuses roots in which kernel file systems would be mounted somewhere else: libcontainer makes
/// names below `/dev` by their path on the host, so a link there would lead it out of the root.
pub(super) fn check_kernel_directories(root: &Root) -> Result<()> {
    for name in KERNEL_DIRECTORIES {
        let stat = rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| kind_of(&stat) != FileType::Directory) {
            return Err(Error::Spec(format!("the image's /{name} is not a directory")));
        }
    }
    Ok(())
}

/// Makes what is missing of every mount's target, a file or a directory as its source is.
pub(super) fn make_targets(root: &Root, spec: &ContainerSpec) -> Result<()> {
    let files = ETC_FILES.iter().map(|(name, target)| (spec.dir.join(name), PathBuf::from(target)));
    let binds = spec.binds.iter().map(|bind| (bind.source.clone(), bind.target.clone()));
    for (source, target) in files.chain(binds).filter(|(source, _)| source.exists()) {
        let directory = source.is_dir();
        make_target(root, &target, directory)
            .during(|| format!("make {} in the container", target.display()))?;
        check_kind(root, &source, &target, directory)?;
    }
    for tmpfs in &spec.storage.tmpfs {
        make_target(root, &tmpfs.target, true)
            .during(|| format!("make {} in the container", tmpfs.target.display()))?;
    }
    Ok(())
}

/// The kernel mounts a file on a file only, and a directory on a directory.
fn check_kind(root: &Root, source: &Path, target: &Path, directory: bool) -> Result<()> {
    let found = root.find(&inside(target), OFlags::PATH);
    let Ok(seen) = found.and_then(|fd| Ok(rustix::fs::fstat(&fd)?)) else { return Ok(()) };
    let is_dir = kind_of(&seen) == FileType::Directory;
    if is_dir == directory {
        return Ok(());
    }
    let kind = |is_dir| if is_dir { "a directory" } else { "a file" };
    Err(Error::Spec(format!(
        "cannot mount {} on {}: the one is {} and the other, in the image, {}: name {} as the target",
        source.display(),
        target.display(),
        kind(directory),
        kind(is_dir),
        if directory { "a directory" } else { "the file itself" },
    )))
}

/// Makes the directory `path` if it is not there.
pub(super) fn make_workdir(root: &Root, path: &str) -> Result<()> {
    let refused = |why| Error::Spec(format!("the working directory '{path}': {why}"));
    let path_inside = relative(path.as_bytes()).map_err(refused)?;
    let made = root.make_dirs(&path_inside, DIRECTORY).map(|_| ());
    made.during(|| format!("make the working directory {path}"))
}

fn make_target(root: &Root, target: &Path, directory: bool) -> io::Result<()> {
    let mut path = inside(target);
    for _ in 0..LINKS_LIMIT {
        match root.find(&path, OFlags::PATH) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            found => return found.map(|_| ()),
        }
        let above = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = root.make_dirs(&above, DIRECTORY)?;
        match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            Ok(link) => {
                path = inside(&above.join(OsStr::from_bytes(link.as_bytes())));
            }
            Err(_) if directory => return Ok(rustix::fs::mkdirat(&parent, name, DIRECTORY)?),
            Err(_) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY;
                return Ok(
                    rustix::fs::openat(&parent, name, flags | OFlags::CLOEXEC, FILE).map(|_| ())?
                );
            }
        }
    }
    Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()))
}

/// `path` from the root, without `.` and `..`; the root is its own parent.
fn inside(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn make(link: &str, target: &str, directory: bool) -> (tempfile::TempDir, io::Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root");
        fs::create_dir_all(path.join("etc")).unwrap();
        symlink(link, path.join("etc/link")).unwrap();
        let root = Root::open(&path).unwrap();
        let made = make_target(&root, Path::new(target), directory);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was made outside");
        (dir, made)
    }

    #[test]
    fn targets_are_made_where_links_lead_inside() {
        for (link, place) in [
            ("../run/file", "run/file"),
            ("/run/file", "run/file"),
            ("../../../../run/file", "run/file"),
            ("other", "etc/other"),
        ] {
            for directory in [false, true] {
                let (dir, made) = make(link, "/etc/link", directory);
                made.unwrap();
                assert_eq!(dir.path().join("root").join(place).is_dir(), directory, "{link}");
                assert!(dir.path().join("root").join(place).exists(), "{link}");
            }
        }
        let (dir, made) = make("x", "/a/b/c", false);
        made.unwrap();
        assert!(dir.path().join("root/a/b/c").is_file());
    }

    #[test]
    fn a_link_to_itself_is_an_error() {
        assert!(make("link", "/etc/link", false).1.is_err());
    }
}
