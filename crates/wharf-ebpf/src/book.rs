//! What the maps hold, by entries of a plan, and how to get from one plan to the next.
//!
//! A change writes in such an order that a client meets the old target or the new one and nothing
//! in between: what an entry needs is there before it is pointed to, and goes after it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use wharf_plan::ebpf::{Connect, EbpfPlan, Steer};

use crate::accounts::Accounts;
use crate::decode::{Floored, Leading, Led, connects, steers};
use crate::error::{Error, Result};
use crate::front::Front;
use crate::layout::{
    FLOORS_LIMIT, FloorBytes, Prefix, Scope, Target, TargetBytes, allowed_prefix, floor,
    spot_prefixes,
};
use crate::mirror::Mirror;
use crate::numbers::Numbers;

mod check;

pub(crate) use self::check::check;

/// The maps that a plan fills, and the entries they are.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) published: Mirror<Prefix, u32>,
    pub(crate) targets: Mirror<u32, TargetBytes>,
    pub(crate) allowed: Mirror<Prefix, u32>,
    pub(crate) steered: Mirror<Prefix, u32>,
    pub(crate) floors: Mirror<u32, FloorBytes>,
    pub(crate) accounts: Accounts,
    pub(crate) entries: Entries,
}

/// Entries by their host sides, and the numbers they have in the maps.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    connects: BTreeMap<Front, Led>,
    steers: BTreeMap<Front, Floored>,
    slots: Numbers,
    lists: Numbers,
    floors: Numbers,
}

// === impl Book ===

impl Book {
    /// What is in force, as far as is known without asking.
    pub(crate) fn plan(&self) -> EbpfPlan {
        self.entries.plan()
    }

    /// Whether there are steered ranges.
    pub(crate) fn steers(&self) -> bool {
        !self.entries.steers.is_empty()
    }

