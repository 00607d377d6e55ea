//! What the maps say, as entries of a plan. Only what is whole counts: a process may have been
//! killed between two writes.

use std::collections::BTreeMap;

use ipnet::IpNet;
use wharf_plan::ebpf::{Connect, Steer};
use wharf_spec::{PortRange, Proto, PublicationId};

use std::net::{IpAddr, Ipv6Addr};

use crate::front::{Front, PortPrefix, range};
use crate::layout::{
    Account, FloorBytes, Prefix, Scope, Target, TargetBytes, read_allowed_prefix, read_floor,
    read_spot_prefix, scope_of,
};

/// An entry and where it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Led {
    pub(crate) slot: u32,
    pub(crate) list: u32,
    pub(crate) account: u32,
    pub(crate) connect: Connect,
}

/// A steered range and where it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Floored {
    pub(crate) slot: u32,
    pub(crate) steer: Steer,
}

/// The contents of the maps that say who is led where.
#[derive(Debug)]
pub(crate) struct Leading<'a> {
    pub(crate) published: &'a BTreeMap<Prefix, u32>,
    pub(crate) targets: &'a BTreeMap<u32, TargetBytes>,
    pub(crate) allowed: &'a BTreeMap<Prefix, u32>,
    pub(crate) accounts: &'a BTreeMap<u32, Account>,
}

/// Every entry that is whole, by its host side.
pub(crate) fn connects(maps: &Leading<'_>) -> BTreeMap<Front, Led> {
    let lists = lists(maps.allowed);
    let led = fronts(maps.published, Scope::Address).into_iter().filter_map(|(slot, front)| {
        let target = Target::decode(maps.targets.get(&slot)?);
        let account = maps.accounts.get(&target.account)?;
        let from = match target.list {
            0 => Vec::new(),
            list => lists.get(&list)?.clone(),
        };
        let connect = Connect {
            publication: PublicationId(account.id.clone()),
            proto: front.proto,
            host: host_of(front.address),
            ports: front.ports,
            target: target.address,
            target_ports: target_ports(&front, &target)?,
            from,
            keeps_host: target.keeps_host,
        };
        Some((front, Led { slot, list: target.list, account: target.account, connect }))
    });
    led.collect()
}

/// Every steered range that is whole, by its host side.
pub(crate) fn steers(
    steered: &BTreeMap<Prefix, u32>,
    floors: &BTreeMap<u32, FloorBytes>,
) -> BTreeMap<Front, Floored> {
    let floored = fronts(steered, Scope::Address).into_iter().filter_map(|(slot, front)| {
        let (_, id) = read_floor(floors.get(&slot)?);
        let steer = Steer {
            publication: PublicationId(id),
            proto: front.proto,
            host: IpAddr::from(front.address).to_canonical(),
            ports: front.ports,
        };
        Some((front, Floored { slot, steer }))
    });
    floored.collect()
}

/// The host side of each slot that has the prefixes of exactly one.
fn fronts(keys: &BTreeMap<Prefix, u32>, scope: Scope) -> Vec<(u32, Front)> {
    let mut slots: BTreeMap<u32, Vec<(Ipv6Addr, Proto, PortPrefix)>> = BTreeMap::new();
    for (key, slot) in keys.iter().filter(|(key, _)| scope_of(&key.1) == scope.number()) {
        slots.entry(*slot).or_default().extend(read_spot_prefix(key));
    }
    slots.into_iter().filter_map(|(slot, found)| Some((slot, front_of(&found)?))).collect()
}

fn front_of(found: &[(Ipv6Addr, Proto, PortPrefix)]) -> Option<Front> {
    let (address, proto, _) = *found.first()?;
    let same = |it: &(Ipv6Addr, Proto, PortPrefix)| (it.0, it.1) == (address, proto);
    let ports = range(found.iter().map(|(.., piece)| *piece).collect())?;
    found.iter().all(same).then_some(Front { proto, address, ports })
}

fn lists(allowed: &BTreeMap<Prefix, u32>) -> BTreeMap<u32, Vec<IpNet>> {
    let mut lists: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
    for (list, net) in allowed.keys().filter_map(read_allowed_prefix) {
        lists.entry(list).or_default().push(net);
    }
    lists.values_mut().for_each(|nets| nets.sort_unstable());
    lists
}

fn host_of(address: Ipv6Addr) -> Option<IpAddr> {
    Some(IpAddr::from(address).to_canonical()).filter(|address| !address.is_unspecified())
}

fn target_ports(front: &Front, target: &Target) -> Option<PortRange> {
    let more = front.ports.last() - front.ports.first();
    let first = (target.first_host == front.ports.first()).then_some(target.first_target)?;
    PortRange::new(first, first.checked_add(more)?)
}
