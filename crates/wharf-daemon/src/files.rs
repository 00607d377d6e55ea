//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container, as Docker writes them.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use wharf_names::resolv_conf::{Nameserver, ResolvConf, Wanted};

use crate::connect::Mode;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::naming::{HOST_GATEWAY, extra_host};
use crate::record::ContainerRecord;

/// The host's own, which a container on its network sees, too.
const HOST_HOSTS: &str = "/etc/hosts";
const HOSTS: &str = "hosts";
const HOSTNAME: &str = "hostname";
const RESOLV_CONF: &str = "resolv.conf";

const HOSTS_HEAD: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// What the three files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    hosts: String,
    hostname: String,
    resolv_conf: String,
}

// === impl Files ===

impl Files {
    /// Writes the files into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        put(&dir.join(HOSTS), &self.hosts)?;
        put(&dir.join(HOSTNAME), &self.hostname)?;
        put(&dir.join(RESOLV_CONF), &self.resolv_conf)
    }

    /// Writes over those that still say what they said `before`; what somebody inside has written
    /// stays. They are the files a running container sees, so they are not replaced.
    pub(crate) fn write_over(&self, before: &Self, dir: &Path) -> Result<()> {
        let pairs = [
            (HOSTS, &before.hosts, &self.hosts),
            (RESOLV_CONF, &before.resolv_conf, &self.resolv_conf),
        ];
        for (name, old, new) in pairs {
            let path = dir.join(name);
            if old != new && std::fs::read_to_string(&path).is_ok_and(|text| text == *old) {
                put(&path, new)?;
            }
        }
        Ok(())
    }

    fn copy(from: &Path, to: &Path) -> Result<()> {
        for name in [HOSTS, HOSTNAME, RESOLV_CONF] {
            let (from, to) = (from.join(name), to.join(name));
            std::fs::copy(&from, &to).map_err(Error::io(format!(
                "copy {} to {}",
                from.display(),
                to.display()
            )))?;
        }
        Ok(())
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}

// === impl Daemon ===

impl Daemon {
    /// Writes a container's files, before it starts.
    pub(crate) fn write_etc_files(&self, record: &ContainerRecord) -> Result<()> {
        let dir = self.paths.container(&record.id);
        match record.mode() {
            Mode::Joined(other) => Files::copy(&self.paths.container(other), &dir),
            _ => self.files(record)?.write(&dir),
        }
    }

    /// What a container's files are to say.
    ///
    /// # Errors
    /// When it wants the gateway of a network that has none.
    pub(crate) fn files(&self, record: &ContainerRecord) -> Result<Files> {
        let host = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        Ok(Files {
            hosts: self.hosts(record)?,
            hostname: format!("{}\n", record.spec.hostname),
            resolv_conf: resolv_conf(record, &host),
        })
    }

    fn hosts(&self, record: &ContainerRecord) -> Result<String> {
        let mut text = match record.mode() {
            Mode::Host => std::fs::read_to_string(HOST_HOSTS).unwrap_or_default(),
            _ => HOSTS_HEAD.to_owned(),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for given in &record.request.names.extra_hosts {
            let (name, address) = extra_host(given)?;
            let addresses = match address {
                HOST_GATEWAY => self.host_gateway(record)?,
                address => address.parse().into_iter().collect(),
            };
            for address in addresses {
                // Writing to a String cannot fail.
                let _written = writeln!(text, "{address}\t{name}");
            }
        }
        let names = own_names(&record.spec.hostname, record.spec.domainname.as_deref());
        let addresses = record.places().flat_map(|place| place.endpoint.addresses());
        for address in addresses.map(|net| net.addr()) {
            let _written = writeln!(text, "{address}\t{names}");
        }
        Ok(text)
    }

    /// Where the host is for a container: the bridge of its first network that has an address.
    fn host_gateway(&self, record: &ContainerRecord) -> Result<Vec<IpAddr>> {
        if record.mode() == Mode::Host {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        let found = self.ledger.read(|state| {
            let networks = record.places().filter_map(|place| state.networks.get(place.network));
            let mut addresses = networks.map(|network| network.bridge_addresses());
            addresses.find(|found| !found.is_empty())
        });
        let found = found.ok_or_else(|| {
            Error::Invalid(format!(
                "--add-host: {HOST_GATEWAY} is not known: the host has no address on network \
                 {:?}; name an address, or use another network",
                record.network
            ))
        })?;
        Ok(found.into_iter().map(|net| net.addr()).collect())
    }
}

fn own_names(hostname: &str, domain: Option<&str>) -> String {
    let short = hostname.split('.').next().unwrap_or(hostname);
    match domain {
        _ if short != hostname => format!("{hostname} {short}"),
        Some(domain) => format!("{hostname}.{domain} {hostname}"),
        None => hostname.to_owned(),
    }
}

fn resolv_conf(record: &ContainerRecord, host: &str) -> String {
    let names = &record.request.names;
    let wanted = Wanted { search: &names.dns_search, options: &names.dns_options };
    let settings = ResolvConf::parse(host);
    let given: Vec<Nameserver> = names.dns.iter().filter_map(|text| text.parse().ok()).collect();
    match record.mode() {
        Mode::Host if given.is_empty() && wanted == Wanted::default() => host.to_owned(),
        Mode::Host if given.is_empty() => settings.for_itself(&settings.nameservers, wanted),
        Mode::Host => settings.for_itself(&given, wanted),
        _ if record.places().next().is_none() => settings.for_itself(&given, wanted),
        _ => settings.for_network(IpAddr::V4(wharf_names::ADDRESS), wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_called_by_its_whole_name_and_its_short_one() {
        assert_eq!(own_names("box", None), "box");
        assert_eq!(own_names("box.example.org", None), "box.example.org box");
        assert_eq!(own_names("box", Some("example.org")), "box.example.org box");
        assert_eq!(own_names("box.eu", Some("example.org")), "box.eu box");
    }

    #[test]
    fn what_somebody_inside_has_written_stays() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        let files = |text: &str| Files {
            hosts: format!("{text}\n"),
            hostname: "box\n".to_owned(),
            resolv_conf: format!("search {text}\n"),
        };
        files("one").write(dir).unwrap();
        std::fs::write(dir.join("hosts"), "mine\n").unwrap();
        files("two").write_over(&files("one"), dir).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(
            (read("hosts").as_str(), read("resolv.conf").as_str()),
            ("mine\n", "search two\n")
        );
    }
}
