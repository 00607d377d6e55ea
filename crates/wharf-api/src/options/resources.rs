//! What a container can be told at creation: what it may use of the host.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of what it may use of the host. What is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together, -1 for as much swap as there is; twice the memory when
    /// absent.
    pub memory_swap: Option<i64>,
    /// Bytes of memory to leave it when the host runs short.
    pub memory_reservation: Option<u64>,
    /// Processors, in billionths: 1500000000 are one and a half.
    pub nano_cpus: Option<u64>,
    /// Microseconds of processor time in each period; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Its share of the processors when they are busy; others have 1024.
    pub cpu_shares: Option<u64>,
    /// The processors it may use, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes it may use, as `0,1`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; 0 or -1 for no limit.
    pub pids_limit: Option<i64>,
    /// Limits of its processes, as after `--ulimit`.
    pub ulimits: Vec<String>,
    /// How gladly the kernel ends it when memory runs out, from -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Devices of the host, as after `--device`.
    pub devices: Vec<String>,
}

/// What is changed of a container's limits; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerUpdate {
    /// The limits to change; those of its processes, its devices and `/dev/shm` are set for its
    /// life.
    pub resources: Resources,
}

/// A container was updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Updated {
    /// What will not be as it may have been expected, one sentence each.
    pub warnings: Vec<String>,
}
