//! What a container can be told at creation: its terminal and its standard input.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of its terminal and its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Terminal {}
