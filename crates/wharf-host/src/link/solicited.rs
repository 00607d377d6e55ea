//! Waiting until neighbours can find an IPv6 address.

use std::fs;
use std::net::Ipv6Addr;
use std::thread;
use std::time::Instant;

use super::{SETTLE_LIMIT, SETTLE_PAUSE};
use crate::error::{Context, Result};

/// The groups of the calling thread's network namespace.
const GROUPS: &str = "/proc/thread-self/net/igmp6";

/// Waits until `interface`, in the calling thread's network namespace, answers neighbours that
/// look for `address`; `false` when that does not come about within [`SETTLE_LIMIT`].
///
/// The kernel adds an address at once, but joins the multicast group that neighbours ask in
/// (RFC 4291, 2.7.1) from a work queue. A question that comes before is not heard, and neighbours
/// ask again only after a second.
pub fn settle_ipv6(interface: &str, address: Ipv6Addr) -> Result<bool> {
    let group = solicited_group(address);
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(GROUPS).during(|| "list IPv6 multicast groups")?;
        if text.lines().any(|line| is_membership(line, interface, &group)) {
            return Ok(true);
        }
        if start.elapsed() > SETTLE_LIMIT {
            return Ok(false);
        }
        thread::sleep(SETTLE_PAUSE);
    }
}

/// A line is `index name group users flags timer`.
fn is_membership(line: &str, interface: &str, group: &str) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    words.next() == Some(interface) && words.next() == Some(group)
}

fn solicited_group(address: Ipv6Addr) -> String {
    let [.., a, b, c] = address.octets();
    format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Links;
    use crate::netns::Netns;

    #[test]
    fn an_address_is_waited_for() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let netns = Netns::create().unwrap();
        let mut links = Links::open_in(&netns).unwrap();
        links.add_bridge("br", None, None).unwrap();
        links.set_up("br").unwrap();
        let link = links.index("br").unwrap();
        links.add_address(link, "fd00:9::12:3456/64".parse().unwrap()).unwrap();
        let found = netns.run(|| settle_ipv6("br", "fd00:9::12:3456".parse().unwrap())).unwrap();
        assert!(found.unwrap());
    }

    #[test]
    fn memberships_are_read_by_interface_and_group() {
        let group = solicited_group("fd00::12:3456".parse().unwrap());
        assert_eq!(group, "ff0200000000000000000001ff123456");
        let line = format!("2    eth0            {group}     1 00000004 0");
        assert!(is_membership(&line, "eth0", &group));
        assert!(!is_membership(&line, "eth1", &group));
        assert!(!is_membership(&line, "eth0", &solicited_group("fd00::1".parse().unwrap())));
        assert!(!is_membership("", "eth0", &group));
    }
}
