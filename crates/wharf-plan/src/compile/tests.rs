use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wharf_spec::{HostSide, PortRange, Proto, ProxyProtocol, PublishOptions, Target};

use super::*;

fn facts() -> HostFacts {
    HostFacts {
        nft_nat: true,
        forwarding_v4: true,
        forwarding_v6: true,
        transparent: true,
        // What it does for the host's own processes is looked at in `local`.
        no_ebpf: Some("this kernel has no eBPF".into()),
        steered: BTreeSet::new(),
        given_out: PortRange::new(32_768, 60_999).unwrap(),
        firewall: Arc::default(),
    }
}
const C4: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 2);
const C6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn networks(mode: SubnetMode, internal: bool) -> BTreeMap<String, NetworkPolicy> {
    let subnets =
        vec![("10.201.0.0/24".parse().unwrap(), mode), ("fd00::/64".parse().unwrap(), mode)];
    let policy = NetworkPolicy {
        bridge: "wharf0".into(),
        subnets,
        internal,
        trusted_interfaces: BTreeSet::new(),
        ..NetworkPolicy::default()
    };
    BTreeMap::from([("wharf".to_owned(), policy)])
}

fn publication(addresses: &[&str], v6: bool) -> Publication {
    Publication {
        id: PublicationId("p".into()),
        proto: Proto::Tcp,
        host: HostSide {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ports: PortRange::single(8080),
        },
        target: Target::Container {
            id: "c".into(),
            ipv4: Some(C4),
            ipv6: v6.then_some(C6),
            network: "wharf".into(),
        },
        target_ports: PortRange::single(80),
        options: PublishOptions::default(),
    }
}

fn plan_of(publication: &Publication) -> Plan {
    plan_on(publication, &facts())
}

fn plan_on(publication: &Publication, facts: &HostFacts) -> Plan {
    let networks = networks(SubnetMode::Nat, false);
    compile(Desired { publications: std::slice::from_ref(publication), networks: &networks }, facts)
}

fn only(plan: &Plan) -> &PublicationPlan {
    plan.publications.values().next().unwrap()
}

/// The source seen on each path that is there.
fn sources(plan: &Plan) -> Vec<(Path, SourceSeen)> {
    only(plan).paths.iter().map(|seen| (seen.path, seen.source)).collect()
}

fn path(plan: &Plan, path: Path) -> &PathPlan {
    plan.publications.values().next().unwrap().paths.iter().find(|p| p.path == path).unwrap()
}

#[test]
fn a_wildcard_publication_is_rewritten_in_both_families() {
    let plan = plan_of(&publication(&["0.0.0.0", "::"], true));
    let targets: Vec<IpAddr> = plan.nft.dnat.iter().map(|d| d.target).collect();
    assert_eq!(targets, [IpAddr::V4(C4), IpAddr::V6(C6)]);
    assert!(plan.nft.dnat.iter().all(|d| d.host.is_none()));
    assert_eq!(path(&plan, Path::ExternalV6).source, SourceSeen::Client);
    assert_eq!(path(&plan, Path::HostLoopback).plane, Plane::Relay);
    assert_eq!(only(&plan).planes(), [Plane::Nft, Plane::Relay]);
}

#[test]
fn an_ipv6_client_of_a_v4_only_target_goes_through_the_relay_and_the_plan_says_why() {
    let plan = plan_of(&publication(&["0.0.0.0", "::"], false));
    assert_eq!(plan.nft.dnat.len(), 1);
    let external = path(&plan, Path::ExternalV6);
    assert_eq!((external.plane, external.source), (Plane::Relay, SourceSeen::Gateway));
    assert_eq!(external.reason.as_deref(), Some("the target has no IPv6 address"));
}

#[test]
fn a_loopback_publication_is_guarded_and_never_rewritten() {
    let plan = plan_of(&publication(&["127.0.0.1"], true));
    assert!(plan.nft.dnat.is_empty());
    assert_eq!(plan.nft.loopback.len(), 1);
    assert_eq!(only(&plan).planes(), [Plane::Relay]);
}

