//! What a shim is told of what it may use of the host.

use serde::{Deserialize, Serialize};

/// What a container's shim is told of what it may use of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {}
