//! Publications between the ledger and the planes: put in force, changed, taken down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wharf_host::link::Links;
use wharf_network::{GatewayMode, Network};
use wharf_plan::{NetworkPolicy, SubnetMode};
use wharf_spec::{Publication, PublicationId, Target};

use crate::clock;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::flows;
use crate::ledger::{Draft, State};
use crate::planes::DesiredState;
use crate::record::{Owner, PublicationRecord};
use crate::reservation::Held;

/// Why what was published while a container ran is not in force.
pub(crate) const CONTAINER_STOPPED: &str = "its container is stopped";

// === impl Daemon ===

impl Daemon {
    /// Brings the planes in line with the ledger.
    pub(crate) fn reconcile(&self) -> Result<()> {
        let moved = self.planes.reconcile(self, &self.metrics)?;
        // A client that never pauses would go on by the plane that served it first.
        self.flows.forget(&moved, flows::Which::Datagrams)
    }

    /// The publications of the container `id` that are in force.
    pub(crate) fn published_by_container(&self, id: &str) -> Vec<Publication> {
        let owner = Owner::Container(id.to_owned());
        self.ledger.read(|state| {
            let in_force = state.published_by(&owner).filter(|record| record.suspended.is_none());
            in_force.map(|record| record.publication.clone()).collect()
        })
    }

    /// The specs of the container `id` that were published while it ran.
    pub(crate) fn lasting_specs(&self, id: &str) -> Vec<String> {
        let owner = Owner::Container(id.to_owned());
        self.ledger.read(|state| {
            let lasting = state.published_by(&owner).filter(|record| record.lasting);
            let mut lasting: Vec<&PublicationRecord> = lasting.collect();
            // In the order they were asked for: the earlier has the choice.
            lasting.sort_by(|a, b| a.since.cmp(&b.since));
            lasting.into_iter().flat_map(|record| record.specs.clone()).collect()
        })
    }

    /// Writes publications into the ledger, together with what else `change` does, and serves them.
    pub(crate) fn put_in_force(
        &self,
        owner: &Owner,
        held: Vec<Held>,
        change: impl FnOnce(&mut Draft<'_>) -> Result<()>,
    ) -> Result<()> {
        let records: Vec<PublicationRecord> = held.iter().map(|h| in_force(owner, h)).collect();
        self.ledger.transact(|draft| {
            change(draft)?;
            refuse_overlaps(draft.before(), &records)?;
            records.iter().cloned().for_each(|record| draft.put_publication(record));
            Ok(())
        })?;
        crate::crash::point("start.recorded");
        self.planes.publish(self, held, &self.metrics)?;
        let fresh: Vec<Publication> = records.into_iter().map(|r| r.publication).collect();
        // TCP connections that still go on are those of somebody's drain.
        self.flows.forget(&fresh, flows::Which::Datagrams)
    }

    /// Takes publications down that are in the ledger no more. With `drain_seconds`, open TCP
    /// connections go on for so long; the caller sees to those that the kernel carries.
    pub(crate) fn take_down_publications(
        &self,
        gone: &[PublicationRecord],
        drain_seconds: Option<u32>,
    ) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let publications: Vec<Publication> = gone.iter().map(|r| r.publication.clone()).collect();
        let ids: Vec<PublicationId> = publications.iter().map(|p| p.id.clone()).collect();
        let taken = self.planes.unpublish(&ids, drain_seconds, &self.metrics);
        let which = match drain_seconds {
            Some(_) => flows::Which::Datagrams,
            None => flows::Which::All,
        };
        self.flows.forget(&publications, which).and(taken)
    }

    /// Takes down whatever is published for anybody.
    pub(crate) fn unpublish_everything(&self) -> Result<()> {
        let gone = self.ledger.transact(|draft| {
            let all: Vec<PublicationRecord> =
                draft.before().publications.values().cloned().collect();
            all.iter().for_each(|record| draft.delete_publication(&record.publication.id));
            Ok(all)
        })?;
        self.take_down_publications(&gone, None)
    }

    /// Puts `after` in the place of `before`, or nothing, unless somebody has changed that
    /// meanwhile. Answers whether it was done.
    pub(crate) fn swap_publication(
        &self,
        before: &PublicationRecord,
        after: Option<PublicationRecord>,
    ) -> Result<bool> {
        let id = &before.publication.id;
        self.ledger.transact(|draft| {
            if draft.before().publications.get(id) != Some(before) {
                return Ok(false);
            }
            match after {
                Some(after) => draft.put_publication(after),
                None => draft.delete_publication(id),
            }
            Ok(true)
        })
    }

