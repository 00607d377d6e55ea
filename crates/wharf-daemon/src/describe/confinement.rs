//! The parts of `inspect` about limits, privileges and mounts, with Docker's field names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wharf_runtime::spec::{Bind, Seccomp, Tmpfs};

use crate::record::ContainerRecord;

/// Docker's size of `/dev/shm`.
const SHM_SIZE: u64 = 64 << 20;

/// What `HostConfig` says of limits and privileges.
pub(super) fn describe(record: &ContainerRecord) -> Map<String, Value> {
    let mut found = limits(record);
    found.extend(privileges(record));
    found
}

fn limits(record: &ContainerRecord) -> Map<String, Value> {
    let resources = &record.spec.resources;
    let (limits, asked) = (&resources.limits, &record.request.resources);
    let nano = asked.nano_cpus.unwrap_or(0);
    // Docker shows a number of processors as that and not as the quota it is.
    let as_quota = |value: Option<i64>| if nano > 0 { 0 } else { value.unwrap_or(0) };
    let ulimits = resources.ulimits.iter().map(|limit| {
        let shown = |value: Option<u64>| value.map_or(json!(-1), Value::from);
        json!({"Name": limit.name, "Soft": shown(limit.soft), "Hard": shown(limit.hard)})
    });
    let devices = resources.devices.iter().map(|device| {
        json!({
            "PathOnHost": device.source, "PathInContainer": device.target,
            "CgroupPermissions": device.access,
        })
    });
    object(json!({
        "Memory": limits.memory.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or(0),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "NanoCpus": nano,
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuPeriod": as_quota(limits.cpu_period.and_then(|period| i64::try_from(period).ok())),
        "CpuQuota": as_quota(limits.cpu_quota),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "PidsLimit": limits.pids,
        "Ulimits": ulimits.collect::<Vec<_>>(),
        "OomScoreAdj": resources.oom_score_adj.unwrap_or(0),
        "ShmSize": resources.shm_size.unwrap_or(SHM_SIZE),
        "Devices": devices.collect::<Vec<_>>(),
    }))
}

fn privileges(record: &ContainerRecord) -> Map<String, Value> {
    let security = &record.spec.security;
    let mut options: Vec<String> = Vec::new();
    options.extend(security.no_new_privileges.then(|| "no-new-privileges".to_owned()));
    match &security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => options.push("seccomp=unconfined".into()),
        Seccomp::Profile(text) => options.push(format!("seccomp={text}")),
    }
    let tmpfs = record.spec.storage.tmpfs.iter();
    let tmpfs = tmpfs.map(|it| (it.target.display().to_string(), it.options.join(",")));
    object(json!({
        "Privileged": security.privileged,
        "CapAdd": security.add,
        "CapDrop": security.drop,
        "SecurityOpt": options,
        "GroupAdd": security.groups,
        "Sysctls": security.sysctls,
        "Init": security.init,
        "ReadonlyRootfs": record.spec.storage.read_only,
        "Tmpfs": tmpfs.collect::<BTreeMap<_, _>>(),
        "VolumesFrom": record.request.storage.volumes_from,
    }))
}

/// What is mounted, as Docker's `Mounts`.
pub(super) fn mounts(record: &ContainerRecord) -> Vec<Value> {
    let binds = record.spec.binds.iter().map(bind);
    binds.chain(record.spec.storage.tmpfs.iter().map(tmpfs)).collect()
}

fn bind(bind: &Bind) -> Value {
    let mut found = object(json!({
        "Type": "bind",
        "Source": bind.source,
        "Destination": bind.target,
        "Mode": if bind.read_only { "ro" } else { "" },
        "RW": !bind.read_only,
        "Propagation": "rprivate",
    }));
    if let Some(name) = &bind.volume {
        found.extend(object(json!({
            "Type": "volume", "Name": name, "Driver": "local", "Propagation": "",
        })));
    }
    Value::Object(found)
}

fn tmpfs(tmpfs: &Tmpfs) -> Value {
    json!({
        "Type": "tmpfs",
        "Source": "",
        "Destination": tmpfs.target,
        "Mode": tmpfs.options.join(","),
        "RW": !tmpfs.options.iter().any(|option| option == "ro"),
        "Propagation": "",
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
