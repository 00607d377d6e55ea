//! What a shim is told of what its container sees besides its image.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a container sees besides its image and its binds, and whether it may write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// The container cannot write to its root.
    pub read_only: bool,
    /// Memory it sees as directories.
    pub tmpfs: Vec<Tmpfs>,
}

/// A directory in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// The absolute path in the container.
    pub target: PathBuf,
    /// Options of the mount and of the file system, over Docker's own.
    pub options: Vec<String>,
}
