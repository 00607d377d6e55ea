//! The shape of the table: its sets, chains and rules, the same for every plan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use wharf_host::nftables::FieldType::Ipv6Addr as V6Addr;
use wharf_host::nftables::FieldType::{IfName, InetProto, InetService, Ipv4Addr as V4Addr};
use wharf_host::nftables::IpFamily::{self, V4, V6};
use wharf_host::nftables::Verdict::{Accept, Drop, Jump, Return};
use wharf_host::nftables::{
    BaseHook, Chain, ChainKind, FieldType, HookPoint, Load, Policy, Rule, Set,
};
use wharf_host::transparent::MARK;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

// Priorities by the names `nft` gives them.
const RAW: i32 = -300;
const MANGLE: i32 = -150;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// Others mark packets at `mangle`, perhaps with what they had noted of the flow, over what was
/// there before; and routing comes right after the NAT chains.
const BEHIND_OTHERS_WHO_MARK: i32 = MANGLE + 1;

/// The bridges of our networks.
pub(crate) const BRIDGES: Set = set("bridges", &[IfName]);
/// Those of them nothing may be forwarded in or out of.
pub(crate) const INTERNAL: Set = set("internal", &[IfName]);
/// The bridges of our networks, and of others', whose containers the relay may ask with a client's
/// address.
pub(crate) const ANSWERING: Set = set("answering", &[IfName]);
/// Pairs of interfaces, in and out, between which everything may pass.
pub(crate) const PASSAGES: Set = set("passages", &[IfName, IfName]);
/// Loopback addresses and ports that only `lo` may reach.
pub(crate) const LOOPBACK: Set = set("loopback", &[InetService, InetProto, V4Addr]);
/// The same for ranges of ports.
pub(crate) const LOOPBACK_RANGES: Set =
    ranges("loopback_ranges", &[InetService, InetProto, V4Addr], &[]);

/// A family's sets.
#[derive(Debug)]
pub(crate) struct FamilySets {
    /// Ports of every address of the host: `proto . port → address . port`.
    pub(crate) ports: Set,
    /// Ranges that keep their numbers: `proto . first-last → address`.
    pub(crate) port_ranges: Set,
    /// Ports of one address of the host: `address . proto . port → address . port`.
    pub(crate) address_ports: Set,
    /// Ranges of one address that keep their numbers.
    pub(crate) address_port_ranges: Set,
    /// A network's own subnet and bridge: `first-last . bridge`.
    pub(crate) hairpin: Set,
    /// Subnets that get the address of the interface they leave by.
    pub(crate) masquerade: Set,
    /// Subnets open on every port.
    pub(crate) unprotected: Set,
    /// Ports that not everyone may reach: `first-last . proto . addresses`.
    pub(crate) restricted: Set,
    /// Who may reach them: `first-last . proto . addresses . clients`.
    pub(crate) allowed: Set,
    /// Container ports and who may reach them: `first-last . proto . address . clients`.
    pub(crate) open: Set,
    /// Subnets open to ICMP.
    pub(crate) icmp: Set,
}

static SETS4: FamilySets = FamilySets {
    ports: map("ports4", &[InetProto, InetService], &[V4Addr, InetService]),
    port_ranges: ranges("port_ranges4", &[InetProto, InetService], &[V4Addr]),
    address_ports: map("address_ports4", &[V4Addr, InetProto, InetService], &[V4Addr, InetService]),
    address_port_ranges: ranges(
        "address_port_ranges4",
        &[V4Addr, InetProto, InetService],
        &[V4Addr],
    ),
    hairpin: ranges("hairpin4", &[V4Addr, IfName], &[]),
    masquerade: ranges("masquerade4", &[V4Addr], &[]),
    unprotected: ranges("unprotected4", &[V4Addr], &[]),
    restricted: ranges("restricted4", &[InetService, InetProto, V4Addr], &[]),
    allowed: ranges("allowed4", &[InetService, InetProto, V4Addr, V4Addr], &[]),
    open: ranges("open4", &[InetService, InetProto, V4Addr, V4Addr], &[]),
    icmp: ranges("icmp4", &[V4Addr], &[]),
};

