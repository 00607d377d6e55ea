//! What the daemon tells a shim: whose network a container sees.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whose network a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Its own, which has a loopback interface and whatever is plugged in from outside.
    #[default]
    Own,
    /// The host's.
    Host,
    /// That of the namespace at this path, which belongs to another container.
    Joined(PathBuf),
}
