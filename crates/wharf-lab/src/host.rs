//! One host: a network namespace, what runs in it, and sockets made in it.
//!
//! Work in the namespace is done on a thread that enters it and ends. A socket made there keeps
//! the namespace and is used anywhere afterwards; a child process inherits the namespace of the
//! thread that starts it, as it would from `nsenter --net`.

#[cfg(test)]
mod tests;
mod traffic;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use wharf_host::link::Links;
use wharf_host::netns::Netns;
use wharf_host::route::{MAIN_TABLE, Route, RouteKind, Routes};

use crate::lab::{Ground, address};
use crate::process::{Output, Process};
use crate::snapshot::Snapshot;
use crate::wharf::Wharf;

/// A host of a lab; clones are the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    netns: Netns,
    interfaces: AtomicUsize,
    ground: Arc<Ground>,
}

// === impl Host ===

impl Host {
    pub(crate) fn new(name: &str, ground: Arc<Ground>) -> Result<Self> {
        let netns = Netns::create().with_context(|| format!("make host {name}"))?;
        ground.guard(&netns)?;
        let interfaces = AtomicUsize::new(0);
        let host =
            Self { inner: Arc::new(Inner { name: name.to_owned(), netns, interfaces, ground }) };
        // Duplicate address detection would keep every new address unusable for a second.
        host.sysctl("net/ipv6/conf/all/accept_dad", "0")?;
        host.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        Ok(host)
    }

    /// A host of the same lab around a namespace that somebody else made.
    pub(crate) fn with_inside(&self, name: &str, netns: Netns) -> Self {
        let (interfaces, ground) = (AtomicUsize::new(0), Arc::clone(&self.inner.ground));
        Self { inner: Arc::new(Inner { name: name.to_owned(), netns, interfaces, ground }) }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.inner.netns
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.inner.netns.run(work).with_context(|| format!("enter host {}", self.name()))
    }

    /// Sends everything without a better route to `gateway`; once for each family.
    ///
    /// # Errors
    /// When the kernel refuses, for example because `gateway` is not a neighbour.
    pub fn default_route_via(&self, gateway: &str) -> Result<()> {
        let everything = if gateway.contains(':') { "::/0" } else { "0.0.0.0/0" };
        self.route(everything, gateway)
    }

    /// Sends what is for `destination` (`10.2.0.0/24`) to `gateway`.
    ///
    /// # Errors
    /// As [`Host::default_route_via`].
    pub fn route(&self, destination: &str, gateway: &str) -> Result<()> {
        let destination: IpNet =
            destination.parse().with_context(|| format!("destination {destination}"))?;
        let gateway = Some(address(gateway)?);
        // The kernel finds the link by looking up the gateway.
        let (table, kind) = (MAIN_TABLE, RouteKind::Unicast);
        let route = Route { destination, gateway, link: None, table, kind };
        Routes::open_in(self.netns())?
            .add(&route)
            .with_context(|| format!("on host {}", self.name()))
    }

    /// Lets it pass packets on, in both families, as a router does.
    ///
    /// # Errors
    /// When the parameters cannot be written.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net/ipv4/ip_forward", "1")?;
        self.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    /// Sets a kernel parameter of the namespace by its path below `/proc/sys`.
    ///
    /// # Errors
    /// When there is none of that name or the value is refused.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(name);
        self.run(|| fs::write(&path, value))?
            .with_context(|| format!("set {name} to {value} on host {}", self.name()))
    }

    /// Reads a kernel parameter of the namespace.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn read_sysctl(&self, name: &str) -> Result<String> {
        let path = Path::new("/proc/sys").join(name);
        let text = self.run(|| fs::read_to_string(&path))?;
        Ok(text.with_context(|| format!("read {name} on host {}", self.name()))?.trim().to_owned())
    }

    /// The names of its interfaces, sorted.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let links = Links::open_in(self.netns())?.list()?;
        let mut names: Vec<String> = links.into_iter().map(|link| link.name).collect();
        names.sort();
        Ok(names)
    }

    /// Removes the interface `name` behind everyone's back.
    ///
    /// # Errors
    /// When there is none or the kernel refuses.
    pub fn delete_interface(&self, name: &str) -> Result<()> {
        let existed = Links::open_in(self.netns())?.delete(name)?;
        anyhow::ensure!(existed, "host {} has no interface {name}", self.name());
        Ok(())
    }

    /// Starts `command` on this host.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        self.inner.ground.guard(self.netns())?;
        self.run(|| Process::spawn(command))?
    }

    /// Runs `command` on this host to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end within `limit`.
    pub fn output(&self, command: Command, limit: Duration) -> Result<Output> {
        self.spawn(command)?.output(limit)
    }

    /// Puts an instance of the program at `binary` on this host, with a state directory and a run
    /// directory of its own. Nothing is started yet.
    ///
    /// # Errors
    /// When its directories cannot be made.
    pub fn wharf(&self, binary: impl AsRef<Path>) -> Result<Wharf> {
        Wharf::new(self.clone(), binary.as_ref(), self.inner.ground.instance()?)
    }

    /// What its kernel holds: rules, links, addresses, routes and listening sockets.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::of(self)
    }

    /// A directory nobody else has; it goes with the lab.
    pub(crate) fn own_directory(&self) -> Result<PathBuf> {
        self.inner.ground.instance()
    }

    pub(crate) fn next_interface(&self) -> String {
        format!("eth{}", self.inner.interfaces.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.name()).finish()
    }
}
