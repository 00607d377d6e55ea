//! What a container can be told at creation: how its program is watched, ended and started again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of how its program is watched, ended and started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Supervision {}
