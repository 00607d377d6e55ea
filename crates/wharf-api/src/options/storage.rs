//! What a container can be told at creation: what it sees besides its image, and whether it may write.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of what it sees besides its image, and whether it may write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {}
