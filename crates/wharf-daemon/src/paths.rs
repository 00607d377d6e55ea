//! Where everything of one Wharf instance lies: two directories, and nothing outside them.

use std::path::{Path, PathBuf};

/// Where state goes when `WHARF_STATE_DIR` is not set.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/wharf";
/// Where run files go when `WHARF_RUN_DIR` is not set.
pub const DEFAULT_RUN_DIR: &str = "/run/wharf";

/// The state directory (kept over a reboot) and the run directory (gone with it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    state: PathBuf,
    run: PathBuf,
}

// === impl Paths ===

impl Paths {
    /// The directories named by `WHARF_STATE_DIR` and `WHARF_RUN_DIR`, or the defaults.
    pub fn from_env() -> Self {
        let var = |name: &str, default: &str| {
            let path = std::env::var_os(name).filter(|v| !v.is_empty());
            let path = path.map_or_else(|| PathBuf::from(default), PathBuf::from);
            std::path::absolute(&path).unwrap_or(path)
        };
        Self {
            state: var("WHARF_STATE_DIR", DEFAULT_STATE_DIR),
            run: var("WHARF_RUN_DIR", DEFAULT_RUN_DIR),
        }
    }

    /// Explicit directories.
    pub fn new(state: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { state: state.into(), run: run.into() }
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The run directory.
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("wharf.sock")
    }

    /// The lock that one daemon of this run directory holds.
    pub fn lock(&self) -> PathBuf {
        self.run.join("daemon.lock")
    }

    /// The lock that one daemon of this state directory holds.
    pub fn state_lock(&self) -> PathBuf {
        self.state.join("daemon.lock")
    }

    /// What a daemon started in the background writes.
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// Why the last daemon could not start.
    pub fn start_failure(&self) -> PathBuf {
        self.run.join("daemon.failed")
    }

    /// The ledger's file.
    pub fn database(&self) -> PathBuf {
        self.state.join("wharf.redb")
    }

    /// The file that keeps room for removals.
    pub fn ballast(&self) -> PathBuf {
        self.state.join("ballast")
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Volumes.
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// One volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// One volume's files.
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.volume(name).join("_data")
    }

    /// Containers' files.
    pub fn containers(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// One container's files: its upper layer, log, hosts.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// Running containers' sockets and process files.
    pub fn shims(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// One running container's socket and process file. The short id keeps the socket's path well
    /// under the 108 bytes a unix socket address can hold.
    pub fn shim(&self, id: &str) -> PathBuf {
        self.shims().join(id.get(..12).unwrap_or(id))
    }

    /// Where the programs and maps of the eBPF plane are pinned.
    pub fn bpf(&self) -> PathBuf {
        self.run.join("bpf")
    }

    /// What was changed on the host and is to be put back.
    pub fn host_changes(&self) -> PathBuf {
        self.run.join("host-changes.json")
    }

    /// The parent of this instance's cgroups. Instances may share a machine in different network
    /// namespaces, and cgroups are not divided by those, so only the default one takes the plain
    /// name.
    pub fn cgroup_parent(&self) -> PathBuf {
        if self.state == Path::new(DEFAULT_STATE_DIR) {
            return PathBuf::from("/wharf");
        }
        // FNV-1a: stable over restarts and versions, which the standard hasher does not promise.
        let hash = self
            .state
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
        PathBuf::from(format!("/wharf-{hash:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_do_not_share_cgroups() {
        let default = Paths::new(DEFAULT_STATE_DIR, DEFAULT_RUN_DIR);
        let one = Paths::new("/tmp/a", "/tmp/a/run");
        let other = Paths::new("/tmp/b", "/tmp/b/run");
        assert_eq!(default.cgroup_parent(), Path::new("/wharf"));
        assert_ne!(one.cgroup_parent(), other.cgroup_parent());
    }
}
