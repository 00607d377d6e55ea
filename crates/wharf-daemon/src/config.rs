//! What a daemon is told when it starts.

use std::path::PathBuf;
use std::time::Duration;

use wharf_engine::Sockets;
use wharf_network::{AddressPools, Pool};
use wharf_nft::Ownership;
use wharf_runtime::image::registry::Hosts;

use crate::error::{Error, Result};
use crate::paths::Paths;
use crate::store::{Change, Kind, Store};

const POOLS: &str = "address-pools";
/// A client gives up long before.
const CONNECT_MAX: Duration = Duration::from_secs(600);
/// A week: whoever wants more wants no limit.
const IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Ranges of so many ports are listened on by one socket. Below it the sockets cost next to nothing
/// (4 KiB each), are seen by every tool, and need no eBPF.
const STEER_FROM: usize = 1024;
/// Where the host's resolvers are named, unless told otherwise.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What a daemon is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its directories.
    pub paths: Paths,
    pub(crate) relay: RelayLimits,
    pub(crate) engines: Sockets,
    pub(crate) table: Ownership,
    pub(crate) ebpf: bool,
    pub(crate) steer_from: usize,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) registries: Hosts,
    pools: Vec<Pool>,
}

/// What the relay is told of every publication; it has limits of its own for the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RelayLimits {
    /// How long to wait for a target to accept a connection.
    pub(crate) connect_timeout_ms: Option<u32>,
    /// How long a connection may carry nothing.
    pub(crate) idle_timeout_seconds: Option<u32>,
}

// === impl Config ===

impl Config {
    /// A configuration for `paths`; `pools` replace the built-in address pools of their family
    /// (`BASE/PREFIX:SUBNET-PREFIX` each).
    pub fn new(paths: Paths, pools: &[String]) -> Result<Self> {
        // An empty WHARF_POOLS is as good as none.
        let given = pools.iter().filter(|text| !text.is_empty());
        let pools = given.map(|text| text.parse()).collect::<Result<Vec<Pool>, _>>()?;
        Ok(Self {
            paths,
            relay: RelayLimits::default(),
            engines: Sockets::default(),
            table: Ownership::Owned,
            ebpf: true,
            steer_from: STEER_FROM,
            resolv_conf: PathBuf::from(RESOLV_CONF),
            registries: Hosts::default(),
            pools,
        })
    }

    /// The same with a nftables table that others may change; it is then put back when they do.
    /// Otherwise it is ours alone where the kernel can do that (6.9 and later).
    #[must_use]
    pub fn with_shared_table(mut self) -> Self {
        self.table = Ownership::Shared;
        self
    }

    /// The same without the eBPF plane; the host's own processes are then served as others are.
    #[must_use]
    pub fn without_ebpf(mut self) -> Self {
        self.ebpf = false;
        self
    }

    /// The same with another number of ports from which on a range is listened on by one socket; with
    /// 0 none is.
    #[must_use]
    pub fn with_steering(mut self, from: Option<usize>) -> Self {
        let never_of = |from: usize| if from == 0 { usize::MAX } else { from };
        self.steer_from = from.map_or(self.steer_from, never_of);
        self
    }

    /// The same with other sockets on which Docker and Podman are asked about their containers;
    /// `None` and an empty path leave the usual one.
    #[must_use]
    pub fn with_engines(mut self, docker: Option<PathBuf>, podman: Option<PathBuf>) -> Self {
        let given = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let usual = self.engines;
        self.engines = Sockets {
            docker: given(docker).unwrap_or(usual.docker),
            podman: given(podman).unwrap_or(usual.podman),
        };
        self
    }

