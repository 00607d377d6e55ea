//! What should be, worked out from the operations alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wharf_spec::{HostPorts, PortRange, PortSpec, Proto, PublishOptions, SourceMode, Via};

use super::wanted::{Wanted, contend};

/// A network of the scene.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Network {
    pub(super) name: &'static str,
    pub(super) has_ipv6: bool,
    pub(super) internal: bool,
}

/// The default network and two that the scene makes.
pub(super) const NETWORKS: [Network; 3] = [
    Network { name: "wharf", has_ipv6: true, internal: false },
    Network { name: "four", has_ipv6: false, internal: false },
    Network { name: "inner", has_ipv6: false, internal: true },
];

/// A container there is.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) network: &'static Network,
    /// Its addresses, as it was told when it was made.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) running: bool,
    /// What it was made with, and publishes whenever it starts.
    pub(super) specs: Vec<PortSpec>,
}

/// A publication, in force or resting.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Publication {
    /// Its identity, once the program has told it.
    pub(super) id: Option<String>,
    /// The container's name.
    pub(super) owner: String,
    pub(super) proto: Proto,
    pub(super) addresses: Vec<IpAddr>,
    /// The host ports; the program chooses some, and tells them with the identity.
    pub(super) ports: Option<PortRange>,
    pub(super) target_ports: PortRange,
    pub(super) options: PublishOptions,
    /// The specs it came from.
    pub(super) specs: Vec<PortSpec>,
    /// Whether it was published while its container ran: it outlasts a stop.
    pub(super) lasting: bool,
    /// Whether its container is stopped.
    pub(super) resting: bool,
}

/// What an `unpublish` names.
#[derive(Debug, Clone)]
pub(super) enum Which {
    All,
    Spec(PortSpec),
    /// The publication at this place of the model's list, by its identity.
    Known(usize),
}

/// The state, and its rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) publications: Vec<Publication>,
}

/// Why something must not happen.
pub(super) type Refusal = &'static str;

// === impl Publication ===

impl Publication {
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let (Some(ours), Some(theirs)) = (self.ports, other.ports) else { return false };
        !(self.resting || other.resting)
            && self.proto == other.proto
            && ours.overlaps(theirs)
            && contend(&self.addresses, &other.addresses)
    }

    /// Addresses of a family that other hosts can ask.
    pub(super) fn external(&self, v4: bool) -> impl Iterator<Item = &IpAddr> {
        self.addresses.iter().filter(move |it| it.is_ipv4() == v4 && !it.is_loopback())
    }

    /// Whether processes of the host are led straight to the container.
    pub(super) fn is_led(&self, network: &Network, v4: bool) -> bool {
        self.options.via == Via::Auto
            && self.options.proxy_protocol.is_none()
            && (v4 || network.has_ipv6)
    }

    /// Whether the kernel rewrites what comes from outside in this family.
    pub(super) fn kernel_serves(&self, network: &Network, v4: bool) -> bool {
        self.options.via != Via::Relay
            && self.options.proxy_protocol.is_none()
            && self.keeps_clients(network, v4)
    }

    /// Whether the relay may use clients' addresses in this family.
    pub(super) fn keeps_clients(&self, network: &Network, v4: bool) -> bool {
        self.options.source != SourceMode::Gateway
            && !network.internal
            && (v4 || network.has_ipv6)
            && self.external(v4).next().is_some()
    }

    fn is_meant_by(&self, spec: &PortSpec) -> bool {
        let host_ports = match (spec.host_ports, self.ports) {
            (HostPorts::Ephemeral, _) => true,
            (HostPorts::Exact(wanted), Some(ports)) => wanted == ports,
            (HostPorts::AnyOf(wanted), Some(ports)) => wanted.overlaps(ports),
            _ => false,
        };
        let address = spec.host_ip.is_none_or(|address| self.addresses == [address]);
        let same = (spec.proto, spec.container_ports) == (self.proto, self.target_ports);
        same && host_ports && address
    }
}

// === impl Model ===

impl Model {
    pub(super) fn container(&self, name: &str) -> Result<&Container, Refusal> {
        self.containers.get(name).ok_or("there is no such container")
    }

    pub(super) fn running(&self, name: &str) -> Result<&Container, Refusal> {
        Some(self.container(name)?).filter(|it| it.running).ok_or("it does not run")
    }

    pub(super) fn in_force(&self) -> impl Iterator<Item = &Publication> {
        self.publications.iter().filter(|it| !it.resting)
    }

    /// Whether the way back for clients' addresses is needed for a publication.
    pub(super) fn keeps_clients(&self, publication: &Publication) -> bool {
        let network = self.network_of(publication);
        [true, false].into_iter().any(|v4| publication.keeps_clients(network, v4))
    }

