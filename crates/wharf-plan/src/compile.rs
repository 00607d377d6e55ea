//! The compiler from desired state to plan.

mod local;
mod refuse;
mod steering;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use wharf_spec::{PortRange, Publication, PublicationId, SourceMode, Target, Via};

pub use self::refuse::refuse;
use crate::ebpf::EbpfPlan;
use crate::firewall::{Family, Forwarded, Ruleset, forward_obstacle};
use crate::nft::{AllowList, BridgePolicy, Dnat, LoopbackGuard, NftPlan, OpenPort, SubnetPolicy};
use crate::path::{Path, PathPlan, Plane, PublicationPlan, SourceSeen};
use crate::share::Share;

/// What the ledger asks for.
#[derive(Debug, Clone, Copy)]
pub struct Desired<'a> {
    /// Every publication in force.
    pub publications: &'a [Publication],
    /// Every network, with its name as publications refer to it.
    pub networks: &'a BTreeMap<String, NetworkPolicy>,
}

/// What a network lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// The bridge's interface name.
    pub bridge: String,
    /// The subnets and how each is treated.
    pub subnets: Vec<(IpNet, SubnetMode)>,
    /// Nothing is forwarded in or out.
    pub internal: bool,
    /// Interfaces from which container addresses may be reached directly.
    pub trusted_interfaces: BTreeSet<String>,
    /// It is another engine's, which has rules of its own for it.
    pub foreign: bool,
}

/// A network's gateway mode in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubnetMode {
    /// Host ports are rewritten; container addresses are closed to the outside.
    Nat,
    /// As `Nat`, but container addresses are open.
    NatUnprotected,
    /// No rewriting: published ports are open on the container's own address.
    Routed,
    /// No way out.
    Isolated,
}

/// What the host can do, and what others on it do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// nftables NAT chains can be made.
    pub nft_nat: bool,
    /// IPv4 packets are forwarded.
    pub forwarding_v4: bool,
    /// IPv6 packets are forwarded.
    pub forwarding_v6: bool,
    /// The relay can use clients' addresses towards containers, and their answers come back.
    pub transparent: bool,
    /// Why the eBPF plane cannot be had; `None` when it can.
    pub no_ebpf: Option<String>,
    /// The publications whose range one socket listens for.
    pub steered: BTreeSet<PublicationId>,
    /// The ports that the kernel gives to whoever asks for any (`ip_local_port_range`).
    pub given_out: PortRange,
    /// The firewall rules of others.
    pub firewall: Arc<Ruleset>,
}

/// Everything the planes are to do, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// For the kernel NAT plane.
    pub nft: NftPlan,
    /// For the eBPF plane.
    pub ebpf: EbpfPlan,
    /// For each publication, what `wharf ports` says of it.
    pub publications: BTreeMap<PublicationId, PublicationPlan>,
    /// For each publication, its part in what the kernel planes are to hold.
    pub shares: BTreeMap<PublicationId, Share>,
}

/// Compiles the plan.
pub fn compile(desired: Desired<'_>, facts: &HostFacts) -> Plan {
    let mut plan = Plan::default();
    if facts.nft_nat {
        plan.nft.way_back = facts.transparent;
        let ours = desired.networks.values().filter(|network| !network.foreign);
        plan.nft.bridges = ours.map(bridge_policy).collect();
        let others = desired.networks.values().filter(|network| network.foreign);
        plan.nft.answering = others.map(|network| network.bridge.clone()).collect();
    }
    for publication in desired.publications {
        let (share, served) = compile_one(publication, desired.networks, facts);
        plan.add(share.clone());
        plan.shares.insert(publication.id.clone(), share);
        plan.publications.insert(publication.id.clone(), served);
    }
    plan
}

