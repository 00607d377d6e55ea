//! Events, as `/v1/events` sends them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When (RFC 3339).
    pub time: String,
    /// `container`, `network`, `image`, `publication` or `daemon`.
    pub kind: String,
    /// What happened: `create`, `start`, `die`, `destroy`, `publish`, `unpublish`, ….
    pub action: String,
    /// The id of the thing.
    pub id: String,
    /// The name of the thing, where it has one.
    pub name: Option<String>,
}