    /// Whether there is anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.connects.is_empty() && self.entries.steers.is_empty()
    }

    /// What the kernel holds.
    pub(crate) fn read(&self) -> Result<EbpfPlan> {
        let (published, targets) = (self.published.read()?, self.targets.read()?);
        let (allowed, accounts) = (self.allowed.read()?, self.accounts.read()?);
        let maps = Leading {
            published: &published,
            targets: &targets,
            allowed: &allowed,
            accounts: &accounts,
        };
        let steers = steers(&self.steered.read()?, &self.floors.read()?);
        Ok(Entries { connects: connects(&maps), steers, ..Entries::default() }.plan())
    }

    /// Takes what the kernel holds for what is in force.
    pub(crate) fn reload(&mut self) -> Result<()> {
        self.published.reload()?;
        self.targets.reload()?;
        self.allowed.reload()?;
        self.steered.reload()?;
        self.floors.reload()?;
        self.accounts.reload()?;
        let maps = Leading {
            published: self.published.held(),
            targets: self.targets.held(),
            allowed: self.allowed.held(),
            accounts: &self.accounts.read()?,
        };
        self.entries = Entries {
            connects: connects(&maps),
            steers: steers(self.steered.held(), self.floors.held()),
            // Those of entries that are not whole are taken, too, until they are tidied away.
            slots: self
                .targets
                .held()
                .keys()
                .chain(self.published.held().values())
                .copied()
                .collect(),
            lists: self.allowed.held().values().copied().collect(),
            floors: self
                .floors
                .held()
                .keys()
                .chain(self.steered.held().values())
                .copied()
                .collect(),
        };
        self.entries.connects.values().for_each(|led| self.accounts.hold(led.account));
        Ok(())
    }

    /// Goes from what is in force to what is without `removed` and with `added`. What is to go and
    /// is not there, or is to come and is there, is passed over.
    pub(crate) fn enact(&mut self, removed: &EbpfPlan, added: &EbpfPlan) -> Result<()> {
        added.connects.iter().try_for_each(|connect| self.lead(connect))?;
        added.steers.iter().try_for_each(|steer| self.steer(steer))?;
        let kept: BTreeSet<Front> = added.connects.iter().map(Front::of_connect).collect();
        let gone = removed.connects.iter().filter(|it| !kept.contains(&Front::of_connect(it)));
        gone.into_iter().try_for_each(|connect| self.stop_leading(connect))?;
        let kept: BTreeSet<Front> = added.steers.iter().map(Front::of_steer).collect();
        let gone = removed.steers.iter().filter(|it| !kept.contains(&Front::of_steer(it)));
        gone.into_iter().try_for_each(|steer| self.stop_steering(steer))?;
        self.accounts.sweep()
    }

    /// Removes what belongs to no entry that is whole.
    pub(crate) fn tidy(&mut self) -> Result<()> {
        let connects = &self.entries.connects;
        let keys = connects.iter().flat_map(|(front, led)| {
            spot_prefixes(front, Scope::Address).into_iter().map(|key| (key, led.slot))
        });
        retain(&mut self.published, &keys.collect())?;
        let slots: BTreeSet<u32> = connects.values().map(|led| led.slot).collect();
        remove_others(&mut self.targets, |slot, _| slots.contains(slot))?;
        self.entries.slots.keep(&slots);
        let lists: BTreeSet<u32> = connects.values().map(|led| led.list).collect();
        remove_others(&mut self.allowed, |_, list| lists.contains(list))?;
        self.entries.lists.keep(&lists);
        self.tidy_steers()
    }

    fn tidy_steers(&mut self) -> Result<()> {
        let steers = &self.entries.steers;
        let mut keys = BTreeMap::new();
        for (front, floored) in steers {
            keys.extend(any_keys(front).into_iter().map(|key| (key, 0)));
            let exact = spot_prefixes(front, Scope::Address);
            keys.extend(exact.into_iter().map(|key| (key, floored.slot)));
        }
        retain(&mut self.steered, &keys)?;
        let slots: BTreeSet<u32> = steers.values().map(|floored| floored.slot).collect();
        remove_others(&mut self.floors, |slot, _| slots.contains(slot))?;
        self.entries.floors.keep(&slots);
        Ok(())
    }

    /// The slot of a steered range.
    pub(crate) fn floor_of(&self, steer: &Steer) -> Option<u32> {
        let floored = self.entries.steers.get(&Front::of_steer(steer))?;
        (floored.steer == *steer).then_some(floored.slot)
    }

    /// Says how many sockets serve a steered range.
    pub(crate) fn set_floor(&mut self, steer: &Steer, slot: u32, count: u32) -> Result<()> {
        self.floors.put(slot, floor(count, &steer.publication.0))
    }

    fn lead(&mut self, connect: &Connect) -> Result<()> {
        let front = Front::of_connect(connect);
        let old = self.entries.connects.get(&front).cloned();
        if old.as_ref().is_some_and(|led| led.connect == *connect) {
            return Ok(());
        }
        let account = self.accounts.open(&connect.publication)?;
        let slot = old.as_ref().map_or_else(|| self.entries.slots.take(), |led| led.slot);
        let list = self.list_for(connect, old.as_ref())?;
        self.targets.put(slot, target_of(connect, account, list).encode())?;
        for key in spot_prefixes(&front, Scope::Address) {
            self.published.put(key, slot)?;
        }
        self.accounts.hold(account);
        let led = Led { slot, list, account, connect: connect.clone() };
        self.entries.connects.insert(front, led);
        match old {
            Some(old) => self.close(&old, list),
            None => Ok(()),
        }
    }

    /// A list that says who may, filled; the one there was, if it says the same.
    fn list_for(&mut self, connect: &Connect, old: Option<&Led>) -> Result<u32> {
        if connect.from.is_empty() {
            return Ok(0);
        }
        let same = |led: &&Led| led.connect.from == connect.from;
        if let Some(led) = old.filter(same) {
            return Ok(led.list);
        }
        let list = self.entries.lists.take();
        connect
            .from
            .iter()
            .try_for_each(|net| self.allowed.put(allowed_prefix(list, *net), list))?;
        Ok(list)
    }

    /// Lets go of what only `old` needed; `list` is the one in use now.
    fn close(&mut self, old: &Led, list: u32) -> Result<()> {
        self.accounts.release(old.account);
        if old.list != 0 && old.list != list {
            let key = |net: &IpNet| allowed_prefix(old.list, *net);
            old.connect.from.iter().try_for_each(|net| self.allowed.remove(&key(net)))?;
            self.entries.lists.give_back(old.list);
        }
        Ok(())
    }

    fn stop_leading(&mut self, connect: &Connect) -> Result<()> {
        let front = Front::of_connect(connect);
        let same = |led: &&Led| led.connect == *connect;
        let Some(led) = self.entries.connects.get(&front).filter(same).cloned() else {
            return Ok(());
        };
        for key in spot_prefixes(&front, Scope::Address) {
            // Another entry may have taken over some of the ports.
            if self.published.get(&key) == Some(&led.slot) {
                self.published.remove(&key)?;
            }
        }
        self.targets.remove(&led.slot)?;
        self.entries.connects.remove(&front);
        self.entries.slots.give_back(led.slot);
        self.close(&led, 0)
    }

    fn steer(&mut self, steer: &Steer) -> Result<()> {
        let front = Front::of_steer(steer);
        let old = self.entries.steers.get(&front).cloned();
        if old.as_ref().is_some_and(|floored| floored.steer == *steer) {
            return Ok(());
        }
        let slot = match old {
            // The sockets stay, for another publication.
            Some(old) => old.slot,
            None => self.entries.floors.take_lowest(),
        };
        if slot >= FLOORS_LIMIT {
            self.entries.floors.give_back(slot);
            return Err(Error::Full { map: "floors", limit: FLOORS_LIMIT });
        }
        let count = self.floors.get(&slot).map_or(0, |bytes| crate::layout::read_floor(bytes).0);
        self.floors.put(slot, floor(count, &steer.publication.0))?;
        any_keys(&front).into_iter().try_for_each(|key| self.steered.put(key, 0))?;
        let exact = spot_prefixes(&front, Scope::Address);
        exact.into_iter().try_for_each(|key| self.steered.put(key, slot))?;
        self.entries.steers.insert(front, Floored { slot, steer: steer.clone() });
        Ok(())
    }

    fn stop_steering(&mut self, steer: &Steer) -> Result<()> {
        let front = Front::of_steer(steer);
        let same = |floored: &&Floored| floored.steer == *steer;
        let Some(floored) = self.entries.steers.get(&front).filter(same).cloned() else {
            return Ok(());
        };
        for key in spot_prefixes(&front, Scope::Address) {
            if self.steered.get(&key) == Some(&floored.slot) {
                self.steered.remove(&key)?;
            }
        }
        self.entries.steers.remove(&front);
        let others = self.entries.steers.keys().flat_map(any_keys).collect::<BTreeSet<_>>();
        let alone = any_keys(&front).into_iter().filter(|key| !others.contains(key));
        alone.into_iter().try_for_each(|key| self.steered.remove(&key))?;
        self.floors.remove(&floored.slot)?;
        self.entries.floors.give_back(floored.slot);
        Ok(())
    }
}

