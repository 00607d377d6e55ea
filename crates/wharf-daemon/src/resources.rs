//! What a container may use of the host: requests turned into what its shim is told, and refused
//! where this host cannot honour them.

use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};
use wharf_api::options::Resources as Request;
use wharf_runtime::capability::Capabilities;
use wharf_runtime::cgroup::filters_devices;
use wharf_runtime::cgroup::limits::Abilities;
use wharf_runtime::spec::{Device, Limits, Resources};
use wharf_spec::Ulimit;

use crate::error::{Error, Result};

/// Docker's period, in microseconds.
const PERIOD: u64 = 100_000;
/// A processor in the unit requests count them in.
const NANO: u64 = 1_000_000_000;
const SCORES: std::ops::RangeInclusive<i32> = -1_000..=1_000;
/// What may be done with a device: all of it.
const EVERYTHING: &str = "rwm";

/// The resources `request` asks for.
pub(crate) fn resources(request: &Request, warnings: &mut Vec<String>) -> Result<Resources> {
    let resources = Resources {
        limits: limits(request, warnings)?,
        ulimits: request.ulimits.iter().map(|text| ulimit(text)).collect::<Result<_>>()?,
        oom_score_adj: request.oom_score_adj.map(oom_score).transpose()?,
        shm_size: request.shm_size.filter(|size| *size > 0),
        devices: request.devices.iter().map(|text| device(text)).collect::<Result<_>>()?,
    };
    wharf_runtime::check_devices(&resources.devices)?;
    Ok(resources)
}

/// The limits of control groups `request` asks for.
pub(crate) fn limits(request: &Request, warnings: &mut Vec<String>) -> Result<Limits> {
    let abilities = Abilities::of_this_host()?;
    let (cpu_quota, cpu_period) = cpu(request)?;
    let limits = Limits {
        memory: request.memory.filter(|bytes| *bytes > 0),
        memory_swap: swap(request, abilities, warnings),
        memory_reservation: request.memory_reservation.filter(|bytes| *bytes > 0),
        cpu_quota,
        cpu_period,
        cpu_shares: request.cpu_shares.filter(|shares| *shares > 0),
        cpuset_cpus: request.cpuset_cpus.clone().filter(|set| !set.is_empty()),
        cpuset_mems: request.cpuset_mems.clone().filter(|set| !set.is_empty()),
        pids: request.pids_limit.map(|most| if most > 0 { most } else { -1 }),
    };
    abilities.check(&limits)?;
    Ok(limits)
}

/// As in Docker, memory that is limited is followed by as much swap, where that can be limited.
fn swap(request: &Request, abilities: Abilities, warnings: &mut Vec<String>) -> Option<i64> {
    match (request.memory.filter(|bytes| *bytes > 0), request.memory_swap) {
        (_, Some(both)) if both != 0 => Some(both),
        (Some(memory), _) if abilities.can_limit_swap() => {
            i64::try_from(memory.saturating_mul(2)).ok()
        }
        (Some(_), _) => {
            warnings.push(
                "your kernel does not support swap limit capabilities or the cgroup is not \
                 mounted: memory limited without swap"
                    .into(),
            );
            None
        }
        (None, _) => None,
    }
}

/// The quota and the period of processor time.
fn cpu(request: &Request) -> Result<(Option<i64>, Option<u64>)> {
    let Some(nano) = request.nano_cpus.filter(|nano| *nano > 0) else {
        return Ok((request.cpu_quota.filter(|quota| *quota != 0), request.cpu_period));
    };
    if request.cpu_quota.is_some() || request.cpu_period.is_some() {
        return Err(Error::Invalid(
            "conflicting options: CPUs cannot be set together with CPU quota or period".into(),
        ));
    }
    let there = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let there = u64::try_from(there).unwrap_or(1);
    if nano < NANO / 100 || nano > there * NANO {
        return Err(Error::Invalid(format!(
            "range of CPUs is from 0.01 to {there}.00, as there are only {there} CPUs available"
        )));
    }
    let quota = u128::from(nano) * u128::from(PERIOD) / u128::from(NANO);
    Ok((i64::try_from(quota).ok(), Some(PERIOD)))
}

