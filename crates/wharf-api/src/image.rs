//! Images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A line of `wharf images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageSummary {
    /// The image's id, 64 hexadecimal digits.
    pub id: String,
    /// Its names, as `repository:tag`.
    pub names: Vec<String>,
    /// When it was made (RFC 3339), if it says so.
    pub created: Option<String>,
    /// The size of its layers in bytes.
    pub size: u64,
}

/// Where to load images from, when it is a file the daemon can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// An absolute path, or `oci-archive:PATH`, `docker-archive:PATH`.
    pub source: String,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loaded {
    /// The image's id.
    pub id: String,
    /// The names it got.
    pub names: Vec<String>,
}

/// What removing an image did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageRemoved {
    /// Names taken away.
    pub untagged: Vec<String>,
    /// Images and layers deleted.
    pub deleted: Vec<String>,
}