fn target_of(connect: &Connect, account: u32, list: u32) -> Target {
    Target {
        address: connect.target,
        account,
        list,
        first_host: connect.ports.first(),
        first_target: connect.target_ports.first(),
        keeps_host: connect.keeps_host,
    }
}

/// The keys by which a range is found whatever its address.
fn any_keys(front: &Front) -> Vec<Prefix> {
    let wildcard = match front.address.to_ipv4_mapped() {
        Some(_) => std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(),
        None => std::net::Ipv6Addr::UNSPECIFIED,
    };
    spot_prefixes(&Front { address: wildcard, ..*front }, Scope::Any)
}

/// Removes every key that is not in `wanted` with this very value.
fn retain(mirror: &mut Mirror<Prefix, u32>, wanted: &BTreeMap<Prefix, u32>) -> Result<()> {
    remove_others(mirror, |key, value| wanted.get(key) == Some(value))
}

fn remove_others<K: Ord + Clone, V: PartialEq + Clone>(
    mirror: &mut Mirror<K, V>,
    wanted: impl Fn(&K, &V) -> bool,
) -> Result<()> {
    let others = mirror.held().iter().filter(|(key, value)| !wanted(key, value));
    let others: Vec<K> = others.map(|(key, _)| key.clone()).collect();
    others.iter().try_for_each(|key| mirror.remove(key))
}

// === impl Entries ===

impl Entries {
    pub(crate) fn connects(&self) -> &BTreeMap<Front, Led> {
        &self.connects
    }

    pub(crate) fn steers(&self) -> &BTreeMap<Front, Floored> {
        &self.steers
    }

    fn plan(&self) -> EbpfPlan {
        EbpfPlan {
            connects: self.connects.values().map(|led| led.connect.clone()).collect(),
            steers: self.steers.values().map(|floored| floored.steer.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
