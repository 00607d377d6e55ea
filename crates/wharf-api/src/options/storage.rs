//! What a container can be told at creation: what it sees besides its image, and whether it may
//! write.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of what it sees besides its image, and whether it may write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The container cannot write to its root.
    pub read_only: bool,
    /// Mounts, as after `--mount`; host paths are absolute.
    pub mounts: Vec<String>,
    /// Directories in memory, as after `--tmpfs`.
    pub tmpfs: Vec<String>,
    /// Containers whose binds and volumes are seen too, as `NAME[:ro]`.
    pub volumes_from: Vec<String>,
}