    /// The same with another file that names the host's resolvers; `None` and an empty path leave
    /// the usual one.
    #[must_use]
    pub fn with_resolv_conf(mut self, path: Option<PathBuf>) -> Self {
        if let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) {
            self.resolv_conf = path;
        }
        self
    }

    /// The same with registries that may be spoken to over plain HTTP, `HOST[:PORT]` or a network
    /// each; this machine always may.
    ///
    /// # Errors
    /// [`Error::Runtime`] when one is neither.
    pub fn with_insecure_registries(mut self, named: &[String]) -> Result<Self> {
        self.registries = Hosts::new(named.iter().map(String::as_str))?;
        Ok(self)
    }

    /// The same with limits for relayed connections: how long a target may take to accept one, and
    /// how long one may carry nothing. Each is a number with a unit, as in `5s`, `500ms`, `2m`,
    /// `1h`; `None` and an empty text leave the relay's own limit.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a text is no such number.
    pub fn with_relay_limits(mut self, connect: Option<&str>, idle: Option<&str>) -> Result<Self> {
        let connect = limit("connect timeout", connect, CONNECT_MAX)?;
        let idle = limit("idle timeout", idle, IDLE_MAX)?;
        if idle.is_some_and(|idle| idle.subsec_millis() != 0) {
            return Err(Error::Invalid("the idle timeout must be whole seconds".into()));
        }
        self.relay.connect_timeout_ms = connect.and_then(|d| u32::try_from(d.as_millis()).ok());
        self.relay.idle_timeout_seconds = idle.and_then(|d| u32::try_from(d.as_secs()).ok());
        Ok(self)
    }

    /// The pools in force. The random part of the IPv6 prefix (RFC 4193) is drawn once and kept, so
    /// that networks made later are neighbours of those made before.
    pub(crate) fn pools(&self, store: &Store) -> Result<AddressPools> {
        let mut pools = match store.get(Kind::Setting, POOLS)? {
            Some(kept) => kept,
            None => {
                let fresh = AddressPools::generate();
                store.commit(&[Change::put(Kind::Setting, POOLS, &fresh)?])?;
                fresh
            }
        };
        pools.replace(self.pools.iter().cloned());
        Ok(pools)
    }
}

fn limit(what: &str, text: Option<&str>, max: Duration) -> Result<Option<Duration>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let refuse = |why: &str| {
        Error::Invalid(format!("invalid {what} {text:?}: {why}, like 500ms, 5s, 2m or 1h"))
    };
    let found = parse(text).ok_or_else(|| refuse("use a number and a unit"))?;
    if found.is_zero() || found > max {
        return Err(refuse(&format!("use more than nothing and at most {}s", max.as_secs())));
    }
    Ok(Some(found))
}

fn parse(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connect: &str, idle: &str) -> Result<RelayLimits> {
        let config = Config::new(Paths::from_env(), &[])?;
        Ok(config.with_relay_limits(Some(connect), Some(idle))?.relay)
    }

    #[test]
    fn limits_have_units() {
        let relay =
            |connect, idle| RelayLimits { connect_timeout_ms: connect, idle_timeout_seconds: idle };
        assert_eq!(limits("500ms", "2m").unwrap(), relay(Some(500), Some(120)));
        assert_eq!(limits("5s", "1h").unwrap(), relay(Some(5_000), Some(3_600)));
        assert_eq!(limits("", "").unwrap(), RelayLimits::default());
    }

    #[test]
    fn senseless_limits_are_refused_with_an_example() {
        let cases = [("5", ""), ("s", ""), ("-1s", ""), ("5 s", ""), ("0s", ""), ("1h", "")];
        let idle = [("", "8d"), ("", "1500ms"), ("", "99999999999999999999s"), ("", "200h")];
        for (connect, idle) in cases.into_iter().chain(idle) {
            let text = limits(connect, idle).unwrap_err().to_string();
            assert!(text.contains("timeout"), "{connect} {idle}: {text}");
        }
        let text = limits("5", "").unwrap_err().to_string();
        assert_eq!(
            text,
            "invalid connect timeout \"5\": use a number and a unit, like 500ms, 5s, 2m or 1h"
        );
    }
}
