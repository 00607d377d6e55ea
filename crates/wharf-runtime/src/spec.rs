//! What the daemon tells a shim: the whole of one container, and of one command run in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub mod network;
pub mod resources;
pub mod security;
pub mod storage;
pub mod terminal;

pub use network::Network;
pub use resources::{Device, Limits, Resources};
pub use security::{Seccomp, Security};
pub use storage::{Storage, Tmpfs};
pub use terminal::{ExecSession, Terminal};

/// Everything about one container except its network, which the daemon plugs in from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Letters, digits, `_`, `+`, `-` and `.`; unique among the containers of one daemon.
    pub id: String,
    /// The image's layers, topmost first.
    pub layers: Vec<PathBuf>,
    /// The container's own directory: its writable layer, its log, and the files `hosts`,
    /// `hostname` and `resolv.conf`, which appear under `/etc` if they exist.
    pub dir: PathBuf,
    /// Command and arguments.
    pub args: Vec<String>,
    /// `NAME=value`; see [`crate::command::Command::merge`].
    pub env: Vec<String>,
    /// An absolute path, made if it is not there.
    pub workdir: String,
    /// `name|uid[:group|gid]`, looked up in the container's own files; empty means root.
    pub user: String,
    /// The host name it sees.
    pub hostname: String,
    /// Host directories and files it sees.
    pub binds: Vec<Bind>,
    /// The signal that asks it to end, when the shim itself is asked to.
    pub stop_signal: Option<String>,
    /// Its control group, from the root of every hierarchy, as `/wharf-1a2b/ID`.
    pub cgroup: PathBuf,
    /// Labels, for whoever looks at the bundle.
    pub labels: BTreeMap<String, String>,
    /// Its terminal and its standard input.
    #[serde(default)]
    pub terminal: Terminal,
    /// What it may use of the host.
    #[serde(default)]
    pub resources: Resources,
    /// What it may do.
    #[serde(default)]
    pub security: Security,
    /// What it sees besides its image, and whether it may write.
    #[serde(default)]
    pub storage: Storage,
    /// Whose network it sees.
    #[serde(default)]
    pub network: Network,
    /// The NIS domain name it sees; the kernel's `(none)` when absent.
    #[serde(default)]
    pub domainname: Option<String>,
}

/// A host directory or file seen by a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The absolute path on the host; it must exist.
    pub source: PathBuf,
    /// The absolute path in the container.
    pub target: PathBuf,
    /// The container cannot write to it.
    pub read_only: bool,
    /// Fill it from the image first if it is an empty directory, as named volumes are.
    pub copy_up: bool,
    /// The volume it is, if it is one.
    #[serde(default)]
    pub volume: Option<String>,
    /// What is mounted below it on the host is not seen.
    #[serde(default)]
    pub shallow: bool,
    /// What is mounted below it can be written to although it is read-only itself.
    #[serde(default)]
    pub writable_below: bool,
}

// === impl Bind ===

impl Bind {
    /// A directory or file of the host as it is, with everything below it.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            read_only: false,
            copy_up: false,
            volume: None,
            shallow: false,
            writable_below: false,
        }
    }
}

/// A command to run in a container that is running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Command and arguments.
    pub args: Vec<String>,
    /// `NAME=value`, over the container's own variables; `NAME` alone removes one.
    pub env: Vec<String>,
    /// An absolute path; the container's own when absent.
    pub workdir: Option<String>,
    /// As [`ContainerSpec::user`]; the container's own when absent.
    pub user: Option<String>,
    /// Every capability, whatever the container's own processes have.
    #[serde(default)]
    pub privileged: bool,
    /// Whether the command is killed when the process that waits for it is.
    #[serde(default)]
    pub ends_with_parent: bool,
    /// Clients attach to it; otherwise it has the streams of the process that runs it.
    #[serde(default)]
    pub session: Option<ExecSession>,
}