/// Compiles one publication: what it adds to the kernel planes, and how it is served. The sum over
/// all publications, with the networks' own part, is what [`compile`] gives.
pub fn compile_one(
    publication: &Publication,
    networks: &BTreeMap<String, NetworkPolicy>,
    facts: &HostFacts,
) -> (Share, PublicationPlan) {
    let mut fragment = Share::default();
    let network = network_of(publication, networks);
    let served = Compiler { publication, network, facts }.run(&mut fragment);
    (fragment, served)
}

fn network_of<'a>(
    publication: &Publication,
    networks: &'a BTreeMap<String, NetworkPolicy>,
) -> Option<&'a NetworkPolicy> {
    networks.get(publication.target.network()?)
}

fn bridge_policy(network: &NetworkPolicy) -> BridgePolicy {
    let subnets = network.subnets.iter().map(|(subnet, mode)| SubnetPolicy {
        subnet: *subnet,
        masquerade: matches!(mode, SubnetMode::Nat | SubnetMode::NatUnprotected),
        unprotected: *mode == SubnetMode::NatUnprotected,
        icmp: *mode == SubnetMode::Routed,
    });
    BridgePolicy {
        name: network.bridge.clone(),
        subnets: subnets.collect(),
        internal: network.internal,
        trusted_interfaces: network.trusted_interfaces.clone(),
    }
}

/// Decides for one publication.
#[derive(Clone, Copy)]
struct Compiler<'a> {
    publication: &'a Publication,
    network: Option<&'a NetworkPolicy>,
    facts: &'a HostFacts,
}

// === impl Compiler ===