static SETS6: FamilySets = FamilySets {
    ports: map("ports6", &[InetProto, InetService], &[V6Addr, InetService]),
    port_ranges: ranges("port_ranges6", &[InetProto, InetService], &[V6Addr]),
    address_ports: map("address_ports6", &[V6Addr, InetProto, InetService], &[V6Addr, InetService]),
    address_port_ranges: ranges(
        "address_port_ranges6",
        &[V6Addr, InetProto, InetService],
        &[V6Addr],
    ),
    hairpin: ranges("hairpin6", &[V6Addr, IfName], &[]),
    masquerade: ranges("masquerade6", &[V6Addr], &[]),
    unprotected: ranges("unprotected6", &[V6Addr], &[]),
    restricted: ranges("restricted6", &[InetService, InetProto, V6Addr], &[]),
    allowed: ranges("allowed6", &[InetService, InetProto, V6Addr, V6Addr], &[]),
    open: ranges("open6", &[InetService, InetProto, V6Addr, V6Addr], &[]),
    icmp: ranges("icmp6", &[V6Addr], &[]),
};

/// Every set of the table, in the order they are made and listed.
pub(crate) static SETS: [&Set; 28] = [
    &SETS4.ports,
    &SETS4.port_ranges,
    &SETS4.address_ports,
    &SETS4.address_port_ranges,
    &SETS6.ports,
    &SETS6.port_ranges,
    &SETS6.address_ports,
    &SETS6.address_port_ranges,
    &BRIDGES,
    &INTERNAL,
    &ANSWERING,
    &PASSAGES,
    &SETS4.hairpin,
    &SETS6.hairpin,
    &SETS4.masquerade,
    &SETS6.masquerade,
    &SETS4.unprotected,
    &SETS6.unprotected,
    &SETS4.open,
    &SETS6.open,
    &SETS4.icmp,
    &SETS6.icmp,
    &LOOPBACK,
    &LOOPBACK_RANGES,
    &SETS4.restricted,
    &SETS6.restricted,
    &SETS4.allowed,
    &SETS6.allowed,
];

const PUBLISH: Chain = Chain { name: "publish", base: None };
const GUARD: Chain = base("guard", ChainKind::Filter, HookPoint::Prerouting, RAW);
const ARRIVING: Chain = base("arriving", ChainKind::Filter, HookPoint::Prerouting, MANGLE);
const ASKING: Chain = base("asking", ChainKind::Filter, HookPoint::Output, MANGLE);
const WAY_BACK: Chain =
    base("way_back", ChainKind::Filter, HookPoint::Prerouting, BEHIND_OTHERS_WHO_MARK);
const PREROUTING: Chain = base("prerouting", ChainKind::Nat, HookPoint::Prerouting, DSTNAT);
const OUTPUT: Chain = base("output", ChainKind::Nat, HookPoint::Output, DSTNAT);
const FORWARD: Chain = base("forward", ChainKind::Filter, HookPoint::Forward, FILTER);
const POSTROUTING: Chain = base("postrouting", ChainKind::Nat, HookPoint::Postrouting, SRCNAT);

type Rules = fn() -> Vec<Rule>;

/// Every chain of the table with what makes its rules.
static CHAINS: [(Chain, Rules); 9] = [
    (PUBLISH, publish),
    (GUARD, guard),
    (ARRIVING, arriving),
    (ASKING, asking),
    (WAY_BACK, way_back),
    (PREROUTING, prerouting),
    (OUTPUT, output),
    (FORWARD, forward),
    (POSTROUTING, postrouting),
];