/// Nobody without `CAP_SYS_RESOURCE` can give more than they have.
fn ulimit(text: &str) -> Result<Ulimit> {
    let limit: Ulimit =
        text.parse().map_err(|e: wharf_spec::SpecError| Error::Invalid(e.to_string()))?;
    let own = resource(&limit.name).map(getrlimit).and_then(|own| own.maximum);
    let wanted = limit.hard.unwrap_or(u64::MAX);
    match own {
        Some(own) if wanted > own && !Capabilities::own().has("CAP_SYS_RESOURCE") => {
            Err(Error::Invalid(format!(
                "invalid ulimit {text:?}: the daemon's own hard limit is {own}, and without \
                 CAP_SYS_RESOURCE it cannot give more: ask for at most {own}, or raise its limit"
            )))
        }
        _ => Ok(limit),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

fn oom_score(score: i32) -> Result<i32> {
    if !SCORES.contains(&score) {
        return Err(Error::Invalid(format!(
            "invalid value {score}, range for oom score adj is [-1000, 1000]"
        )));
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    let own = own.trim().parse().unwrap_or(0);
    if score < own && score < 0 && !Capabilities::own().has("CAP_SYS_RESOURCE") {
        return Err(Error::Invalid(format!(
            "oom score adj {score} is below the daemon's own ({own}), which takes CAP_SYS_RESOURCE, \
             and the daemon does not have it: ask for {own} or more"
        )));
    }
    Ok(score)
}

/// Reads `DEVICE[:PATH[:rwm]]` or `DEVICE:rwm`.
fn device(text: &str) -> Result<Device> {
    let refuse =
        |why: String| Error::Invalid(format!("invalid device specification: {text:?}: {why}"));
    let is_access = |part: &str| !part.is_empty() && part.chars().all(|c| EVERYTHING.contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts.as_slice() {
        [source] => (*source, *source, EVERYTHING),
        [source, access] if is_access(access) => (*source, *source, *access),
        [source, target] => (*source, *target, EVERYTHING),
        [source, target, access] if is_access(access) => (*source, *target, *access),
        _ => return Err(refuse("use DEVICE[:PATH[:rwm]]".into())),
    };
    let target = PathBuf::from(target);
    let climbs = target.components().any(|c| c == std::path::Component::ParentDir);
    if !target.starts_with("/dev") || target.components().count() < 3 || climbs {
        return Err(refuse("the path in the container must be below /dev".into()));
    }
    if access != EVERYTHING && !filters_devices()? {
        return Err(refuse(format!(
            "access cannot be limited to {access:?} on this host, which has no device controller of \
             cgroup v1: leave it out, or give rwm"
        )));
    }
    Ok(Device { source: source.into(), target, access: access.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_become_a_quota() {
        let of = |nano| cpu(&Request { nano_cpus: Some(nano), ..Request::default() });
        assert_eq!(of(NANO / 2).unwrap(), (Some(50_000), Some(100_000)));
        assert!(of(NANO / 1_000).is_err() && of(NANO * 100_000).is_err());
        let both = Request { nano_cpus: Some(NANO), cpu_quota: Some(1_000), ..Request::default() };
        assert!(cpu(&both).unwrap_err().to_string().contains("conflicting options"));
    }

    #[test]
    fn devices_are_read_as_in_docker() {
        let of = |text: &str| device(text).unwrap();
        assert_eq!(of("/dev/null").access, "rwm");
        assert_eq!(of("/dev/null:/dev/zilch").target, PathBuf::from("/dev/zilch"));
        for text in
            ["/dev/null:/tmp/x", "/dev/null:/dev/../x", "/dev/null:/dev/x:rwx", "a:b:c:d", ""]
        {
            assert!(device(text).is_err(), "{text}");
        }
        assert!(
            resources(
                &Request { devices: vec!["/dev/no-such".into()], ..Request::default() },
                &mut Vec::new()
            )
            .is_err()
        );
    }

    #[test]
    fn a_score_must_be_one() {
        assert_eq!(oom_score(500).unwrap(), 500);
        for score in [-1_001, 1_001] {
            assert!(oom_score(score).unwrap_err().to_string().contains("[-1000, 1000]"));
        }
    }

    #[test]
    fn nobody_gives_more_descriptors_than_they_have() {
        assert!(ulimit("nofile=10:20").is_ok());
        let Some(own) = getrlimit(Resource::Nofile).maximum else { return };
        let more = ulimit(&format!("nofile=10:{}", own + 1));
        assert_eq!(more.is_ok(), Capabilities::own().has("CAP_SYS_RESOURCE"));
    }
}
