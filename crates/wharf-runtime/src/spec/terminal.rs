//! What a shim is told of its terminal and its standard input.

use serde::{Deserialize, Serialize};

/// What a container's shim is told of its terminal and its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terminal {}
