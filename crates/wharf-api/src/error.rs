//! Errors as they cross the API.
//!
//! Each carries a stable machine-readable code, for a client to act on, and a message for the
//! person, which says what was wrong and what would be right.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure this is.
    pub code: ErrorCode,
    /// What was wrong and what would be right, in words.
    pub message: String,
    /// The exit code `wharf run` and `wharf exec` end with, where the failure decides it (126: the
    /// command cannot be executed, 127: it was not found).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
}

/// Kinds of failure a client can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request itself is wrong (400).
    Invalid,
    /// A named thing does not exist (404).
    NotFound,
    /// The state of things forbids it: a name is taken, a container is running (409).
    Conflict,
    /// A host port is held by someone else (409).
    PortInUse,
    /// A limit of this host or of Wharf would be passed (507).
    Limit,
    /// The host or the daemon failed (500).
    Internal,
}

// === impl ApiError ===

impl ApiError {
    /// An error of `code` with `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), exit_code: None }
    }
}

// === impl ErrorCode ===

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Conflict | Self::PortInUse => 409,
            Self::Internal => 500,
            Self::Limit => 507,
        }
    }
}