/// Every chain of the table with its rules. Without a way back its chain is empty: not every
/// kernel can find out what socket a packet is for.
pub(crate) fn chains(with_way_back: bool) -> impl Iterator<Item = (&'static Chain, Vec<Rule>)> {
    CHAINS.iter().map(move |(chain, rules)| {
        let empty = *chain == WAY_BACK && !with_way_back;
        (chain, if empty { Vec::new() } else { rules() })
    })
}

/// Whether a chain of this name belongs to the table.
pub(crate) fn has_chain(name: &str) -> bool {
    CHAINS.iter().any(|(chain, _)| chain.name == name)
}

/// The sets of one family.
pub(crate) fn family(family: IpFamily) -> &'static FamilySets {
    match family {
        V4 => &SETS4,
        V6 => &SETS6,
    }
}

const fn set(name: &'static str, key: &'static [FieldType]) -> Set {
    Set { name, key, data: &[], interval: false }
}

const fn map(name: &'static str, key: &'static [FieldType], data: &'static [FieldType]) -> Set {
    Set { name, key, data, interval: false }
}

const fn ranges(name: &'static str, key: &'static [FieldType], data: &'static [FieldType]) -> Set {
    Set { name, key, data, interval: true }
}

const fn base(name: &'static str, kind: ChainKind, hook: HookPoint, priority: i32) -> Chain {
    Chain { name, base: Some(BaseHook { kind, hook, priority, policy: Policy::Accept }) }
}

/// What to rewrite: an address named in the publication goes before "any address".
fn publish() -> Vec<Rule> {
    let mut rules = Vec::new();
    for ip in [V4, V6] {
        let sets = family(ip);
        let port = [Load::Protocol, Load::DestinationPort];
        let address_port = [Load::Destination(ip), Load::Protocol, Load::DestinationPort];
        rules.extend([
            Rule::new().rewrite_destination(ip, &address_port, &sets.address_ports),
            Rule::new().rewrite_destination(ip, &address_port, &sets.address_port_ranges),
            Rule::new().rewrite_destination(ip, &port, &sets.ports),
            Rule::new().rewrite_destination(ip, &port, &sets.port_ranges),
        ]);
    }
    rules
}

/// With `route_localnet` set on an interface, a neighbour can send to our 127.0.0.0/8. Dropped
/// before conntrack sees it, such a packet leaves no flow behind.
fn guard() -> Vec<Rule> {
    let guarded = |set| {
        Rule::new()
            .not_in_by_loopback()
            .destination_in(loopback_net(V4))
            .found_in(&port_of(V4), set)
            .counter()
            .verdict(Drop)
            .comment("published on loopback only")
    };
    [&LOOPBACK, &LOOPBACK_RANGES].map(guarded).into()
}

/// What came over `lo` was judged when it left its process.
fn arriving() -> Vec<Rule> {
    [V4, V6].map(|ip| not_allowed(Rule::new().not_in_by_loopback(), ip)).into()
}

/// The host's own processes have a place on an allow-list, or not, like everyone else.
fn asking() -> Vec<Rule> {
    [V4, V6].map(|ip| not_allowed(Rule::new(), ip)).into()
}

/// Every packet is judged, not only the first of its flow, so that a shorter list is in force at
/// once; but none that answers: a container's own connections leave with a port of the host, which
/// may be a published one, and their answers come from anywhere. The set comes first, because for
/// most packets it is the last.
fn not_allowed(rule: Rule, ip: IpFamily) -> Rule {
    let sets = family(ip);
    rule.found_in(&port_of(ip), &sets.restricted)
        .to_this_host()
        .not_reply()
        .not_in(&client_of(ip), &sets.allowed)
        .counter()
        .verdict(Drop)
        .comment("not on the allow-list")
}

/// The port first: to delete an element, the kernel looks at the first fields of all of them, and
/// goes on to the second of those where the first is the same.
fn port_of(ip: IpFamily) -> [Load; 3] {
    [Load::DestinationPort, Load::Protocol, Load::Destination(ip)]
}

