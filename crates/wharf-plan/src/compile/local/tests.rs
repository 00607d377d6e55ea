use std::collections::BTreeMap;

use wharf_spec::{HostSide, PortRange, Publication, PublicationId, PublishOptions};

use super::*;
use crate::compile::{Desired, HostFacts, NetworkPolicy, compile, refuse};
use crate::path::PathPlan;

fn facts() -> HostFacts {
    HostFacts {
        nft_nat: true,
        forwarding_v4: true,
        forwarding_v6: true,
        transparent: true,
        no_ebpf: None,
        steered: Default::default(),
        given_out: PortRange::new(32_768, 60_999).unwrap(),
        firewall: Default::default(),
    }
}

fn networks(internal: bool) -> BTreeMap<String, NetworkPolicy> {
    let subnet = |text: &str| (text.parse().unwrap(), SubnetMode::Nat);
    let subnets = vec![subnet("10.201.0.0/24"), subnet("fd00::/64")];
    let policy = NetworkPolicy { bridge: "wharf0".into(), subnets, internal, ..Default::default() };
    BTreeMap::from([("wharf".to_owned(), policy)])
}

fn publication(addresses: &[&str], v6: bool, options: &str) -> Publication {
    Publication {
        id: PublicationId("p".into()),
        proto: Proto::Tcp,
        host: HostSide {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ports: PortRange::single(8080),
        },
        target: Target::Container {
            id: "c".into(),
            ipv4: Some([10, 201, 0, 2].into()),
            ipv6: v6.then(|| "fd00::2".parse().unwrap()),
            network: "wharf".into(),
        },
        target_ports: PortRange::single(80),
        options: options.parse::<PublishOptions>().unwrap(),
    }
}

/// Each connect entry and each path of this host, in words.
fn told(publication: &Publication, facts: &HostFacts, internal: bool) -> String {
    let networks = networks(internal);
    let desired = Desired { publications: std::slice::from_ref(publication), networks: &networks };
    let plan = compile(desired, facts);
    let connects = plan.ebpf.connects.iter().map(|it| {
        let from: Vec<String> = it.from.iter().map(ToString::to_string).collect();
        let host = if it.keeps_host { "host" } else { "gateway" };
        format!("{} -> {} as {host} from [{}]", it.host_address(), it.target, from.join(" "))
    });
    let of_host = |plan: &&PathPlan| matches!(plan.path, Path::HostAddress | Path::HostLoopback);
    let paths = plan.publications.values().flat_map(|served| served.paths.iter().filter(of_host));
    let paths = paths.map(|it| {
        let reason = it.reason.as_deref().unwrap_or("-");
        format!("{:?} {} {} {reason}", it.path, it.plane, it.source)
    });
    connects.chain(paths).collect::<Vec<_>>().join("\n")
}

