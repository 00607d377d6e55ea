//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container, as Docker writes them.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use crate::error::{Error, Result};

/// Where the host's resolver settings lie.
const HOST_RESOLV: &str = "/etc/resolv.conf";
/// What systemd-resolved would ask itself; its own stub on 127.0.0.53 cannot be reached from a
/// container.
const UPSTREAM_RESOLV: &str = "/run/systemd/resolve/resolv.conf";
/// Docker's choice when the host names no server a container could reach.
const PUBLIC_SERVERS: [&str; 4] =
    ["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"];

const HOSTS_HEAD: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// Who a container is.
#[derive(Debug, Clone)]
pub(crate) struct Identity<'a> {
    /// Its host name, possibly with a domain.
    pub hostname: &'a str,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Writes the three files into `dir`.
pub(crate) fn write(dir: &Path, identity: &Identity<'_>) -> Result<()> {
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))
    };
    put("hosts", hosts(identity))?;
    put("hostname", format!("{}\n", identity.hostname))?;
    put("resolv.conf", resolv(&host_resolv(), identity.addresses.iter().any(IpAddr::is_ipv6)))
}

fn hosts(identity: &Identity<'_>) -> String {
    let mut text = HOSTS_HEAD.to_owned();
    let short = identity.hostname.split('.').next().unwrap_or(identity.hostname);
    for address in &identity.addresses {
        let names = if short == identity.hostname {
            short.to_owned()
        } else {
            format!("{} {short}", identity.hostname)
        };
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{address}\t{names}");
    }
    text
}

fn host_resolv() -> String {
    let own = std::fs::read_to_string(HOST_RESOLV).unwrap_or_default();
    if servers(&own).any(reachable) {
        return own;
    }
    std::fs::read_to_string(UPSTREAM_RESOLV)
        .ok()
        .filter(|t| servers(t).any(reachable))
        .unwrap_or(own)
}

fn servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    })
}

/// A server on the host's loopback is somebody else inside a container.
fn reachable(server: &str) -> bool {
    let bare = server.split('%').next().unwrap_or(server);
    bare.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
}

fn resolv(host: &str, ipv6: bool) -> String {
    let usable = |server: &&str| reachable(server) && (ipv6 || !server.contains(':'));
    let mut text = String::new();
    let kept: Vec<&str> = servers(host).filter(usable).collect();
    let fallback = PUBLIC_SERVERS.into_iter().filter(usable).collect();
    for server in if kept.is_empty() { fallback } else { kept } {
        let _written = writeln!(text, "nameserver {server}");
    }
    let others = host.lines().filter(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        ["search", "domain", "options", "sortlist"].contains(&word)
    });
    for line in others {
        let _written = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_names_the_container_by_every_address() {
        let addresses = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let text = hosts(&Identity { hostname: "box.example.org", addresses });
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.2\tbox.example.org box\nfd00::2\tbox.example.org box\n"));
    }

    #[test]
    fn loopback_resolvers_are_left_out() {
        let host = "# mine\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nsearch example.org\n";
        assert_eq!(resolv(host, true), "nameserver 192.0.2.1\nsearch example.org\n");
    }

    #[test]
    fn without_a_reachable_resolver_dockers_fallback_is_used() {
        assert_eq!(resolv("nameserver ::1\n", false), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        assert_eq!(resolv("", true).lines().count(), 4);
    }
}