/// Who asks for which port.
fn client_of(ip: IpFamily) -> [Load; 4] {
    let [port, proto, address] = port_of(ip);
    [port, proto, address, Load::Source(ip)]
}

/// What containers answer the relay where it asked with a client's address. Cheap questions first:
/// each packet of the host comes here, and only answers to what was not rewritten go on to the
/// look for a socket. What was asked by someone else, a proxy of the host's that takes everything,
/// perhaps, is no answer.
fn way_back() -> Vec<Rule> {
    vec![
        Rule::new()
            .reply()
            .destination_kept()
            .found_in(&[Load::InInterface], &ANSWERING)
            .to_transparent_socket()
            .set_mark(MARK)
            .comment("to the relay"),
    ]
}

/// Link-local addresses mean nothing beyond their link, so the relay serves them.
fn prerouting() -> Vec<Rule> {
    vec![
        Rule::new().destination_in(link_local()).verdict(Return),
        Rule::new().source_in(link_local()).verdict(Return),
        Rule::new().to_this_host().verdict(Jump(PUBLISH.name)),
    ]
}

/// A rewritten packet from a loopback address would leave with a source nobody can answer to; the
/// relay serves loopback, and link-local addresses as above.
fn output() -> Vec<Rule> {
    let mut rules = Vec::new();
    for net in [loopback_net(V4), loopback_net(V6), link_local()] {
        rules.push(Rule::new().destination_in(net).verdict(Return));
        rules.push(Rule::new().source_in(net).verdict(Return));
    }
    rules.push(Rule::new().to_this_host().verdict(Jump(PUBLISH.name)));
    rules
}

fn forward() -> Vec<Rule> {
    let passage = [Load::InInterface, Load::OutInterface];
    let mut rules = vec![
        Rule::new().established_or_related().verdict(Accept),
        Rule::new().found_in(&passage, &PASSAGES).verdict(Accept),
        Rule::new()
            .found_in(&[Load::InInterface], &INTERNAL)
            .counter()
            .verdict(Drop)
            .comment("from an internal network"),
        Rule::new()
            .found_in(&[Load::OutInterface], &INTERNAL)
            .counter()
            .verdict(Drop)
            .comment("to an internal network"),
        Rule::new().not_in(&[Load::OutInterface], &BRIDGES).verdict(Return),
        Rule::new().destination_rewritten().verdict(Accept),
    ];
    for ip in [V4, V6] {
        let sets = family(ip);
        let destination = [Load::Destination(ip)];
        let icmp = if ip == V4 { ICMP } else { ICMPV6 };
        rules.extend([
            Rule::new().found_in(&destination, &sets.unprotected).verdict(Accept),
            Rule::new().found_in(&client_of(ip), &sets.open).verdict(Accept),
            Rule::new().protocol(icmp).found_in(&destination, &sets.icmp).verdict(Accept),
        ]);
    }
    rules.push(Rule::new().counter().verdict(Drop).comment("not published"));
    rules
}

fn postrouting() -> Vec<Rule> {
    let hairpin = |ip| [Load::Source(ip), Load::OutInterface];
    let mut rules = vec![Rule::new().out_by_loopback().verdict(Return)];
    for ip in [V4, V6] {
        let rule = Rule::new().destination_rewritten();
        rules.push(rule.found_in(&hairpin(ip), &family(ip).hairpin).masquerade());
    }
    rules.push(Rule::new().found_in(&[Load::OutInterface], &BRIDGES).verdict(Return));
    for ip in [V4, V6] {
        let rule = Rule::new().found_in(&[Load::Source(ip)], &family(ip).masquerade);
        rules.push(rule.masquerade());
    }
    rules
}

fn loopback_net(ip: IpFamily) -> IpNet {
    match ip {
        V4 => IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        V6 => IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    }
}

fn link_local() -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10)
}
