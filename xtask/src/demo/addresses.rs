//! This machine's own addresses, as the kernel lists them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

/// Flags of an address that cannot be used yet or at all (`IFA_F_DADFAILED`, `IFA_F_TENTATIVE`).
const UNUSABLE: u8 = 0x08 | 0x40;

/// `IPV6_ADDR_LINKLOCAL`: such an address means something only together with an interface.
const LINK_LOCAL: u8 = 0x20;

/// Every address a person would try on this machine, the loopback ones first.
pub(crate) fn own() -> Result<Vec<IpAddr>> {
    let trie = fs::read_to_string("/proc/net/fib_trie").context("read the IPv4 addresses")?;
    // Without IPv6 in the kernel there is no such file.
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut found: Vec<IpAddr> = v4(&trie).into_iter().map(IpAddr::V4).collect();
    found.extend(v6(&table).into_iter().map(IpAddr::V6));
    found.sort_by_key(|address| (!address.is_loopback(), address.is_ipv6()));
    Ok(found)
}

/// A leaf of the trie is `|-- address`, and the lines below it say what the address is.
fn v4(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut leaf: Option<Ipv4Addr> = None;
    let mut found = BTreeSet::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf);
        }
    }
    found
}

/// Each line: address, interface number, prefix length, scope, flags (all hexadecimal), name.
fn v6(table: &str) -> BTreeSet<Ipv6Addr> {
    let usable = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _, _, scope, flags, _] = fields.as_slice() else { return None };
        let scope = u8::from_str_radix(scope, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        (scope != LINK_LOCAL && flags & UNUSABLE == 0).then_some(address)
    };
    table.lines().filter_map(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 192.0.2.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
";

    const TABLE: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000002 04 40 00 80     eth0
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000003 04 40 00 c0     eth0
";

    #[test]
    fn hosts_addresses_are_read_and_networks_are_not() {
        let found = v4(TRIE).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, ["127.0.0.1", "192.0.2.2"]);
    }

    #[test]
    fn link_local_and_tentative_addresses_are_left_out() {
        let found = v6(TABLE).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, ["::1", "fd00::2"]);
    }

    #[test]
    fn loopback_comes_first() {
        assert!(own().unwrap().first().is_some_and(IpAddr::is_loopback));
    }
}
