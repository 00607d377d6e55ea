//! The file that stands for a container's network namespace.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that `key` names, if it stands for the network namespace of the process `pid`, and
/// the one below `/proc` otherwise, if that process is of the container `id`.
///
/// The engine's own file is preferred because it is never somebody else's: the number of a process
/// is given again. But it may be visible in the engine's mount namespace only, and a container
/// without a network, or with a neighbour's, has none with Podman. And the number itself means
/// nothing here when the engine runs in a virtual machine (Docker Desktop), so it has to be in
/// a cgroup with the container's name, as both engines see to.
pub(crate) async fn of(id: &str, key: &str, pid: Option<u32>) -> Option<PathBuf> {
    let process = PathBuf::from(format!("/proc/{}", pid?));
    let namespace = process.join("ns/net");
    if key.starts_with('/') {
        let (named, actual) = (identity(Path::new(key)).await, identity(&namespace).await);
        if named.is_some() && named == actual {
            return Some(key.into());
        }
    }
    let cgroups = tokio::fs::read_to_string(process.join("cgroup")).await.ok()?;
    (!id.is_empty() && cgroups.contains(id)).then_some(namespace)
}

async fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_stands_for_something_else_is_not_used() {
        let own = Some(std::process::id());
        assert_eq!(of("", "/proc/self/ns/net", own).await, Some("/proc/self/ns/net".into()));
        assert_eq!(of("4f3c", "/proc/self/ns/mnt", own).await, None);
        assert_eq!(of("4f3c", "/does/not/exist", own).await, None);
        assert_eq!(of("4f3c", "", None).await, None);
    }

    #[tokio::test]
    async fn a_process_is_believed_in_when_its_cgroup_has_the_containers_name() {
        let own = std::process::id();
        let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        // Whatever ours is called: the end of a line of it.
        let (_, name) = cgroups.lines().next().unwrap().rsplit_once(':').unwrap();
        let expected = format!("/proc/{own}/ns/net").into();
        assert_eq!(of(name, "/does/not/exist", Some(own)).await, Some(expected));
    }
}
