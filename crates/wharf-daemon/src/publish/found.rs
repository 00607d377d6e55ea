//! What a target's name stands for at this moment.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use wharf_engine::Found as Container;
use wharf_host::link::Links;
use wharf_host::netns::Netns;
use wharf_network::Network;
use wharf_plan::NetworkPolicy;
use wharf_spec::{Engine, HostPorts, HostSide, PortRange, Publication, Target, TargetName};

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::lifecycle::target;
use crate::publications::policy;
use crate::record::{Owner, Phase, PublicationRecord};
use crate::resolve::{Circumstances, Wanted};

/// Engines show at least so many digits of an id, and a name is hardly ever made of as many.
const ID_PREFIX: usize = 12;

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
            other => Ok(self.known_as(other).to_string()),
        }
    }

    /// A container of another engine under the name that something is published for it by, if
    /// anything is: it has a name and an id, and is one target all the same.
    fn known_as(&self, name: &TargetName) -> TargetName {
        let TargetName::Foreign(engine, text) = name else { return name.clone() };
        let is_meant = |record: &&PublicationRecord| match &record.publication.target {
            Target::Foreign { engine: whose, id, .. } => {
                whose == engine && text.len() >= ID_PREFIX && id.starts_with(text.as_str())
            }
            _ => false,
        };
        let known = self.ledger.read(|state| {
            let named = |record: &&PublicationRecord| record.owner == Owner::Target(name.clone());
            let mut all = state.publications.values();
            let found = all.clone().find(named).or_else(|| all.find(is_meant));
            found.map(|record| record.owner.clone())
        });
        match known {
            Some(Owner::Target(known)) => known,
            _ => name.clone(),
        }
    }

    /// Whose the publications of `name` are.
    pub(crate) fn owner_of(&self, name: &TargetName) -> Result<Owner> {
        Ok(match name {
            TargetName::Container(name) => Owner::Container(self.id_of(name)?),
            other => Owner::Target(self.known_as(other)),
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
                let known = match &target {
                    Target::Foreign { id, .. } => TargetName::Foreign(*engine, id.clone()),
                    _ => name.clone(),
                };
                let known = self.known_as(&known);
                // Nothing is published for it yet: then it is called as it was here.
                let unknown = matches!(&target, Target::Foreign { id, .. }
                    if known == TargetName::Foreign(*engine, id.clone()));
                Ok(Found::outside(if unknown { name } else { known }, target))
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
            if record.endpoint.is_none() {
                return Err(crate::connect::nowhere_to_publish(record));
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
    /// `others` are the publications there are that lead to addresses.
    pub(crate) fn refuse_loop(&self, one: &Wanted, others: &[Publication]) -> Result<()> {
        let HostPorts::Exact(ports) = one.host_ports else { return Ok(()) };
        if self.own
            && let Some(by_way_of) = round_trip(one, ports, &self.target, others)
        {
            return Err(Error::Invalid(format!(
                "{} would lead to itself{by_way_of}: {} is an address of this host; use another \
                 host port",
                one.specs.join(", "),
                self.name
            )));
        }
        Ok(())
    }
}

/// Follows each port of `one` from this host to this host again, by the publications there are;
/// `None` unless one comes back to where it began, else by way of which port it does.
fn round_trip(
    one: &Wanted,
    ports: PortRange,
    target: &Target,
    others: &[Publication],
) -> Option<String> {
    let own = Publication {
        host: HostSide { addresses: one.addresses.clone(), ports },
        ..one.sketch(target.clone())
    };
    let mut known = HashSet::new();
    for port in ports.iter() {
        let Some(first) = step(&own, port) else { continue };
        let (mut path, mut at) = (HashSet::new(), first);
        // A way that joins one that was gone before ends as that did.
        while !known.contains(&at) {
            if !path.insert(at) {
                let direct = path.len() == 1;
                let by_way_of = format!(" by way of port {}", first.1);
                return Some(if direct { String::new() } else { by_way_of });
            }
            let next = [&own].into_iter().chain(others).find(|it| takes_in_at(it, &own, at));
            match next.and_then(|next| step(next, at.1)) {
                Some(next) => at = next,
                None => break,
            }
        }
        known.extend(path);
    }
    None
}

/// Where a publication leads what comes to its host port `port`.
fn step(publication: &Publication, port: u16) -> Option<(IpAddr, u16)> {
    let target = &publication.target;
    let address = target.ipv4().map(IpAddr::V4).or(target.ipv6().map(IpAddr::V6))?;
    Some((address, publication.target_port(port)?))
}

/// Whether a publication of the same protocol as `own` gets what is sent to an address and port of
/// this host.
fn takes_in_at(
    publication: &Publication,
    own: &Publication,
    (address, port): (IpAddr, u16),
) -> bool {
    publication.proto == own.proto
        && publication.host.ports.contains(port)
        && publication.host.addresses.iter().any(|own| takes_in(*own, address))
}

/// Whether a socket of this host at `own` gets what is sent to `address`, one of this host's.
fn takes_in(own: IpAddr, address: IpAddr) -> bool {
    own == address || (own.is_unspecified() && own.is_ipv4() == address.is_ipv4())
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