#[test]
fn options_that_only_the_relay_honours_keep_the_kernel_out() {
    let plain = publication(&["0.0.0.0"], true);
    let options = [
        PublishOptions { via: Via::Relay, ..PublishOptions::default() },
        PublishOptions { source: SourceMode::Gateway, ..PublishOptions::default() },
        PublishOptions {
            proxy_protocol: Some(wharf_spec::ProxyProtocol::V2),
            ..PublishOptions::default()
        },
    ];
    for options in options {
        let gateway = options.source == SourceMode::Gateway;
        let plan = plan_of(&Publication { options, ..plain.clone() });
        assert!(plan.nft.dnat.is_empty());
        let seen = if gateway { SourceSeen::Gateway } else { SourceSeen::Client };
        assert_eq!(path(&plan, Path::ExternalV4).source, seen);
        assert_eq!(only(&plan).relay_keeps_clients, !gateway);
    }
}

#[test]
fn the_relay_shows_clients_where_it_can_and_the_gateway_elsewhere() {
    use SourceSeen::{Client, Gateway, Host};
    let relayed = PublishOptions { via: Via::Relay, ..PublishOptions::default() };
    let plain = Publication { options: relayed, ..publication(&["0.0.0.0", "::"], true) };
    let kept = [
        (Path::ExternalV4, Client),
        (Path::ExternalV6, Client),
        (Path::HostLoopback, Gateway),
        (Path::HostAddress, Host),
        (Path::SameBridge, Gateway),
    ];
    assert_eq!(sources(&plan_of(&plain)), kept);
    assert!(plan_of(&plain).nft.way_back);

    let cannot = &HostFacts { transparent: false, ..facts() };
    let plan = plan_on(&plain, cannot);
    assert_eq!(sources(&plan), kept.map(|(path, _)| (path, Gateway)));
    assert!(!only(&plan).relay_keeps_clients && !plan.nft.way_back);

    let mut narrow = plain.clone();
    narrow.target = publication(&[], false).target;
    assert_eq!(path(&plan_of(&narrow), Path::ExternalV4).source, Client);
    assert_eq!(path(&plan_of(&narrow), Path::ExternalV6).source, Gateway);

    let networks = networks(SubnetMode::Nat, true);
    let desired = Desired { publications: &[plain], networks: &networks };
    let plan = compile(desired, &facts());
    assert!(sources(&plan).iter().all(|(_, seen)| *seen == Gateway));
    assert!(!only(&plan).relay_keeps_clients);
}

#[test]
fn the_relay_keeps_clients_even_where_it_is_only_the_floor() {
    assert!(only(&plan_of(&publication(&["0.0.0.0"], true))).relay_keeps_clients);
    assert!(!only(&plan_of(&publication(&["127.0.0.1"], true))).relay_keeps_clients);
}

#[test]
fn a_demanded_client_address_is_refused_where_no_path_from_outside_keeps_it() {
    let open = networks(SubnetMode::Nat, false);
    let demand = PublishOptions { source: SourceMode::Client, ..PublishOptions::default() };
    let demanding = |addresses: &[&str], v6| Publication {
        options: demand.clone(),
        ..publication(addresses, v6)
    };
    let cannot = &HostFacts { transparent: false, ..facts() };
    // The kernel keeps it; one family is enough.
    assert_eq!(refuse(&demanding(&["0.0.0.0"], true), &open, cannot), None);
    assert_eq!(refuse(&demanding(&["0.0.0.0", "::"], false), &open, &facts()), None);

    let mut relayed = demanding(&["0.0.0.0"], true);
    relayed.options.via = Via::Relay;
    assert_eq!(refuse(&relayed, &open, &facts()), None);
    let refused = [
        (refuse(&relayed, &open, cannot), "bring answers to clients' addresses back"),
        (refuse(&demanding(&["::"], false), &open, &facts()), "the target has no IPv6 address"),
        (refuse(&demanding(&["127.0.0.1"], true), &open, &facts()), "other hosts can reach"),
        (refuse(&relayed, &networks(SubnetMode::Nat, true), &facts()), "the network is internal"),
    ];
    for (refused, reason) in refused {
        let text = refused.unwrap();
        assert!(text.starts_with("source=client cannot be honoured: "), "{text}");
        assert!(text.contains(reason) && text.contains("leave it out"), "{text}");
    }
}

