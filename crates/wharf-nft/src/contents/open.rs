//! Ports open on containers' own addresses.
//!
//! No socket of the host keeps two publications from opening the same ports of a container, each
//! perhaps to other clients. The kernel refuses elements that overlap, so what all publications of
//! a container ask for is cut at every first and last port, and the clients of each piece are put
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use wharf_host::nftables::{Element, IpFamily, Set};
use wharf_plan::nft::{NftPlan, OpenPort};
use wharf_spec::{PortRange, Proto};

use super::encode::{clients, of_ports};
use crate::table;

/// Where ports are open.
pub(super) type Place = (IpAddr, Proto);

/// Every open port, by container address and protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OpenPorts {
    places: BTreeMap<Place, BTreeSet<OpenPort>>,
}

// === impl OpenPorts ===

impl OpenPorts {
    pub(super) fn of(plan: &NftPlan) -> Self {
        let mut places: BTreeMap<Place, BTreeSet<OpenPort>> = BTreeMap::new();
        for port in &plan.open {
            places.entry(place(port)).or_default().insert(port.clone());
        }
        Self { places }
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = (&'static Set, Element)> {
        self.places.iter().flat_map(|(place, ports)| elements(*place, ports))
    }

    /// What a change makes of every place it is about; the others stay.
    pub(super) fn changed(&self, removed: &NftPlan, added: &NftPlan) -> Self {
        let mut changed = Self::default();
        for port in &removed.open {
            changed.copy(self, place(port)).remove(port);
        }
        for port in &added.open {
            changed.copy(self, place(port)).insert(port.clone());
        }
        changed
    }

    /// The part of `self` that is about the places of `other`.
    pub(super) fn at_places_of(&self, other: &Self) -> Self {
        let mut part = Self::default();
        for place in other.places.keys() {
            part.copy(self, *place);
        }
        part
    }

    /// Takes over what `part` has for its places.
    pub(super) fn take_over(&mut self, part: &Self) {
        for (place, ports) in &part.places {
            if ports.is_empty() {
                self.places.remove(place);
            } else {
                self.places.insert(*place, ports.clone());
            }
        }
    }

    fn copy(&mut self, from: &Self, place: Place) -> &mut BTreeSet<OpenPort> {
        let copy = || from.places.get(&place).cloned().unwrap_or_default();
        self.places.entry(place).or_insert_with(copy)
    }
}

fn place(port: &OpenPort) -> Place {
    (port.address, port.proto)
}

fn elements(
    (address, proto): Place,
    ports: &BTreeSet<OpenPort>,
) -> impl Iterator<Item = (&'static Set, Element)> {
    let set = &table::family(IpFamily::of(address)).open;
    pieces(ports).into_iter().flat_map(move |(ports, from)| {
        let keys = of_ports(address.into(), proto, ports);
        clients(set, keys, &from).collect::<Vec<_>>()
    })
}

/// Ranges of ports that do not overlap, each with its clients.
fn pieces(ports: &BTreeSet<OpenPort>) -> Vec<(PortRange, Vec<IpNet>)> {
    let mut edges: BTreeSet<u32> = BTreeSet::new();
    let mut starting: BTreeMap<u32, Vec<&OpenPort>> = BTreeMap::new();
    for port in ports {
        edges.extend([u32::from(port.ports.first()), u32::from(port.ports.last()) + 1]);
        starting.entry(port.ports.first().into()).or_default().push(port);
    }
    let (mut pieces, mut covering) = (Vec::new(), Vec::<&OpenPort>::new());
    for (first, after) in edges.iter().zip(edges.iter().skip(1)) {
        covering.retain(|port| u32::from(port.ports.last()) >= *first);
        covering.extend(starting.remove(first).unwrap_or_default());
        let from = covering.iter().flat_map(|port| port.from.iter().copied()).collect();
        let from = IpNet::aggregate(&from);
        pieces
            .extend(range(*first, *after).filter(|_| !from.is_empty()).map(|range| (range, from)));
    }
    pieces
}

fn range(first: u32, after: u32) -> Option<PortRange> {
    let last = u16::try_from(after.checked_sub(1)?).ok()?;
    PortRange::new(u16::try_from(first).ok()?, last)
}
