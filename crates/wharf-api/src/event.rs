//! Events, as `/v1/events` sends them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When (RFC 3339).
    pub time: String,
    /// `container`, `network`, `image`, `publication`, `relay` or `plane`.
    pub kind: String,
    /// What happened: `create`, `start`, `die`, `destroy`, `publish`, `unpublish`, `repair`, ….
    pub action: String,
    /// The id of the thing.
    pub id: String,
    /// The name of the thing, where it has one.
    pub name: Option<String>,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
