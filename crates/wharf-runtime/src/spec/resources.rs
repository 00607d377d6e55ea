//! What a shim is told of what its container may use of the host.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wharf_spec::Ulimit;

/// What a container may use of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Limits of its control groups.
    pub limits: Limits,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// How gladly the kernel ends it when memory runs out, from -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Devices of the host it may use.
    pub devices: Vec<Device>,
}

/// Limits of control groups; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for as much swap as there is.
    pub memory_swap: Option<i64>,
    /// Bytes of memory to leave it when the host runs short.
    pub memory_reservation: Option<u64>,
    /// Microseconds of processor time in a period; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Its share of the processors when they are busy, where others have 1024.
    pub cpu_shares: Option<u64>,
    /// The processors it may use, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes it may use, as `0,1`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 for no limit.
    pub pids: Option<i64>,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the container, below `/dev`.
    pub target: PathBuf,
    /// Of `r`, `w` and `m` what may be done with it.
    pub access: String,
}
