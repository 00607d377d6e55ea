//! What a container can be told at creation: how it finds others, and how others find it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of how it finds others, and how others find it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Names {}