#[test]
fn an_internal_network_is_served_by_the_relay_only() {
    let networks = networks(SubnetMode::Nat, true);
    let publication = publication(&["0.0.0.0"], true);
    let desired = Desired { publications: &[publication], networks: &networks };
    let plan = compile(desired, &facts());
    assert!(plan.nft.dnat.is_empty());
    assert!(plan.nft.bridges.iter().all(|b| b.internal));
}

#[test]
fn a_routed_network_opens_the_containers_own_port() {
    let networks = networks(SubnetMode::Routed, false);
    let publication = publication(&[], true);
    let desired = Desired { publications: &[publication], networks: &networks };
    let plan = compile(desired, &facts());
    assert!(plan.nft.dnat.is_empty());
    assert_eq!(plan.nft.open.len(), 2);
    assert_eq!(path(&plan, Path::ExternalV4).plane, Plane::Routed);
    assert!(plan.nft.bridges.iter().all(|b| b.subnets.iter().all(|s| !s.masquerade && s.icmp)));
}

#[test]
fn without_nftables_every_path_falls_to_the_relay() {
    let networks = networks(SubnetMode::Nat, false);
    let publication = publication(&["0.0.0.0", "::"], true);
    let desired = Desired { publications: &[publication], networks: &networks };
    let plan = compile(desired, &HostFacts { nft_nat: false, ..facts() });
    assert_eq!(plan.nft, NftPlan::default());
    assert_eq!(only(&plan).planes(), [Plane::Relay]);
}

#[test]
fn what_cannot_be_honoured_is_refused_with_the_reason() {
    let networks = networks(SubnetMode::Nat, false);
    let plain = publication(&["127.0.0.1"], true);
    assert_eq!(refuse(&plain, &networks, &facts()), None);
    let nft = PublishOptions { via: Via::Nft, ..PublishOptions::default() };
    let text = refuse(&Publication { options: nft, ..plain.clone() }, &networks, &facts()).unwrap();
    assert!(text.starts_with("via=nft cannot be honoured: "), "{text}");
    let sctp = Publication { proto: Proto::Sctp, ..plain.clone() };
    assert!(refuse(&sctp, &networks, &facts()).unwrap().contains("sctp"));
    let header = |version| Publication {
        proto: Proto::Udp,
        options: PublishOptions { proxy_protocol: Some(version), ..PublishOptions::default() },
        ..plain.clone()
    };
    assert_eq!(refuse(&header(ProxyProtocol::V2), &networks, &facts()), None);
    assert!(refuse(&header(ProxyProtocol::V1), &networks, &facts()).unwrap().contains("v2"));
}

fn allowing(networks: &[&str], plain: Publication) -> Publication {
    let allow = networks.iter().map(|net| net.parse().unwrap()).collect();
    let options = PublishOptions { allow, ..plain.options };
    Publication { options, ..plain }
}

/// Host addresses with who may reach them, as text.
fn lists(plan: &NftPlan) -> Vec<String> {
    let from =
        |list: &AllowList| list.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    plan.allow.iter().map(|list| format!("{} from {}", list.host, from(list))).collect()
}

#[test]
fn an_allow_list_is_split_by_family_and_said_in_few_words() {
    let list = ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "192.0.2.7/32", "fd00::/64"];
    let plan = plan_of(&allowing(&list, publication(&["0.0.0.0", "::"], true)));
    let expected =
        ["0.0.0.0/0 from 10.0.0.0/8 192.0.2.7/32".to_owned(), "::/0 from fd00::/64".to_owned()];
    assert_eq!(lists(&plan.nft), expected);
    assert_eq!(plan.nft.dnat.len(), 2, "an allow-list does not keep the kernel out");
    assert!(only(&plan).planes().contains(&Plane::Nft));

    let everyone = plan_of(&allowing(&["0.0.0.0/0"], publication(&["192.0.2.1", "fe80::1"], true)));
    let expected = ["192.0.2.1/32 from 0.0.0.0/0".to_owned(), "fe80::1/128 from ".to_owned()];
    assert_eq!(lists(&everyone.nft), expected, "a list without IPv6 lets no IPv6 client in");
    assert!(plan_of(&publication(&["0.0.0.0"], true)).nft.allow.is_empty());
}

