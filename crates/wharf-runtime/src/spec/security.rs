//! What a shim is told of what its container may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Everything the shim itself may do: all capabilities and devices, nothing masked or filtered.
    pub privileged: bool,
    /// Capabilities besides the default ones, as `CAP_NET_ADMIN`, or `ALL`.
    pub add: Vec<String>,
    /// Capabilities to do without.
    pub drop: Vec<String>,
    /// Programs inside gain no privileges by being executed.
    pub no_new_privileges: bool,
    /// Which system calls it may make.
    pub seccomp: Seccomp,
    /// Supplementary groups besides the user's own, by name or number.
    pub groups: Vec<String>,
    /// Kernel settings of its own namespaces, as `net.ipv4.ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// The first process is an init of ours, which runs the command, reaps and passes signals on.
    pub init: bool,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Those of Docker's default profile.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of a profile in Docker's format, as JSON.
    Profile(String),
}
