//! Volumes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new volume is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VolumeCreate {
    /// Its name; one is made up when absent.
    pub name: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A line of `wharf volume ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeSummary {
    /// Its name.
    pub name: String,
    /// Always `local`: a directory of this host.
    pub driver: String,
    /// The directory.
    pub mountpoint: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it was made for one container and has no name of its own.
    pub anonymous: bool,
    /// The names of the containers that use it.
    pub used_by: Vec<String>,
}

/// Which volumes to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VolumePrune {
    /// Those with names, too.
    pub all: bool,
}

/// Volumes were removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumesPruned {
    /// The names of those that are gone.
    pub removed: Vec<String>,
    /// How many bytes their files had.
    pub reclaimed: u64,
}
