//! What a container can be told at creation: its terminal, its standard input and its log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of its terminal and its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Terminal {
    /// Keep standard input open, for clients that attach.
    pub stdin: bool,
    /// End standard input when the client that feeds it ends its own.
    pub stdin_once: bool,
    /// Make the standard streams a terminal.
    pub tty: bool,
    /// Where output is kept; `json-file` is the only choice.
    pub log_driver: Option<String>,
    /// Options of that: `max-size` and `max-file`.
    pub log_options: BTreeMap<String, String>,
}