    /// Takes every publication of the container `id` out of force, as it has ended.
    pub(crate) fn withdraw_container(&self, id: &str) -> Result<()> {
        let owner = Owner::Container(id.to_owned());
        let gone = self
            .ledger
            .transact(|draft| Ok(draft.rest_publications_of(&owner, CONTAINER_STOPPED)))?;
        self.take_down_publications(&gone, None)
    }
}

impl DesiredState for Daemon {
    fn publications(&self) -> Vec<Publication> {
        self.ledger.read(|state| live(state).map(|record| record.publication.clone()).collect())
    }

    fn publication(&self, id: &PublicationId) -> Option<Publication> {
        self.ledger.read(|state| {
            let record = state.publications.get(id).filter(|record| record.suspended.is_none())?;
            Some(record.publication.clone())
        })
    }

    fn networks(&self) -> BTreeMap<String, NetworkPolicy> {
        let (mut networks, foreign) = self.ledger.read(|state| {
            let networks: BTreeMap<String, NetworkPolicy> =
                state.networks.values().map(|n| (n.name.clone(), policy(n))).collect();
            (networks, foreign_interfaces(state))
        });
        if !foreign.is_empty() {
            networks.extend(foreign_policies(&foreign));
        }
        networks
    }
}

/// Two at once may each have found a range free that one socket listens for; the one that writes
/// later sees the other here.
fn refuse_overlaps(state: &State, fresh: &[PublicationRecord]) -> Result<()> {
    for new in fresh.iter().map(|record| &record.publication) {
        let clash =
            live(state).map(|record| (record, &record.publication)).find_map(|(record, it)| {
                let same = it.proto == new.proto && it.id != new.id;
                let clash = same.then(|| it.host.clashes(&new.host)).flatten()?;
                Some((crate::describe::name_of(state, &record.owner), clash))
            });
        if let Some((name, clash)) = clash {
            return Err(Error::Port(format!(
                "Bind for {clash} failed: port is already allocated ({name})"
            )));
        }
    }
    Ok(())
}

fn in_force(owner: &Owner, held: &Held) -> PublicationRecord {
    PublicationRecord {
        publication: held.publication.clone(),
        owner: owner.clone(),
        specs: held.specs.clone(),
        lasting: held.lasting,
        since: clock::now(),
        suspended: None,
    }
}

fn live(state: &State) -> impl Iterator<Item = &PublicationRecord> {
    state.publications.values().filter(|record| record.suspended.is_none())
}

fn foreign_interfaces(state: &State) -> BTreeSet<String> {
    let foreign = live(state).filter_map(|record| match &record.publication.target {
        Target::Foreign { network, .. } => network.clone(),
        _ => None,
    });
    foreign.collect()
}

/// Networks of other engines: their addresses are those that the host has on them.
fn foreign_policies(interfaces: &BTreeSet<String>) -> Vec<(String, NetworkPolicy)> {
    let of = |links: &mut Links, name: &String| {
        let index = links.find(name).ok()??.index;
        let addresses = links.addresses(Some(index)).ok()?;
        let subnets = addresses.into_iter().filter(|a| !is_link_local(a.net.addr()));
        let policy = NetworkPolicy {
            bridge: name.clone(),
            subnets: subnets.map(|a| (a.net.trunc(), SubnetMode::Nat)).collect(),
            foreign: true,
            ..NetworkPolicy::default()
        };
        Some((name.clone(), policy))
    };
    let Ok(mut links) = Links::open() else { return Vec::new() };
    interfaces.iter().filter_map(|name| of(&mut links, name)).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// What the plan has to know of a network.
pub(crate) fn policy(network: &Network) -> NetworkPolicy {
    let subnets = network.subnets().map(|subnet| {
        let mode = match subnet.gateway_mode {
            GatewayMode::Nat => SubnetMode::Nat,
            GatewayMode::NatUnprotected => SubnetMode::NatUnprotected,
            GatewayMode::Routed => SubnetMode::Routed,
            GatewayMode::Isolated => SubnetMode::Isolated,
        };
        (subnet.subnet(), mode)
    });
    NetworkPolicy {
        bridge: network.bridge.clone(),
        subnets: subnets.collect(),
        internal: network.internal,
        trusted_interfaces: network.trusted_interfaces.clone(),
        ..NetworkPolicy::default()
    }
}