impl Compiler<'_> {
    fn run(self, share: &mut Share) -> PublicationPlan {
        let mut served = PublicationPlan::default();
        let nft = &mut share.nft;
        if self.is_steered() {
            share.ebpf.steers.extend(self.steers());
            served.steered = true;
        }
        self.open_routed(nft, &mut served);
        self.guard_loopback(nft);
        self.restrict(nft);
        for v4 in [true, false] {
            let obstacle = self.kernel_obstacle(v4);
            if obstacle.is_none() {
                nft.dnat.extend(self.rewrites(v4));
            }
            share.ebpf.connects.extend(self.connects(v4));
            self.describe(v4, obstacle, &mut served);
        }
        local::merge_families(&mut served.paths);
        served
    }

    fn is_internal(self) -> bool {
        match self.network {
            Some(network) => network.internal,
            None => self.publication.target.inside().is_none(),
        }
    }

    fn target(self, v4: bool) -> Option<IpAddr> {
        if self.publication.target.inside().is_some() {
            return Some(own(v4));
        }
        if v4 {
            self.publication.target.ipv4().map(IpAddr::V4)
        } else {
            self.publication.target.ipv6().map(IpAddr::V6)
        }
    }

    fn mode(self, v4: bool) -> Option<SubnetMode> {
        let subnets = &self.network?.subnets;
        subnets.iter().find(|(net, _)| net.addr().is_ipv4() == v4).map(|(_, mode)| *mode)
    }

    fn family_addresses(self, v4: bool) -> impl Iterator<Item = IpAddr> {
        self.publication.host.addresses.iter().copied().filter(move |a| a.is_ipv4() == v4)
    }

    /// Host addresses that packets from other hosts can be addressed to.
    fn external_addresses(self, v4: bool) -> impl Iterator<Item = IpAddr> {
        self.family_addresses(v4)
            .filter(|address| !address.is_loopback() && !is_link_local(*address))
    }

    /// Why the kernel cannot rewrite for this family; `None` when it can.
    fn kernel_obstacle(self, v4: bool) -> Option<String> {
        let options = &self.publication.options;
        let family = name_of(v4);
        let forwarding = if v4 { self.facts.forwarding_v4 } else { self.facts.forwarding_v6 };
        let checks = [
            (options.via == Via::Relay, "asked for the relay (via=relay)".to_owned()),
            (options.via == Via::Ebpf, "asked for eBPF (via=ebpf)".to_owned()),
            (
                options.proxy_protocol.is_some(),
                "only the relay can write a PROXY header".to_owned(),
            ),
            (options.source == SourceMode::Gateway, "asked for source=gateway".to_owned()),
            (!self.facts.nft_nat, "this kernel has no nftables NAT".to_owned()),
            self.beyond_the_kernel(),
            (self.network.is_none_or(|n| n.internal), "the network is internal".to_owned()),
            (self.target(v4).is_none(), format!("the target has no {family} address")),
            (self.rewritable().is_empty(), self.spared().unwrap_or_default()),
            (!forwarding, format!("{family} forwarding is off")),
            self.nothing_external(v4),
            self.swallowed(v4),
        ];
        first_hit(checks)
    }

    /// Targets the kernel plane is not for.
    fn beyond_the_kernel(self) -> (bool, String) {
        match &self.publication.target {
            target if target.inside().is_some() => {
                (true, "sockets are opened inside the target's network namespace".to_owned())
            }
            Target::Address { .. } => {
                (true, "the target's answers may take a way that does not pass here".to_owned())
            }
            Target::Foreign { engine, .. } => {
                (true, format!("{engine} decides what is forwarded to its networks"))
            }
            Target::Namespace { .. } | Target::Container { .. } => (false, String::new()),
        }
    }

    /// What somebody else's rules do to packets that are forwarded to the target, if they do not
    /// let them pass.
    fn swallowed(self, v4: bool) -> (bool, String) {
        let obstacle = self.network.and_then(|network| {
            let family = if v4 { Family::V4 } else { Family::V6 };
            let asked = Forwarded {
                proto: Some(self.publication.proto),
                host_ports: Some(self.publication.host.ports),
                target: self.target(v4),
                target_ports: Some(self.publication.target_ports),
                ..Forwarded::to_bridge(family, &network.bridge)
            };
            forward_obstacle(&self.facts.firewall, asked)
        });
        (obstacle.is_some(), obstacle.map(|it| it.to_string()).unwrap_or_default())
    }

    /// Why the relay cannot use clients' addresses in this family; `None` when it can.
    fn client_obstacle(self, v4: bool) -> Option<String> {
        let checks = [
            self.nothing_external(v4),
            (
                self.publication.options.source == SourceMode::Gateway,
                "asked for source=gateway".to_owned(),
            ),
            (
                matches!(self.publication.target, Target::Address { .. }),
                "the target's answers may take a way that does not pass here".to_owned(),
            ),
            (self.is_internal(), "the network is internal".to_owned()),
            (self.target(v4).is_none(), format!("the target has no {} address", name_of(v4))),
            (
                !self.facts.transparent,
                "this host cannot bring answers to clients' addresses back to the relay".to_owned(),
            ),
        ];
        first_hit(checks)
    }

    fn nothing_external(self, v4: bool) -> (bool, String) {
        let family = name_of(v4);
        let none = self.external_addresses(v4).next().is_none();
        (none, format!("no {family} address that other hosts can reach is published"))
    }

    fn rewrites(self, v4: bool) -> Vec<Dnat> {
        let Some(target) = self.target(v4) else { return Vec::new() };
        let ports = self.rewritable();
        self.external_addresses(v4)
            .map(move |host| Dnat {
                proto: self.publication.proto,
                host: (!host.is_unspecified()).then_some(host),
                ports: self.publication.host.ports,
                target,
                target_ports: self.publication.target_ports,
            })
            .flat_map(|whole| {
                ports.iter().filter_map(|it| steering::part(&whole, *it)).collect::<Vec<_>>()
            })
            .collect()
    }

    fn guard_loopback(self, nft: &mut NftPlan) {
        if !self.facts.nft_nat {
            return;
        }
        let loopback = self.publication.host.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) if v4.is_loopback() => Some(*v4),
            _ => None,
        });
        nft.loopback.extend(loopback.map(|address: Ipv4Addr| LoopbackGuard {
            proto: self.publication.proto,
            address,
            ports: self.publication.host.ports,
        }));
    }

    /// In force on every plane: the relay looks itself, but the kernel turns clients away before
    /// the handshake.
    fn restrict(self, nft: &mut NftPlan) {
        if self.publication.options.allow.is_empty() || !self.facts.nft_nat {
            return;
        }
        nft.allow.extend(self.publication.host.addresses.iter().map(|address| AllowList {
            proto: self.publication.proto,
            host: if address.is_unspecified() { everyone(*address) } else { (*address).into() },
            ports: self.publication.host.ports,
            from: self.allowed(*address),
        }));
    }

    /// The networks of `like`'s family on the allow-list, as few as say the same.
    fn allowed(self, like: IpAddr) -> Vec<IpNet> {
        let same_family = |net: &&IpNet| net.addr().is_ipv4() == like.is_ipv4();
        let allow = &self.publication.options.allow;
        IpNet::aggregate(&allow.iter().filter(same_family).copied().collect())
    }

    /// `None` when nobody of the address's family is on the allow-list.
    fn open_port(self, address: IpAddr) -> Option<OpenPort> {
        let unlimited = self.publication.options.allow.is_empty();
        let from = if unlimited { vec![everyone(address)] } else { self.allowed(address) };
        (!from.is_empty()).then(|| OpenPort {
            proto: self.publication.proto,
            address,
            ports: self.publication.target_ports,
            from,
            publication: self.publication.id.clone(),
        })
    }

    fn open_routed(self, nft: &mut NftPlan, served: &mut PublicationPlan) {
        for v4 in [true, false] {
            if self.mode(v4) != Some(SubnetMode::Routed) {
                continue;
            }
            let Some(address) = self.target(v4) else { continue };
            nft.open.extend(self.open_port(address));
            let path = if v4 { Path::ExternalV4 } else { Path::ExternalV6 };
            let source = SourceSeen::Client;
            served.paths.push(PathPlan { path, plane: Plane::Routed, source, reason: None });
        }
    }

    fn describe(self, v4: bool, obstacle: Option<String>, served: &mut PublicationPlan) {
        let mut add = |path, plane, source, reason: &Option<String>| {
            served.paths.push(PathPlan { path, plane, source, reason: reason.clone() });
        };
        let kernel = obstacle.is_none();
        let plane = if kernel { Plane::Nft } else { Plane::Relay };
        let keeps = self.client_obstacle(v4).is_none();
        served.relay_keeps_clients |= keeps;
        let seen = |kept| if kernel || keeps { kept } else { SourceSeen::Gateway };
        if self.external_addresses(v4).next().is_some() {
            let external = if v4 { Path::ExternalV4 } else { Path::ExternalV6 };
            let spared = self.spared().filter(|_| kernel);
            add(external, plane, seen(SourceSeen::Client), &obstacle.clone().or(spared));
            add(Path::SameBridge, plane, SourceSeen::Gateway, &obstacle);
        }
        self.describe_local(v4, (plane, seen(SourceSeen::Host), obstacle), served);
    }
}

impl Plan {
    /// Puts the entries of `more` to what the kernel planes are to hold.
    pub fn add(&mut self, more: Share) {
        self.nft.add(more.nft);
        self.ebpf.add(more.ebpf);
    }

    /// Takes the entries of `gone` out of what the kernel planes are to hold.
    pub fn subtract(&mut self, gone: &Share) {
        self.nft.subtract(&gone.nft);
        self.ebpf.subtract(&gone.ebpf);
    }
}

fn first_hit<const N: usize>(checks: [(bool, String); N]) -> Option<String> {
    checks.into_iter().find(|(hit, _)| *hit).map(|(_, reason)| reason)
}

/// Every address of `like`'s family.
fn everyone(like: IpAddr) -> IpNet {
    let any = if like.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    IpNet::new_assert(any, 0)
}

/// What a target that is reached from inside has, whatever else it has.
fn own(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn name_of(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
