//! What containers use, and what runs in them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Counters of a running container at one moment; shares of processor time are the difference of
/// two such moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerStats {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The moment (RFC 3339).
    pub time: String,
    /// Nanoseconds since some moment long ago, on a clock that nobody sets.
    pub monotonic_nanoseconds: u64,
    /// Processor time in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// The processors there are.
    pub processors: u64,
    /// Bytes of memory, without what the kernel can drop at once.
    pub memory: u64,
    /// The limit of memory; all of the host's when it has none of its own.
    pub memory_limit: u64,
    /// Bytes that have come in through its network.
    pub network_received: u64,
    /// Bytes that have gone out through its network.
    pub network_sent: u64,
    /// Bytes read from devices.
    pub block_read: u64,
    /// Bytes written to devices.
    pub block_written: u64,
    /// Processes and threads.
    pub pids: u64,
    /// The limit of processes; null when there is none.
    pub pids_limit: Option<u64>,
}

/// The processes of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerTop {
    /// The names of the columns.
    pub titles: Vec<String>,
    /// A row for each process.
    pub processes: Vec<Vec<String>>,
}
