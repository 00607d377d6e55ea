//! A set of hosts, the cables between them, and the directory they share.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use tempfile::TempDir;
use wharf_host::link::{Change, Links, Veth};
use wharf_host::netns::Netns;

use crate::host::Host;

/// A unix socket's path has room for 107 bytes, and temporary directories may be deep.
const NAME_LIMIT: usize = 20;

/// Hosts and the cables between them; when it and all that came of it is dropped, nothing is
/// left.
#[derive(Debug)]
pub struct Lab {
    ground: Arc<Ground>,
}

/// What the hosts of one lab share.
#[derive(Debug)]
pub(crate) struct Ground {
    directory: TempDir,
    machine: u64,
    instances: AtomicUsize,
}

/// Whether labs can be built here: they need root. Prints why a test skips where they cannot.
pub fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: test hosts are made of network namespaces, which need root");
    }
    root
}

// === impl Lab ===

impl Lab {
    /// An empty lab; `name` appears in the names of its files.
    ///
    /// # Errors
    /// When the temporary directory cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let prefix = format!("wharf-{}-", file_name(name));
        let directory = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .context("make the lab's directory")?;
        // Labs are made on threads that were never moved.
        let machine = Netns::current()?.identity()?;
        Ok(Self { ground: Arc::new(Ground { directory, machine, instances: AtomicUsize::new(0) }) })
    }

    /// A new host with nothing but a loopback interface; `name` is for messages.
    ///
    /// # Errors
    /// When the kernel makes no network namespace (this needs root).
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(name, Arc::clone(&self.ground))
    }

    /// Lays a cable between two hosts and gives its ends these addresses (`10.1.0.2/24`). Each
    /// end is the next free `ethN` of its host.
    ///
    /// # Errors
    /// When an address is none or the kernel refuses.
    pub fn link(&self, left: &Host, ours: &[&str], right: &Host, theirs: &[&str]) -> Result<()> {
        let (name, peer_name) = (left.next_interface(), right.next_interface());
        let mut near = Links::open_in(left.netns())?;
        near.add_veth(Veth {
            name: &name,
            peer_name: &peer_name,
            peer_netns: right.netns(),
            peer_mac: None,
            mtu: None,
            master: None,
        })?;
        bring_up(&mut near, &name, ours)?;
        bring_up(&mut Links::open_in(right.netns())?, &peer_name, theirs)
    }

    /// The directory of the lab's files; it is removed at the end.
    pub fn directory(&self) -> &Path {
        self.ground.directory.path()
    }
}

fn bring_up(links: &mut Links, name: &str, addresses: &[&str]) -> Result<()> {
    let link = links.index(name)?;
    let mut changes = vec![Change::Up(name)];
    for address in addresses {
        let net: IpNet = address.parse().with_context(|| format!("address {address}"))?;
        changes.push(Change::Address { link, net });
    }
    Ok(links.apply(&changes)?)
}

fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(plain).take(NAME_LIMIT).collect()
}

// === impl Ground ===

impl Ground {
    /// A directory for one instance of the program, that no other has.
    pub(crate) fn instance(&self) -> Result<PathBuf> {
        let number = self.instances.fetch_add(1, Ordering::Relaxed);
        let place = self.directory.path().join(number.to_string());
        fs::create_dir(&place).with_context(|| format!("make {}", place.display()))?;
        Ok(place)
    }

    /// Refuses the network namespaces that belong to the machine.
    pub(crate) fn guard(&self, netns: &Netns) -> Result<()> {
        let own = Netns::current()?.identity()?;
        let asked = netns.identity()?;
        ensure!(
            asked != self.machine && asked != own,
            "a lab host must not be the machine's own network namespace"
        );
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Removing the directory would otherwise walk into what somebody mounted there.
        for mount in mounts_below(self.directory.path()) {
            eprintln!("wharf-lab: left mounted: {}", mount.display());
            if let Err(error) = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH)
            {
                eprintln!("wharf-lab: cannot unmount {}: {error}", mount.display());
                self.directory.disable_cleanup(true);
            }
        }
    }
}

/// The places below `directory` where something is mounted, the deepest first.
pub(crate) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|place| place.starts_with(directory))
        .collect();
    found.reverse();
    found
}

/// Parses an address for a call that takes text.
pub(crate) fn address(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| format!("address {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tests_become_names_of_files() {
        assert_eq!(file_name("Remote client, v6"), "remote-client--v6");
        assert_eq!(file_name(&"x".repeat(99)).len(), NAME_LIMIT);
    }

    #[test]
    fn the_directory_goes_with_the_lab() {
        let lab = Lab::new("short lived").unwrap();
        let place = lab.directory().to_owned();
        assert!(place.is_dir());
        drop(lab);
        assert!(!place.exists());
    }

    #[test]
    fn the_machines_own_namespace_is_refused() {
        let lab = Lab::new("guard").unwrap();
        let refused = lab.ground.guard(&Netns::current().unwrap());
        assert!(refused.unwrap_err().to_string().contains("must not be the machine's own"));
    }
}
