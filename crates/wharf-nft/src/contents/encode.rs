//! Entries of a plan as elements of sets.

use std::net::IpAddr;

use ipnet::IpNet;
use wharf_host::nftables::{Datum, Element, IpFamily, Set};
use wharf_plan::nft::{AllowList, BridgePolicy, Dnat, LoopbackGuard, NftPlan, SubnetPolicy};
use wharf_spec::{PortRange, Proto};

use crate::table::{self, ANSWERING, BRIDGES, INTERNAL, LOOPBACK, LOOPBACK_RANGES, PASSAGES};
use crate::{Error, Result};

/// Collects elements, each with its set. Open ports are not among them: what they come to depends
/// on all of them, see [`super::open`].
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub(super) elements: Vec<(&'static Set, Element)>,
}

// === impl Encoder ===

impl Encoder {
    pub(super) fn plan(&mut self, plan: &NftPlan) -> Result<()> {
        plan.bridges.iter().try_for_each(|bridge| self.bridge(bridge))?;
        for interface in &plan.answering {
            self.add(&ANSWERING, Element::of(Datum::new().interface(interface)?));
        }
        self.entries(plan)
    }

    /// Everything that belongs to a publication and not to a network.
    pub(super) fn entries(&mut self, plan: &NftPlan) -> Result<()> {
        plan.loopback.iter().for_each(|guard| self.loopback(guard));
        plan.allow.iter().for_each(|list| self.allow(list));
        plan.dnat.iter().try_for_each(|entry| self.dnat(entry))
    }

    pub(super) fn dnat(&mut self, entry: &Dnat) -> Result<()> {
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

    fn add(&mut self, set: &'static Set, element: Element) {
        self.elements.push((set, element));
    }

    fn bridge(&mut self, bridge: &BridgePolicy) -> Result<()> {
        let name = Datum::new().interface(&bridge.name)?;
        self.add(&BRIDGES, Element::of(name));
        self.add(&ANSWERING, Element::of(name));
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

    fn loopback(&mut self, guard: &LoopbackGuard) {
        let address = IpNet::from(IpAddr::V4(guard.address));
        let (first, last) = of_ports(address, guard.proto, guard.ports);
        if guard.ports.is_single() {
            self.add(&LOOPBACK, Element::of(first));
        } else {
            self.add(&LOOPBACK_RANGES, Element::range(first, last));
        }
    }

    fn allow(&mut self, list: &AllowList) {
        let sets = table::family(IpFamily::of(list.host.addr()));
        let (first, last) = of_ports(list.host, list.proto, list.ports);
        self.add(&sets.restricted, Element::range(first, last));
        self.elements.extend(clients(&sets.allowed, (first, last), &list.from));
    }
}

/// The first and the last key of ports on the addresses of a network.
pub(super) fn of_ports(addresses: IpNet, proto: Proto, ports: PortRange) -> (Datum, Datum) {
    let (first, last) = ends(addresses);
    let key = |port, address| Datum::new().port(port).proto(proto.number()).address(address);
    (key(ports.first(), first), key(ports.last(), last))
}

/// The same keys for clients of each network.
pub(super) fn clients(
    set: &'static Set,
    (first, last): (Datum, Datum),
    from: &[IpNet],
) -> impl Iterator<Item = (&'static Set, Element)> {
    from.iter().map(move |net| {
        let ends = ends(*net);
        (set, Element::range(first.address(ends.0), last.address(ends.1)))
    })
}

/// The first and the last address of a subnet.
fn ends(subnet: IpNet) -> (IpAddr, IpAddr) {
    (subnet.network(), subnet.broadcast())
}