    pub(super) fn network_of(&self, publication: &Publication) -> &'static Network {
        self.containers[&publication.owner].network
    }

    /// `publish name specs…`, with `--replace` of another container's.
    pub(super) fn publish(
        &mut self,
        name: &str,
        specs: &[PortSpec],
        replace: Option<&str>,
    ) -> Result<(), Refusal> {
        let network = self.running(name)?.network;
        replace.map(|other| self.container(other)).transpose()?;
        let (mut next, mut altered) = (self.clone(), Vec::new());
        for one in Wanted::resolve(specs) {
            one.impossible(network).map_or(Ok(()), Err)?;
            let there = self.publications.iter().position(|it| !it.resting && one.is_place_of(it));
            let may = |place: &usize| {
                let owner = self.publications[*place].owner.as_str();
                owner == name || Some(owner) == replace
            };
            match (there.filter(may), replace) {
                (Some(place), _) if altered.contains(&place) => return Err("asked for twice"),
                (Some(place), _) => {
                    altered.push(place);
                    next.alter(place, name, &one);
                }
                (None, Some(_)) => return Err("there is nothing to replace"),
                (None, None) => next.take(name, &one)?,
            }
        }
        *self = next;
        Ok(())
    }

    fn alter(&mut self, place: usize, name: &str, one: &Wanted) {
        let before = self.publications[place].clone();
        let after = Publication {
            owner: name.to_owned(),
            target_ports: one.spec.container_ports,
            options: one.spec.options.clone(),
            specs: one.specs.clone(),
            lasting: true,
            ..before.clone()
        };
        self.publications[place] = after;
        self.forget(&before);
    }

    fn take(&mut self, name: &str, one: &Wanted) -> Result<(), Refusal> {
        let publication = one.reserve(name, &self.publications)?;
        self.publications.push(Publication { lasting: true, ..publication });
        Ok(())
    }

    /// Its container does not publish it at its next start.
    fn forget(&mut self, publication: &Publication) {
        let specs = &mut self.containers.get_mut(&publication.owner).unwrap().specs;
        for gone in publication.specs.iter().filter(|_| !publication.lasting) {
            if let Some(place) = specs.iter().position(|spec| spec == gone) {
                specs.remove(place);
            }
        }
    }

    pub(super) fn unpublish(&mut self, name: &str, which: &Which) -> Result<(), Refusal> {
        self.container(name)?;
        let meant = |(place, it): (usize, &Publication)| {
            let named = match which {
                Which::All => true,
                Which::Spec(spec) => it.is_meant_by(spec),
                Which::Known(known) => place == *known,
            };
            named && it.owner == name
        };
        let gone: Vec<bool> = self.publications.iter().enumerate().map(meant).collect();
        if !matches!(which, Which::All) && !gone.contains(&true) {
            return Err("nothing of the kind is published");
        }
        let mut gone = gone.into_iter();
        let (gone, left) = self.publications.drain(..).partition(|_| gone.next().unwrap());
        let gone: Vec<Publication> = gone;
        self.publications = left;
        gone.iter().for_each(|publication| self.forget(publication));
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        name: &str,
        network: &'static Network,
        specs: &[PortSpec],
    ) -> Result<(), Refusal> {
        if self.containers.contains_key(name) {
            return Err("the name is taken");
        }
        if Wanted::resolve(specs).iter().any(|one| one.impossible(network).is_some()) {
            return Err("no plane could serve it");
        }
        let (addresses, specs) = (Vec::new(), specs.to_vec());
        let container = Container { network, addresses, running: false, specs };
        self.containers.insert(name.to_owned(), container);
        Ok(())
    }

    pub(super) fn start(&mut self, name: &str) -> Result<(), Refusal> {
        let container = self.container(name)?;
        if container.running {
            return Ok(());
        }
        // Those that rest come back as they are resolved now.
        let resting = |it: &&Publication| it.owner == name;
        let lasting: Vec<PortSpec> =
            self.publications.iter().filter(resting).flat_map(|it| it.specs.clone()).collect();
        let own = container.specs.clone();
        let mut joined = Vec::new();
        let mut publications = self.publications.clone();
        publications.retain(|it| it.owner != name);
        for one in Wanted::resolve(&[&own[..], &lasting[..]].concat()) {
            let publication = one.reserve(name, &publications)?;
            let lasting = one.places.iter().any(|place| *place >= own.len());
            // What became one with it has no other life of its own.
            joined.extend(one.places.iter().copied().filter(|_| lasting));
            publications.push(Publication { lasting, ..publication });
        }
        let left = own.into_iter().enumerate().filter(|(place, _)| !joined.contains(place));
        self.containers.get_mut(name).unwrap().specs = left.map(|(_, spec)| spec).collect();
        self.publications = publications;
        self.containers.get_mut(name).unwrap().running = true;
        Ok(())
    }

    /// The container has ended, however that came.
    pub(super) fn stop(&mut self, name: &str) -> Result<(), Refusal> {
        self.container(name)?;
        self.publications.retain(|it| it.owner != name || it.lasting);
        let own = self.publications.iter_mut().filter(|it| it.owner == name);
        own.for_each(|it| it.resting = true);
        self.containers.get_mut(name).unwrap().running = false;
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), Refusal> {
        self.container(name)?;
        self.publications.retain(|it| it.owner != name);
        self.containers.remove(name);
        Ok(())
    }
}