#[test]
fn processes_of_the_host_are_led_straight_to_the_target() {
    let text = told(&publication(&["0.0.0.0", "::"], true, ""), &facts(), false);
    insta::assert_snapshot!(text, @r"
    0.0.0.0 -> 10.201.0.2 as host from []
    :: -> fd00::2 as host from []
    HostLoopback ebpf gateway -
    HostAddress ebpf host -
    ");
}

#[test]
fn a_family_that_the_target_has_not_stays_with_the_relay() {
    let text = told(&publication(&["0.0.0.0", "::"], false, ""), &facts(), false);
    insta::assert_snapshot!(text, @r"
    0.0.0.0 -> 10.201.0.2 as host from []
    HostLoopback ebpf gateway by the relay over IPv6: the target has no IPv6 address
    HostAddress ebpf host by the relay over IPv6: the target has no IPv6 address
    ");
}

#[test]
fn loopback_publications_are_led_too() {
    let text = told(&publication(&["127.0.0.1", "::1"], true, ""), &facts(), false);
    insta::assert_snapshot!(text, @r"
    127.0.0.1 -> 10.201.0.2 as host from []
    ::1 -> fd00::2 as host from []
    HostLoopback ebpf gateway -
    ");
}

#[test]
fn lists_hold_and_nobody_is_led_whose_family_is_not_on_them() {
    let limited = publication(&["0.0.0.0", "::"], true, "allow=10.0.0.0/8,allow=127.0.0.1");
    insta::assert_snapshot!(told(&limited, &facts(), false), @r"
    0.0.0.0 -> 10.201.0.2 as host from [10.0.0.0/8 127.0.0.1/32]
    HostLoopback ebpf gateway -
    HostAddress ebpf host -
    ");
}

#[test]
fn what_cannot_find_its_way_back_to_the_host_sees_the_gateway() {
    for (options, internal) in [("source=gateway", false), ("", true)] {
        let text = told(&publication(&["0.0.0.0"], true, options), &facts(), internal);
        assert!(text.contains("as gateway") && text.contains("HostAddress ebpf gateway"), "{text}");
    }
}

#[test]
fn what_others_were_asked_for_is_not_led() {
    let cases = [
        ("via=relay", "asked for the relay (via=relay)"),
        ("via=nft", "asked for kernel NAT (via=nft)"),
        ("proxy-protocol=v2", "only the relay can write a PROXY header"),
    ];
    for (options, reason) in cases {
        let text = told(&publication(&["0.0.0.0"], true, options), &facts(), false);
        assert!(text.contains(&format!("HostLoopback relay gateway {reason}")), "{text}");
        assert!(!text.contains("->"), "{text}");
    }
    let cannot = HostFacts { no_ebpf: Some("no cgroup2".into()), ..facts() };
    let text = told(&publication(&["0.0.0.0"], true, ""), &cannot, false);
    assert!(text.contains("HostLoopback relay gateway no cgroup2"), "{text}");
}

#[test]
fn via_ebpf_is_honoured_or_refused_with_the_reason() {
    let asked = publication(&["0.0.0.0", "::"], true, "via=ebpf");
    assert_eq!(refuse(&asked, &networks(false), &facts()), None);
    let networks_there = networks(false);
    let desired = Desired { publications: std::slice::from_ref(&asked), networks: &networks_there };
    let plan = compile(desired, &facts());
    assert!(plan.nft.dnat.is_empty() && !plan.ebpf.connects.is_empty());
    let cannot = HostFacts { no_ebpf: Some("no cgroup2".into()), ..facts() };
    let refused = refuse(&asked, &networks(false), &cannot).unwrap();
    assert_eq!(refused, "via=ebpf cannot be honoured: no cgroup2; use via=auto");
}

#[test]
fn a_steered_range_leaves_the_ports_that_the_kernel_gives_out_to_the_steering_program() {
    let range = |proto| {
        let ports = PortRange::new(30_000, 39_999).unwrap();
        let plain = publication(&["0.0.0.0"], true, "");
        let host = HostSide { ports, ..plain.host.clone() };
        Publication { proto, host, target_ports: PortRange::new(20_000, 29_999).unwrap(), ..plain }
    };
    let steered = HostFacts { steered: [PublicationId("p".into())].into(), ..facts() };
    for proto in [Proto::Tcp, Proto::Udp] {
        let (publication, networks) = (range(proto), networks(false));
        let desired =
            Desired { publications: std::slice::from_ref(&publication), networks: &networks };
        let plan = compile(desired, &steered);
        let rewritten: Vec<String> =
            plan.nft.dnat.iter().map(|it| format!("{} {}", it.ports, it.target_ports)).collect();
        assert_eq!(rewritten, ["30000-32767 20000-22767"]);
        assert_eq!(plan.ebpf.steers.len(), 1);
        assert_eq!(plan.ebpf.connects.is_empty(), proto == Proto::Udp);
        let served = plan.publications.values().next().unwrap();
        assert!(served.steered);
        let reasons = served.reasons().join("; ");
        assert!(reasons.contains("32768-39999 by the relay"), "{reasons}");
    }
    let whole = compile_one_of(&range(Proto::Tcp), &facts());
    assert_eq!(whole, ["30000-39999"]);
}

fn compile_one_of(publication: &Publication, facts: &HostFacts) -> Vec<String> {
    let (share, _) = crate::compile_one(publication, &networks(false), facts);
    share.nft.dnat.iter().map(|it| it.ports.to_string()).collect()
}
