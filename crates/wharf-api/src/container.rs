//! Containers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::options::{Names, Resources, Security, Storage, Supervision, Terminal};
use crate::port::PublishedPort;

/// What a new container is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerCreate {
    /// Its name; one is made up when absent.
    pub name: Option<String>,
    /// The image: a name, or a source such as `docker-archive:/path`.
    pub image: String,
    /// The command; the image's own when absent.
    pub command: Option<Vec<String>>,
    /// The entrypoint; the image's own when absent, none when empty.
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables as `NAME=value`.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// The user, as `name|uid[:group|gid]`.
    pub user: Option<String>,
    /// The host name; the short id when absent.
    pub hostname: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Port specs, as after `-p`.
    pub publish: Vec<String>,
    /// Publish every exposed port to an ephemeral host port.
    pub publish_all: bool,
    /// Ports to expose besides the image's, as after `--expose`.
    pub expose: Vec<String>,
    /// The network, or `none`, `host`, `container:NAME`; the default network when absent.
    pub network: Option<String>,
    /// The IPv4 address to take.
    #[schema(value_type = Option<String>)]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address to take.
    #[schema(value_type = Option<String>)]
    pub ip6: Option<Ipv6Addr>,
    /// Binds and volumes, as after `-v`; host paths are absolute.
    pub volumes: Vec<String>,
    /// Remove the container when it exits.
    pub auto_remove: bool,
    /// Its terminal and its standard input.
    pub terminal: Terminal,
    /// What it may use of the host.
    pub resources: Resources,
    /// What it may do.
    pub security: Security,
    /// What it sees besides its image, and whether it may write.
    pub storage: Storage,
    /// How it finds others, and how others find it.
    pub names: Names,
    /// How its program is watched, ended and started again.
    pub supervision: Supervision,
}

/// A container was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerCreated {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What will not be as it may have been expected, one sentence each.
    pub warnings: Vec<String>,
}

/// The life of a container.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended and is about to be started again, as its restart policy says.
    Restarting,
    /// Its processes stand still until it is unpaused.
    Paused,
    /// Its process has ended.
    Exited,
    /// It is being taken away.
    Removing,
}

/// A line of `wharf ps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerSummary {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as it was named at creation.
    pub image: String,
    /// The command line it runs.
    pub command: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Its state.
    pub state: ContainerState,
    /// The state in words, as in the STATUS column.
    pub status: String,
    /// The exit code; null while it has not ended.
    pub exit_code: Option<i32>,
    /// Published and exposed ports.
    pub ports: Vec<PublishedPort>,
    /// The ports in words, as in the PORTS column.
    pub ports_text: String,
    /// The networks it is on.
    pub networks: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A command to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Environment variables besides the container's own.
    pub env: Vec<String>,
    /// The working directory; the container's own when absent.
    pub workdir: Option<String>,
    /// The user; the container's own when absent.
    pub user: Option<String>,
    /// Give it every capability the daemon has.
    pub privileged: bool,
    /// Do not wait for it and show none of its output.
    pub detach: bool,
    /// Feed its standard input from the client; the request must ask for an upgrade.
    pub stdin: bool,
    /// Make its standard streams a terminal; the request must ask for an upgrade.
    pub tty: bool,
    /// Lines of the client's terminal.
    pub rows: u16,
    /// Characters in a line of it.
    pub columns: u16,
}

/// A container was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    /// Its id.
    pub id: String,
    /// What will not be as it may have been expected, one sentence each.
    pub warnings: Vec<String>,
}

/// What is at a path in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileStat {
    /// The last part of the path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its type and permissions, as in `stat(2)`.
    pub mode: u32,
    /// Whether it is a directory, or a link to one.
    pub is_dir: bool,
    /// Where a link leads; empty when it is none.
    pub link_target: String,
}

/// The answer to a wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waited {
    /// The exit code; null when the container still ran at the end of this wait, so ask again.
    pub exit_code: Option<i32>,
}

// === impl ContainerState ===

impl ContainerState {
    /// Whether it has a process, moving or not.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}
