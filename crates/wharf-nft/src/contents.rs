//! What the sets are to hold: a plan, as elements.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use wharf_host::nftables::{Datum, Element, IpFamily, Set};
use wharf_plan::nft::{Dnat, NftPlan};

use self::encode::Encoder;
use self::open::OpenPorts;
use crate::table::SETS;
use crate::{Error, Result};

mod delta;
mod encode;
mod open;
#[cfg(test)]
mod tests;

/// The elements of every set, each key once; and the one rule that not every table has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) way_back: bool,
    sets: BTreeMap<&'static str, BTreeMap<Datum, Value>>,
    open: OpenPorts,
}

/// What a set has for a key: two elements that begin with the same key would overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    end: Option<Datum>,
    data: Option<Datum>,
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
        let mut encoder = Encoder::default();
        encoder.plan(plan)?;
        contents.open = OpenPorts::of(plan);
        encoder.elements.extend(contents.open.elements());
        for (set, element) in encoder.elements {
            if let Some(present) = contents.put(set, element) {
                return Err(contradiction(plan, set, element, present));
            }
        }
        Ok(contents)
    }

    /// What was read back from the kernel.
    pub(crate) fn read(elements: BTreeMap<&'static str, Vec<Element>>) -> Self {
        let keyed = |elements: Vec<Element>| elements.into_iter().map(Value::of).collect();
        let sets = elements.into_iter().map(|(set, elements)| (set, keyed(elements))).collect();
        Self { sets, ..Self::default() }
    }

    /// How many elements there are in all sets.
    pub(crate) fn len(&self) -> usize {
        self.sets.values().map(BTreeMap::len).sum()
    }

    /// Every set with its elements, in order.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (&'static Set, impl Iterator<Item = Element>)> {
        SETS.iter().map(|set| (*set, self.in_set(set)))
    }

    /// What has to change for `self` to become `wanted`; sets that stay are left out.
    pub(crate) fn changes_to(&self, wanted: &Self) -> Vec<Change> {
        let change = |set: &&'static Set| {
            let (removed, added) = difference(self.in_set(set), wanted.in_set(set));
            Change { set, removed, added }
        };
        SETS.iter().map(change).filter(|change| !change.is_empty()).collect()
    }

    fn in_set(&self, set: &Set) -> impl Iterator<Item = Element> {
        let elements = self.sets.get(set.name).into_iter().flatten();
        elements.map(|(key, value)| value.at(*key))
    }

    fn get(&self, set: &Set, key: Datum) -> Option<Element> {
        Some(self.sets.get(set.name)?.get(&key)?.at(key))
    }

    /// Gives back what was there before, if it was something else.
    fn put(&mut self, set: &Set, element: Element) -> Option<Element> {
        let (key, value) = Value::of(element);
        let before = self.sets.entry(set.name).or_default().insert(key, value)?;
        (before != value).then(|| before.at(key))
    }

    fn take(&mut self, set: &Set, key: Datum) {
        let Some(elements) = self.sets.get_mut(set.name) else { return };
        elements.remove(&key);
        if elements.is_empty() {
            self.sets.remove(set.name);
        }
    }
}

/// Two elements with one key would be refused by the kernel without saying whose they are.
fn contradiction(plan: &NftPlan, set: &'static Set, element: Element, present: Element) -> Error {
    let wants_it = |entry: &&Dnat| {
        let mut encoder = Encoder::default();
        encoder.dnat(entry).is_ok()
            && encoder.elements.iter().any(|(its, e)| its.name == set.name && e.key == element.key)
    };
    let mut entries = plan.dnat.iter().filter(wants_it);
    match (entries.next(), entries.next()) {
        (Some(one), Some(other)) => conflict(one, one.target, other.target),
        (Some(one), None) => match target(set, present) {
            Some(present) => conflict(one, present, one.target),
            None => Error::Overlap { set: set.name },
        },
        _ => Error::Overlap { set: set.name },
    }
}

fn conflict(entry: &Dnat, one: IpAddr, other: IpAddr) -> Error {
    Error::Conflict { ports: entry.ports, proto: entry.proto, one, other }
}

/// Where an element of a rewriting map leads to.
fn target(set: &Set, element: Element) -> Option<IpAddr> {
    let family = [IpFamily::V4, IpFamily::V6].into_iter().find(|ip| {
        let sets = crate::table::family(*ip);
        let maps = [&sets.ports, &sets.port_ranges, &sets.address_ports, &sets.address_port_ranges];
        maps.iter().any(|map| map.name == set.name)
    })?;
    element.data?.leading_address(family)
}

/// What is only in `old` and what is only in `new`; both in order.
fn difference(
    old: impl Iterator<Item = Element>,
    new: impl Iterator<Item = Element>,
) -> (Vec<Element>, Vec<Element>) {
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (old.peekable(), new.peekable());
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

// === impl Value ===

impl Value {
    fn of(element: Element) -> (Datum, Self) {
        (element.key, Self { end: element.end, data: element.data })
    }

    fn at(self, key: Datum) -> Element {
        Element { key, end: self.end, data: self.data }
    }
}

// === impl Change ===

impl Change {
    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}
