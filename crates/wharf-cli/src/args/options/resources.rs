//! Flags of `run`, `create` and `update`: what a container may use of the host.

use clap::Args;
use wharf_api::options::Resources;
use wharf_spec::{Bytes, Ulimit};

use crate::failure::Exit;

/// A processor in the unit the API counts them in.
const NANO: u64 = 1_000_000_000;

/// What a new container is told of what it may use of the host.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct ResourcesOptions {
    #[command(flatten)]
    limits: LimitOptions,
    /// Limit its processes, as nofile=1024:2048 (repeatable)
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// How gladly the kernel ends it when memory runs out, -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Let it use a device of the host (repeatable)
    #[arg(long, value_name = "DEVICE[:PATH[:rwm]]")]
    device: Vec<String>,
    /// Refused with a reason: an instance has one parent of its own
    #[arg(long, hide = true, value_name = "GROUP")]
    cgroup_parent: Option<String>,
}

/// Limits that can be changed while it runs.
#[derive(Debug, Args)]
pub(crate) struct LimitOptions {
    /// Limit memory, as 512m; units b, k, m, g
    #[arg(short = 'm', long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit memory and swap together; -1 for no limit of swap [default: twice the memory]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Memory to leave it when the host runs short
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Limit processors, as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Share of the processors when they are busy; others have 1024
    #[arg(short = 'c', long, value_name = "SHARES")]
    cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// That period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Processors it may use, as 0-2,4
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use, as 0,1
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// Limit processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

// === impl ResourcesOptions ===

impl ResourcesOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Resources, Exit> {
        if self.cgroup_parent.is_some() {
            return Err(Exit::at_run(
                "--cgroup-parent is not available: the containers of one daemon have one parent, so \
                 that what is left of them can be found; leave it out",
            ));
        }
        for limit in &self.ulimit {
            limit.parse::<Ulimit>().map_err(|e| refuse("--ulimit", limit, &e))?;
        }
        Ok(Resources {
            ulimits: self.ulimit,
            oom_score_adj: self.oom_score_adj,
            shm_size: self.shm_size.as_deref().map(|text| size("--shm-size", text)).transpose()?,
            devices: self.device,
            ..self.limits.request()?
        })
    }
}

// === impl LimitOptions ===

impl LimitOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Resources, Exit> {
        let of =
            |flag, text: &Option<String>| text.as_deref().map(|text| size(flag, text)).transpose();
        Ok(Resources {
            memory: of("-m, --memory", &self.memory)?,
            memory_swap: self.memory_swap.as_deref().map(swap).transpose()?,
            memory_reservation: of("--memory-reservation", &self.memory_reservation)?,
            nano_cpus: self.cpus.as_deref().map(processors).transpose()?,
            cpu_quota: self.cpu_quota,
            cpu_period: self.cpu_period,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids_limit: self.pids_limit,
            ..Resources::default()
        })
    }
}

fn size(flag: &str, text: &str) -> Result<u64, Exit> {
    text.parse::<Bytes>().map(|bytes| bytes.0).map_err(|e| refuse(flag, text, &e))
}

fn swap(text: &str) -> Result<i64, Exit> {
    if text == "-1" {
        return Ok(-1);
    }
    let bytes = size("--memory-swap", text)?;
    i64::try_from(bytes).map_err(|e| refuse("--memory-swap", text, &e))
}

/// A number with up to nine digits after the point.
fn processors(text: &str) -> Result<u64, Exit> {
    let nano = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 9 || matches!(text, "" | ".") {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: u64 = format!("{fraction:0<9}").parse().ok()?;
        whole.checked_mul(NANO)?.checked_add(part)
    };
    nano().ok_or_else(|| refuse("--cpus", text, &"use a number such as 1.5"))
}

fn refuse(flag: &str, text: &str, why: &dyn std::fmt::Display) -> Exit {
    Exit::at_run(format!("invalid argument \"{text}\" for \"{flag}\" flag: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_exactly() {
        for (text, nano) in [
            ("1", NANO),
            ("0.5", NANO / 2),
            (".5", NANO / 2),
            ("1.000000001", NANO + 1),
            ("2.", 2 * NANO),
        ] {
            assert_eq!(processors(text).unwrap(), nano, "{text}");
        }
        for text in ["", ".", "x", "-1", "1.0000000001", "1e3"] {
            assert!(processors(text).is_err(), "{text}");
        }
    }

    #[test]
    fn swap_may_be_without_a_limit() {
        assert_eq!(swap("-1").unwrap(), -1);
        assert_eq!(swap("1g").unwrap(), 1 << 30);
        assert!(swap("-2").is_err());
    }
}
