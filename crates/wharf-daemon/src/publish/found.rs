//! What a target's name stands for at this moment.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wharf_engine::Found as Container;
use wharf_host::link::Links;
use wharf_host::netns::Netns;
use wharf_network::Network;
use wharf_plan::NetworkPolicy;
use wharf_spec::{Engine, HostPorts, Target, TargetName};

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::lifecycle::target;
use crate::publications::policy;
use crate::record::{Owner, Phase};
use crate::resolve::{Circumstances, Wanted};

/// A target that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// What it was called.
    pub(crate) name: TargetName,
    /// Where traffic goes.
    pub(crate) target: Target,
    /// Whose its publications are.
    pub(crate) owner: Owner,
    /// Its network, if it is one of ours.
    network: Option<Network>,
    /// Whether it is this host itself.
    own: bool,
}

// === impl Daemon ===

impl Daemon {
    /// What is changed by one at a time.
    pub(crate) fn turn_of(&self, name: &TargetName) -> Result<String> {
        match name {
            TargetName::Container(name) => self.id_of(name),
            other => Ok(other.to_string()),
        }
    }

    /// Whose the publications of `name` are.
    pub(crate) fn owner_of(&self, name: &TargetName) -> Result<Owner> {
        Ok(match name {
            TargetName::Container(name) => Owner::Container(self.id_of(name)?),
            other => Owner::Target(other.clone()),
        })
    }

    /// What `name` stands for.
    pub(crate) fn find_target(&self, name: TargetName) -> Result<Found> {
        match &name {
            TargetName::Container(text) => self.find_container(text),
            TargetName::Namespace(path) => {
                let target = Target::Namespace { path: path.clone() };
                let netns = Netns::from_path(path).map_err(|error| {
                    Error::Invalid(format!("{name} is no network namespace: {error}"))
                })?;
                if netns.identity()? == Netns::current()?.identity()? {
                    return Err(Error::Invalid(format!(
                        "{name} is this host's own network: what listens there needs no \
                         publishing, or publish addr:127.0.0.1"
                    )));
                }
                Ok(Found::outside(name, target))
            }
            TargetName::Address(address) => {
                let own = address.is_loopback() || is_own(*address)?;
                let target = Target::Address { address: *address };
                Ok(Found { own, ..Found::outside(name, target) })
            }
            TargetName::Foreign(engine, text) => {
                let target = self.find_foreign(*engine, text)?;
                Ok(Found::outside(name, target))
            }
        }
    }

    fn find_container(&self, text: &str) -> Result<Found> {
        self.ledger.read(|state| {
            let record = state.find_container(text)?;
            if record.phase != Phase::Running {
                return Err(Error::Conflict(format!(
                    "container {:?} is not running: `wharf start {}` first",
                    record.name, record.name
                )));
            }
            Ok(Found {
                name: TargetName::Container(record.name.clone()),
                target: target(record),
                owner: Owner::Container(record.id.clone()),
                network: Some(state.find_network(&record.network)?.clone()),
                own: false,
            })
        })
    }

    /// A container of another engine that runs.
    pub(crate) fn find_foreign(&self, engine: Engine, name: &str) -> Result<Target> {
        let found = self.wait_for(self.engines.find(engine, name))??;
        if !found.running {
            return Err(Error::Conflict(format!(
                "container {engine}:{name} is not running: `{engine} start {name}` first"
            )));
        }
        if found.host_network {
            return Err(Error::Invalid(format!(
                "container {engine}:{name} is on this host's own network: what it listens on \
                 needs no publishing, or publish addr:127.0.0.1"
            )));
        }
        let target = found.target(interface_of(&found)?);
        if target.ipv4().is_none() && target.ipv6().is_none() && target.inside().is_none() {
            return Err(Error::Conflict(format!(
                "container {engine}:{name} has no address and no network namespace that can be \
                 reached from here"
            )));
        }
        Ok(target)
    }

    /// Carries out something asynchronous from a thread that may block.
    fn wait_for<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let runtime = tokio::runtime::Handle::try_current();
        let runtime = runtime.map_err(|error| Error::Conflict(error.to_string()))?;
        Ok(runtime.block_on(work))
    }
}

// === impl Found ===

impl Found {
    fn outside(name: TargetName, target: Target) -> Self {
        Self { owner: Owner::Target(name.clone()), name, target, network: None, own: false }
    }

    /// What there is to know for resolving port specs.
    pub(crate) fn circumstances(&self, daemon: &Daemon) -> Circumstances<'_> {
        let network = self.network.as_ref();
        Circumstances {
            network: network.map_or("", |network| &network.name),
            mode_v4: network.and_then(|n| n.ipv4.as_ref()).map(|s| s.gateway_mode),
            mode_v6: network.and_then(|n| n.ipv6.as_ref()).map(|s| s.gateway_mode),
            host_ipv6: daemon.host_ipv6,
        }
    }

    /// The policies of the networks the target is on.
    pub(crate) fn networks(&self) -> BTreeMap<String, NetworkPolicy> {
        let ours = self.network.iter().map(|network| (network.name.clone(), policy(network)));
        let foreign = match &self.target {
            Target::Foreign { network, .. } => network.clone(),
            _ => None,
        };
        let foreign = foreign.map(|name| {
            (name.clone(), NetworkPolicy { bridge: name, foreign: true, ..Default::default() })
        });
        ours.chain(foreign).collect()
    }

    /// A port of this host that leads to itself would go round for ever.
    pub(crate) fn refuse_loop(&self, one: &Wanted) -> Result<()> {
        let HostPorts::Exact(ports) = one.host_ports else { return Ok(()) };
        let takes = |address: &IpAddr| {
            address.is_unspecified()
                || Some(*address) == self.target.ipv4().map(IpAddr::V4)
                || Some(*address) == self.target.ipv6().map(IpAddr::V6)
        };
        if self.own && ports == one.container_ports && one.addresses.iter().any(takes) {
            return Err(Error::Invalid(format!(
                "{} would lead to itself: {} is an address of this host; use another host port",
                one.specs.join(", "),
                self.name
            )));
        }
        Ok(())
    }
}

fn is_own(address: IpAddr) -> Result<bool> {
    Ok(Links::open()?.addresses(None)?.iter().any(|own| own.net.addr() == address))
}

/// The interface of this host that leads to a container, by the network it has an address on.
fn interface_of(found: &Container) -> Result<Option<String>> {
    let targets = [found.ipv4.map(IpAddr::V4), found.ipv6.map(IpAddr::V6)];
    let mut links = Links::open()?;
    let near = links.addresses(None)?.into_iter().find(|own| {
        targets
            .iter()
            .flatten()
            .any(|target| own.net.contains(target) && !own.net.addr().is_loopback())
    });
    let Some(near) = near else { return Ok(None) };
    Ok(links.list()?.into_iter().find(|link| link.index == near.link).map(|link| link.name))
}
