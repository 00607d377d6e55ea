//! What a shim is told of what it sees besides its image, and whether it may write.

use serde::{Deserialize, Serialize};

/// What a container's shim is told of what it sees besides its image, and whether it may write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {}
