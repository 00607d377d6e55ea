//! The daemon itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a prune has taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// Ids, or names of what has no id that people use.
    pub removed: Vec<String>,
    /// Bytes that are free again.
    pub reclaimed: u64,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// The API's version, `v1`.
    pub api: String,
    /// The daemon's process id.
    pub pid: u32,
}

/// How to stop the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Remove every container and network first, so that nothing of Wharf is left running.
    pub all: bool,
}

/// The daemon is stopping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shutdown {
    /// The process id that is about to end.
    pub pid: u32,
    /// Containers that keep running without the daemon.
    pub running: usize,
}
