//! What the sets are to hold: a plan, as elements.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use wharf_host::nftables::{Datum, Element, IpFamily, Set};
use wharf_plan::nft::{BridgePolicy, Dnat, LoopbackGuard, NftPlan, OpenPort, SubnetPolicy};

use crate::table::{self, BRIDGES, INTERNAL, LOOPBACK, PASSAGES, SETS};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// The elements of every set, sorted, each once; and the one rule that not every table has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) way_back: bool,
    elements: BTreeMap<&'static str, Vec<Element>>,
}

/// What has to be done to one set.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) set: &'static Set,
    pub(crate) removed: Vec<Element>,
    pub(crate) added: Vec<Element>,
}

// === impl Contents ===

impl Contents {
    /// What the table is to hold for `plan`.
    pub(crate) fn of(plan: &NftPlan) -> Result<Self> {
        let mut contents = Self { way_back: plan.way_back, ..Self::default() };
        for bridge in &plan.bridges {
            contents.bridge(bridge)?;
        }
        for entry in &plan.dnat {
            contents.dnat(entry)?;
        }
        plan.loopback.iter().for_each(|guard| contents.loopback(guard));
        plan.open.iter().for_each(|port| contents.open(port));
        for elements in contents.elements.values_mut() {
            elements.sort_unstable();
            elements.dedup();
        }
        contents.refuse_conflicts(plan)?;
        Ok(contents)
    }

    /// What was read back from the kernel.
    pub(crate) fn read(elements: BTreeMap<&'static str, Vec<Element>>) -> Self {
        Self { elements, ..Self::default() }
    }

    /// How many elements there are in all sets.
    pub(crate) fn len(&self) -> usize {
        self.elements.values().map(Vec::len).sum()
    }

    /// Every set with its elements.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Set, &[Element])> {
        SETS.iter().map(|set| (*set, self.in_set(set)))
    }

    /// What has to change for `self` to become `wanted`; sets that stay are left out.
    pub(crate) fn changes_to(&self, wanted: &Self) -> Vec<Change> {
        let change = |(set, added): (&'static Set, &[Element])| {
            let (removed, added) = difference(self.in_set(set), added);
            Change { set, removed, added }
        };
        let differs = |change: &Change| !change.removed.is_empty() || !change.added.is_empty();
        wanted.iter().map(change).filter(differs).collect()
    }

    fn in_set(&self, set: &Set) -> &[Element] {
        self.elements.get(set.name).map(Vec::as_slice).unwrap_or_default()
    }

    fn add(&mut self, set: &'static Set, element: Element) {
        self.elements.entry(set.name).or_default().push(element);
    }

    fn bridge(&mut self, bridge: &BridgePolicy) -> Result<()> {
        let name = Datum::new().interface(&bridge.name)?;
        self.add(&BRIDGES, Element::of(name));
        // Neighbours meet in the forward hook where br_netfilter shows it bridged packets.
        self.add(&PASSAGES, Element::of(name.interface(&bridge.name)?));
        if bridge.internal {
            self.add(&INTERNAL, Element::of(name));
        } else {
            for interface in &bridge.trusted_interfaces {
                let trusted = Datum::new().interface(interface)?.interface(&bridge.name)?;
                self.add(&PASSAGES, Element::of(trusted));
            }
        }
        bridge.subnets.iter().try_for_each(|subnet| self.subnet(subnet, &bridge.name))
    }

    fn subnet(&mut self, policy: &SubnetPolicy, bridge: &str) -> Result<()> {
        let (first, last) = ends(policy.subnet);
        let sets = table::family(IpFamily::of(first));
        let (first, last) = (Datum::new().address(first), Datum::new().address(last));
        let range = Element::range(first.interface(bridge)?, last.interface(bridge)?);
        self.add(&sets.hairpin, range);
        let wanted = [
            (policy.masquerade, &sets.masquerade),
            (policy.unprotected, &sets.unprotected),
            (policy.icmp, &sets.icmp),
        ];
        for (_, set) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
            self.add(set, Element::range(first, last));
        }
        Ok(())
    }

    fn dnat(&mut self, entry: &Dnat) -> Result<()> {
        let impossible = |reason| Error::Impossible { entry: Box::new(entry.clone()), reason };
        let family = IpFamily::of(entry.target);
        if entry.host.is_some_and(|host| IpFamily::of(host) != family) {
            return Err(impossible("the host address is of the other IP family"));
        }
        let sets = table::family(family);
        let (ports, port_ranges) = match entry.host {
            None => (&sets.ports, &sets.port_ranges),
            Some(_) => (&sets.address_ports, &sets.address_port_ranges),
        };
        let address = entry.host.map_or_else(Datum::new, |host| Datum::new().address(host));
        let key = address.proto(entry.proto.number());
        let target = Datum::new().address(entry.target);
        if entry.ports == entry.target_ports && !entry.ports.is_single() {
            let range = Element::range(key.port(entry.ports.first()), key.port(entry.ports.last()));
            self.add(port_ranges, range.giving(target));
            return Ok(());
        }
        for port in entry.ports.iter() {
            let target_port = entry
                .ports
                .map(port, entry.target_ports)
                .ok_or_else(|| impossible("the two port ranges differ in length"))?;
            self.add(ports, Element::of(key.port(port)).giving(target.port(target_port)));
        }
        Ok(())
    }

    fn loopback(&mut self, guard: &LoopbackGuard) {
        let key = Datum::new().address(IpAddr::V4(guard.address)).proto(guard.proto.number());
        let range = Element::range(key.port(guard.ports.first()), key.port(guard.ports.last()));
        self.add(&LOOPBACK, range);
    }

    fn open(&mut self, open: &OpenPort) {
        let sets = table::family(IpFamily::of(open.address));
        let key = Datum::new().address(open.address).proto(open.proto.number());
        let range = Element::range(key.port(open.ports.first()), key.port(open.ports.last()));
        self.add(&sets.open, range);
    }

    /// Two elements with one key would be refused by the kernel without saying which.
    fn refuse_conflicts(&self, plan: &NftPlan) -> Result<()> {
        let same_key = |pair: &[Element]| matches!(pair, [a, b] if a.key == b.key);
        if !self.elements.values().any(|elements| elements.windows(2).any(same_key)) {
            return Ok(());
        }
        let entries: Vec<&Dnat> = plan.dnat.iter().collect();
        for (index, a) in entries.iter().enumerate() {
            let rest = entries.get(index + 1..).unwrap_or_default();
            if let Some(b) = rest.iter().find(|b| want_the_same(a, b)) {
                return Err(Error::Conflict(Box::new((*a).clone()), Box::new((*b).clone())));
            }
        }
        Ok(())
    }
}

fn want_the_same(a: &Dnat, b: &Dnat) -> bool {
    a.proto == b.proto
        && a.host == b.host
        && a.target.is_ipv4() == b.target.is_ipv4()
        && a.ports.overlaps(b.ports)
}

/// The first and the last address of a subnet.
fn ends(subnet: IpNet) -> (IpAddr, IpAddr) {
    (subnet.network(), subnet.broadcast())
}

/// What is only in `old` and what is only in `new`; both sorted.
fn difference(old: &[Element], new: &[Element]) -> (Vec<Element>, Vec<Element>) {
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return (removed, added),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.cmp(b),
        };
        if order.is_le() {
            removed.extend(old.next().filter(|_| order.is_lt()));
        }
        if order.is_ge() {
            added.extend(new.next().filter(|_| order.is_gt()));
        }
    }
}
