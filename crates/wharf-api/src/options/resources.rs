//! What a container can be told at creation: what it may use of the host.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of what it may use of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {}
