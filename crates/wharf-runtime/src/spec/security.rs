//! What a shim is told of what it may do.

use serde::{Deserialize, Serialize};

/// What a container's shim is told of what it may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {}
