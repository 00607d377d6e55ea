//! Refusals that come before anything has changed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wharf_plan::ebpf::{Connect, EbpfPlan, Steer};
use wharf_spec::{PortRange, Proto};

use super::Entries;
use crate::error::{Error, Result};
use crate::front::Front;
use crate::layout::ID_LENGTH;

/// Refuses what cannot be done, and what contradicts itself or what stays in force.
pub(crate) fn check(entries: &Entries, removed: &EbpfPlan, added: &EbpfPlan) -> Result<()> {
    added.connects.iter().try_for_each(possible)?;
    added.steers.iter().try_for_each(steerable)?;
    connects_agree(entries, removed, added)?;
    steers_agree(entries, removed, added)
}

fn possible(connect: &Connect) -> Result<()> {
    let target = connect.target;
    let reason = if connect.proto == Proto::Sctp {
        "only tcp and udp can"
    } else if connect.host_address().is_ipv4() != target.is_ipv4() {
        "its address is of the other family"
    } else if connect.ports.count() != connect.target_ports.count() {
        "there are not as many target ports as host ports"
    } else if connect.from.iter().any(|net| net.addr().is_ipv4() != target.is_ipv4()) {
        "a network that may connect is of the other family"
    } else if is_mapped(target) || connect.host.is_some_and(is_mapped) {
        "an IPv4 address must be written as one"
    } else if !is_id(&connect.publication.0) {
        "its identity has no place in a map (1 to 64 bytes)"
    } else {
        return Ok(());
    };
    Err(Error::Impossible { entry: Box::new(connect.clone()), reason })
}

fn steerable(steer: &Steer) -> Result<()> {
    let reason = if steer.proto == Proto::Sctp {
        "only tcp and udp can"
    } else if is_mapped(steer.host) {
        "an IPv4 address must be written as one"
    } else if !is_id(&steer.publication.0) {
        "its identity has no place in a map (1 to 64 bytes)"
    } else {
        return Ok(());
    };
    Err(Error::Unsteerable { entry: Box::new(steer.clone()), reason })
}

fn is_id(text: &str) -> bool {
    (1..=ID_LENGTH).contains(&text.len()) && !text.contains('\0')
}

fn is_mapped(address: IpAddr) -> bool {
    address != address.to_canonical()
}

fn connects_agree(entries: &Entries, removed: &EbpfPlan, added: &EbpfPlan) -> Result<()> {
    let refused = |one: &Connect, other: &Connect| Error::Conflict {
        one: Box::new(one.clone()),
        other: other.target,
    };
    let mut taken: BTreeMap<Front, &Connect> = BTreeMap::new();
    for connect in &added.connects {
        let front = Front::of_connect(connect);
        let stay = near(entries.connects(), &front).map(|led| &led.connect);
        let stay = stay.filter(|it| *it != connect && !removed.connects.contains(it));
        let come = near(&taken, &front).copied();
        if let Some(other) = stay.chain(come).next() {
            return Err(refused(connect, other));
        }
        taken.insert(front, connect);
    }
    Ok(())
}

fn steers_agree(entries: &Entries, removed: &EbpfPlan, added: &EbpfPlan) -> Result<()> {
    let mut taken: BTreeMap<Front, &Steer> = BTreeMap::new();
    for steer in &added.steers {
        let front = Front::of_steer(steer);
        let stay = near(entries.steers(), &front).map(|floored| &floored.steer);
        let mut stay = stay.filter(|it| *it != steer && !removed.steers.contains(it));
        if stay.next().is_some() || near(&taken, &front).next().is_some() {
            let reason = "some of these ports are steered for another publication";
            return Err(Error::Unsteerable { entry: Box::new(steer.clone()), reason });
        }
        taken.insert(front, steer);
    }
    Ok(())
}

/// The entries that have ports in common with `front`, of a map in which no two have.
fn near<'a, T>(
    map: &'a BTreeMap<Front, T>,
    front: &Front,
) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let (front, ports) = (*front, front.ports);
    let lowest = Front { ports: PortRange::single(ports.first()), ..front };
    let highest = PortRange::new(ports.last(), u16::MAX).unwrap_or(ports);
    let highest = Front { ports: highest, ..front };
    // Of those that begin before, only the last can reach in.
    let before = map.range(..lowest).next_back();
    let inside = map.range(lowest..=highest);
    let found = before.into_iter().chain(inside).filter(move |(other, _)| other.overlaps(&front));
    found.map(|(_, entry)| entry)
}
