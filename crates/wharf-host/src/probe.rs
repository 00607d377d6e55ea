//! What this host can do, as far as it can be told without changing it.

use std::net::{Ipv6Addr, UdpSocket};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::sysctl;

/// A limit that is not set counts as this many descriptors.
const UNLIMITED: u64 = u64::MAX;

/// What this host, seen from the calling thread's network namespace, can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The kernel's release, as `uname -r` gives it.
    pub kernel: String,
    /// IPv6 sockets can be bound.
    pub ipv6: bool,
    /// nftables can translate addresses. Not found out here, because that takes making a table:
    /// whoever tries sets it; until then it is taken for granted.
    pub nft_nat: bool,
    /// IPv4 packets are forwarded.
    pub ipv4_forwarding: bool,
    /// IPv6 packets are forwarded.
    pub ipv6_forwarding: bool,
    /// This process may administer its network namespace (`CAP_NET_ADMIN`).
    pub net_admin: bool,
    /// This process may make and enter namespaces (`CAP_SYS_ADMIN`).
    pub sys_admin: bool,
    /// Settings under `/proc/sys/net` can be written.
    pub writable_settings: bool,
    /// How many descriptors this process may have open now.
    pub nofile_limit: u64,
}

/// Looks at the host from the calling thread's network namespace; changes nothing.
pub fn probe() -> Capabilities {
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    Capabilities {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        ipv6: has_ipv6(),
        nft_nat: true,
        ipv4_forwarding: is_on("net/ipv4/ip_forward"),
        ipv6_forwarding: is_on("net/ipv6/conf/all/forwarding"),
        net_admin: effective.contains(CapabilitySet::NET_ADMIN),
        sys_admin: effective.contains(CapabilitySet::SYS_ADMIN),
        writable_settings: settings_are_writable(),
        nofile_limit: getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED),
    }
}

/// Whether IPv4 and IPv6 packets are forwarded, in the calling thread's network namespace.
pub fn forwarding() -> (bool, bool) {
    (is_on("net/ipv4/ip_forward"), is_on("net/ipv6/conf/all/forwarding"))
}

/// Raises the limit of open descriptors as far as it goes and returns it; every published port
/// is a socket.
pub fn raise_nofile() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .during(|| "raise the limit of open files")?;
    }
    Ok(limit.maximum.unwrap_or(UNLIMITED))
}

/// The loopback address settles it. Where that interface is down the wildcard address can be
/// bound even if IPv6 is switched off, so then the switch is looked at, too.
pub(crate) fn has_ipv6() -> bool {
    let binds = |address: Ipv6Addr| UdpSocket::bind((address, 0)).is_ok();
    binds(Ipv6Addr::LOCALHOST)
        || (binds(Ipv6Addr::UNSPECIFIED) && !is_on("net/ipv6/conf/all/disable_ipv6"))
}

fn is_on(setting: &str) -> bool {
    sysctl::get(setting).is_ok_and(|value| value == "1")
}

fn settings_are_writable() -> bool {
    rustix::fs::access("/proc/sys/net/ipv4/ip_forward", rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn the_host_is_described_from_the_threads_namespace() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let netns = Netns::create().unwrap();
        netns
            .run(|| {
                sysctl::set("net/ipv4/ip_forward", "0").unwrap();
                let before = probe();
                assert!(before.net_admin && before.ipv6 && !before.ipv4_forwarding);
                sysctl::set("net/ipv4/ip_forward", "1").unwrap();
                sysctl::set("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
                let after = probe();
                assert!(after.ipv4_forwarding && !after.ipv6);
            })
            .unwrap();
    }

    #[test]
    fn the_limit_of_open_files_can_be_raised() {
        let limit = raise_nofile().unwrap();
        assert_eq!(limit, raise_nofile().unwrap());
        assert_eq!(probe().nofile_limit, limit);
    }
}