#[test]
fn the_kernel_judges_for_the_relay_as_well() {
    let mut relayed = allowing(&["10.0.0.0/8"], publication(&["0.0.0.0", "127.0.0.1"], true));
    relayed.options.via = Via::Relay;
    let plan = plan_of(&relayed);
    assert!(plan.nft.dnat.is_empty());
    assert_eq!(lists(&plan.nft).len(), 2);
    assert!(plan_on(&relayed, &HostFacts { nft_nat: false, ..facts() }).nft.is_empty());
}

#[test]
fn a_routed_port_is_open_to_its_allow_list_only() {
    let networks = networks(SubnetMode::Routed, false);
    let limited = allowing(&["192.0.2.0/24"], publication(&[], true));
    let unlimited = Publication { id: PublicationId("q".into()), ..publication(&[], true) };
    let publications = [limited, unlimited];
    let plan = compile(Desired { publications: &publications, networks: &networks }, &facts());
    let open: Vec<String> = plan
        .nft
        .open
        .iter()
        .map(|open| format!("{} for {} from {:?}", open.address, open.publication, open.from))
        .collect();
    let expected = [
        "10.201.0.2 for q from [0.0.0.0/0]",
        "10.201.0.2 for p from [192.0.2.0/24]",
        "fd00::2 for q from [::/0]",
    ];
    assert_eq!(open, expected);
}

#[test]
fn the_sum_of_single_publications_is_the_whole() {
    let networks = networks(SubnetMode::Nat, false);
    let publications: Vec<Publication> = (0..20u16)
        .map(|n| {
            let mut one = publication(&["0.0.0.0", "::", "127.0.0.1"], n % 2 == 0);
            one.id = PublicationId(format!("p{n}"));
            one.host.ports = PortRange::single(8000 + n);
            if n % 3 == 0 { allowing(&["10.0.0.0/8"], one) } else { one }
        })
        .collect();
    let facts = HostFacts { no_ebpf: None, ..facts() };
    let whole = compile(Desired { publications: &publications, networks: &networks }, &facts);
    let nothing = Desired { publications: &[], networks: &networks };
    let mut sum = compile(nothing, &facts);
    for publication in &publications {
        let (fragment, served) = compile_one(publication, &networks, &facts);
        assert!(fragment.nft.bridges.is_empty() && !fragment.nft.way_back);
        sum.add(fragment.clone());
        sum.shares.insert(publication.id.clone(), fragment);
        sum.publications.insert(publication.id.clone(), served);
    }
    assert_eq!(sum, whole);
}

#[test]
fn an_allow_list_that_lets_nobody_in_is_refused() {
    let refused = |hosts: &[&str], allow: &[&str]| {
        let networks = networks(SubnetMode::Nat, false);
        let asked = allowing(allow, publication(hosts, true));
        refuse(&asked, &networks, &facts()).is_some()
    };
    assert!(refused(&["127.0.0.1"], &["10.0.0.0/8"]));
    assert!(refused(&["::1"], &["10.0.0.0/8", "127.0.0.1/32"]));
    assert!(refused(&["0.0.0.0"], &["fd00::/8"]));
    assert!(!refused(&["127.0.0.1"], &["10.0.0.0/8", "127.0.0.1/32"]));
    assert!(!refused(&["127.0.0.1"], &["0.0.0.0/0"]));
    assert!(!refused(&["0.0.0.0", "::"], &["10.0.0.0/8"]));
    assert!(!refused(&["0.0.0.0"], &[]));
}
