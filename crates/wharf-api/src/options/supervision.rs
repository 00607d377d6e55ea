//! What a container can be told at creation: how its program is watched, ended and started again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the program of a new container is watched, ended and started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Supervision {
    /// `no`, `on-failure[:MAX]`, `always` or `unless-stopped`; `no` when absent.
    pub restart: Option<String>,
    /// The signal that asks the program to end, by name or number; the image's when absent.
    pub stop_signal: Option<String>,
    /// Seconds from that signal to SIGKILL; 10 when absent.
    pub stop_timeout: Option<u32>,
    /// How its health is found out; what is absent is taken from the image.
    pub health: HealthCheck,
}

/// How the health of a container is found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// As in an image: `["NONE"]` for no check, `["CMD", PROGRAM, ARGUMENT…]` or
    /// `["CMD-SHELL", LINE]`; empty for the image's.
    pub test: Vec<String>,
    /// Milliseconds from the end of a check to the next; 30 s when absent.
    pub interval_ms: Option<u64>,
    /// Milliseconds a check may take; 30 s when absent.
    pub timeout_ms: Option<u64>,
    /// Milliseconds from the start in which failures do not count; none when absent.
    pub start_period_ms: Option<u64>,
    /// As `interval_ms`, for as long as the start takes; 5 s when absent.
    pub start_interval_ms: Option<u64>,
    /// Failures in a row that make it unhealthy; 3 when absent.
    pub retries: Option<u32>,
}
