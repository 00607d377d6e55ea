//! What a container can be told at creation: what it may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of what it may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Everything the daemon itself may do, with nothing masked or filtered.
    pub privileged: bool,
    /// Capabilities to add, with or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// Programs inside gain no privileges by being executed.
    pub no_new_privileges: bool,
    /// A seccomp profile in Docker's format, as JSON text, or `unconfined`; Docker's default profile
    /// when absent.
    pub seccomp: Option<String>,
    /// Supplementary groups, by name or number.
    pub group_add: Vec<String>,
    /// Kernel settings of its own namespaces, as `net.ipv4.ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// Whether an init reaps processes and passes signals on to the command.
    pub init: bool,
}
