use super::*;
use crate::host_view::{HostView, Taken};
use crate::pool::AddressPools;

fn host() -> HostView {
    HostView { ipv6: true, taken: Vec::new() }
}

fn resolve(request: NetworkRequest, existing: &[&Network], host: &HostView) -> Result<Network> {
    let pools = AddressPools::with_global_id([1, 2, 3, 4, 5]);
    request.resolve(&pools, existing, host, "2026-11-22T12:00:00Z")
}

fn named(name: &str) -> NetworkRequest {
    NetworkRequest::named(name)
}

fn refusal(request: NetworkRequest) -> String {
    resolve(request, &[], &host()).unwrap_err().to_string()
}

fn with_subnets(nets: &[&str]) -> NetworkRequest {
    NetworkRequest {
        subnets: nets.iter().map(|net| net.parse().unwrap()).collect(),
        ..named("net")
    }
}

#[test]
fn the_default_network_has_a_short_bridge_name_and_others_show_their_identity() {
    let first = resolve(named(DEFAULT_NETWORK), &[], &host()).unwrap();
    assert_eq!(first.bridge, "wharf0");
    let second = resolve(named("backend"), &[&first], &host()).unwrap();
    assert_eq!(second.bridge, format!("wh-{}", &second.id[..12]));
    assert_eq!((first.id.len(), second.bridge.len()), (64, 15));
    assert_ne!(first.ipv4.unwrap().subnet(), second.ipv4.unwrap().subnet());
    assert_eq!(second.ipv6, None);
}

#[test]
fn both_families_are_chosen_from_the_pools() {
    let request = NetworkRequest { ipv6: true, ..named("net") };
    let network = resolve(request, &[], &host()).unwrap();
    let addresses = network.bridge_addresses();
    assert_eq!(addresses[0], "10.201.0.1/20".parse().unwrap());
    assert_eq!(addresses[1], "fd01:203:405::1/64".parse().unwrap());
}

#[test]
fn an_ipv6_subnet_brings_ipv6_along() {
    let request = NetworkRequest { ipv4: false, ..with_subnets(&["fd00:5::/64"]) };
    let network = resolve(request, &[], &host()).unwrap();
    assert_eq!(network.ipv4, None);
    assert_eq!(network.ipv6.unwrap().gateway(), "fd00:5::1".parse::<IpAddr>().unwrap());
}

#[test]
fn an_overlap_names_the_other() {
    let first = resolve(with_subnets(&["10.5.0.0/16"]), &[], &host()).unwrap();
    let request = NetworkRequest { name: "b".to_owned(), ..with_subnets(&["10.5.3.0/24"]) };
    let text = resolve(request, &[&first], &host()).unwrap_err().to_string();
    assert_eq!(
        text,
        "invalid pool request: Pool overlaps with other one on this address space: \
         10.5.3.0/24 overlaps 10.5.0.0/16 (network net)"
    );
}

#[test]
fn a_named_subnet_may_be_carved_from_a_wide_route_but_not_from_a_network_the_host_is_on() {
    let taken = |net: &str, connected| Taken {
        net: net.parse().unwrap(),
        connected,
        holder: "route over tun0".to_owned(),
    };
    let with = |taken| HostView { ipv6: true, taken: vec![taken] };
    let wanted = || with_subnets(&["10.5.0.0/24"]);
    assert!(resolve(wanted(), &[], &with(taken("10.0.0.0/8", false))).is_ok());
    for obstacle in [taken("10.5.0.0/24", false), taken("10.5.0.7/32", false)] {
        assert!(resolve(wanted(), &[], &with(obstacle)).is_err());
    }
    let text = resolve(wanted(), &[], &with(taken("10.4.0.0/15", true))).unwrap_err().to_string();
    assert!(text.ends_with("10.5.0.0/24 overlaps 10.4.0.0/15 (route over tun0)"), "{text}");
    // What is chosen for a person avoids wide routes, too.
    let chosen = resolve(named("net"), &[], &with(taken("10.0.0.0/8", false))).unwrap();
    assert_eq!(chosen.ipv4.unwrap().subnet(), "172.16.0.0/24".parse().unwrap());
}

#[test]
fn names_are_checked() {
    for name in ["", "-net", "a b", "ä", "a/b", &"x".repeat(65)] {
        assert!(refusal(named(name)).starts_with("invalid network name"), "{name}");
    }
    assert!(refusal(named("host")).contains("reserved"));
    let first = resolve(named("net"), &[], &host()).unwrap();
    let text = resolve(named("net"), &[&first], &host()).unwrap_err().to_string();
    assert_eq!(text, "network with name net already exists");
}

#[test]
fn impossible_requests_are_refused_with_a_reason() {
    let cases = [
        (NetworkRequest { driver: "overlay".into(), ..named("n") }, "\"overlay\" is not supported"),
        (NetworkRequest { ipv4: false, ..named("n") }, "IPv4 or IPv6 must be enabled"),
        (NetworkRequest { ipv4: false, ..with_subnets(&["10.5.0.0/24"]) }, "IPv4 is disabled"),
        (with_subnets(&["10.5.0.0/24", "10.6.0.0/24"]), "one subnet of each family"),
        (with_subnets(&["10.5.0.1/24"]), "invalid subnet 10.5.0.1/24: it should be 10.5.0.0/24"),
        (with_subnets(&["127.1.0.0/16"]), "loopback"),
        (with_subnets(&["fe80::/64"]), "link-local"),
        (with_subnets(&["10.5.0.0/31"]), "no room"),
        (
            NetworkRequest { gateways: vec!["10.9.0.1".parse().unwrap()], ..named("n") },
            "no matching subnet for gateway 10.9.0.1",
        ),
        (
            NetworkRequest { ranges: vec!["10.9.0.0/30".parse().unwrap()], ..named("n") },
            "no matching subnet for range 10.9.0.0/30",
        ),
        (
            NetworkRequest { gateway_mode_ipv4: GatewayMode::Isolated, ..named("n") },
            "can only be used for an internal network",
        ),
        (NetworkRequest { mtu: Some(20), ..named("n") }, "invalid MTU 20: it must be 68 to 65535"),
        (NetworkRequest { mtu: Some(1000), ipv6: true, ..named("n") }, "it must be 1280 to"),
        (NetworkRequest { bridge: Some("a-name-too-long-".into()), ..named("n") }, "1 to 15 bytes"),
        (NetworkRequest { bridge: Some("all".into()), ..named("n") }, "invalid interface name"),
    ];
    for (request, why) in cases {
        let text = refusal(request);
        assert!(text.contains(why), "{text}");
    }
    let request = NetworkRequest { ipv6: true, ..named("n") };
    let text = resolve(request, &[], &HostView::default()).unwrap_err().to_string();
    assert!(text.starts_with("IPv6 is not available on this host"), "{text}");
}

#[test]
fn an_isolated_network_has_a_bridge_without_addresses() {
    let request =
        NetworkRequest { internal: true, gateway_mode_ipv4: GatewayMode::Isolated, ..named("net") };
    let mut network = resolve(request, &[], &host()).unwrap();
    assert_eq!(network.bridge_addresses(), []);
    let endpoint = network.attach("c", 0, Requested::default()).unwrap();
    assert_eq!((endpoint.ipv4.is_some(), endpoint.gateway4), (true, None));
}

#[test]
fn attaching_leases_addresses_and_detaching_gives_them_back() {
    let request = NetworkRequest { ipv6: true, ..named("net") };
    let mut network = resolve(request, &[], &host()).unwrap();
    let id = "aa".repeat(32);
    let endpoint = network.attach(&id, 0, Requested::default()).unwrap();
    assert_eq!(endpoint.ipv4, Some("10.201.0.2/20".parse().unwrap()));
    assert_eq!(endpoint.ipv6, Some("fd01:203:405::2/64".parse().unwrap()));
    assert_eq!(endpoint.gateway4, Some(Ipv4Addr::new(10, 201, 0, 1)));
    assert_eq!(
        (endpoint.interface.as_str(), endpoint.host_veth.as_str()),
        ("eth0", "wvaaaaaaaaaaaa0")
    );
    assert_eq!(network.attach(&id, 0, Requested::default()).unwrap(), endpoint);
    assert_eq!(network.containers(), BTreeSet::from([id.as_str()]));
    assert!(network.is_in_use());
    assert!(network.detach(&id) && !network.detach(&id));
    assert!(!network.is_in_use());
    let stored = serde_json::to_string(&endpoint).unwrap();
    assert_eq!(serde_json::from_str::<Endpoint>(&stored).unwrap(), endpoint);
}

#[test]
fn a_failed_attach_leases_nothing() {
    let request = NetworkRequest { ipv6: true, ..named("net") };
    let mut network = resolve(request, &[], &host()).unwrap();
    let before = network.clone();
    let stray = Requested { ipv6: Some("fd99::1".parse().unwrap()), ..Requested::default() };
    assert!(network.attach("c", 0, stray).is_err());
    assert!(!network.is_in_use());
    let mut v4_only = resolve(named("net"), &[], &host()).unwrap();
    let text = v4_only.attach("c", 0, stray).unwrap_err().to_string();
    assert_eq!(text, "address fd99::1 cannot be used: network net has no subnet of its family");
    assert!(!v4_only.is_in_use());
    assert_eq!(before.id, network.id);
}

#[test]
fn a_stored_network_reads_back_the_same() {
    let request = NetworkRequest { ipv6: true, internal: true, ..named("net") };
    let mut network = resolve(request, &[], &host()).unwrap();
    network.attach("c", 0, Requested::default()).unwrap();
    let stored = serde_json::to_string(&network).unwrap();
    assert_eq!(serde_json::from_str::<Network>(&stored).unwrap(), network);
}

#[test]
fn modes_say_what_the_firewall_needs() {
    let side = |mode| {
        let request = NetworkRequest {
            gateway_mode_ipv4: mode,
            internal: mode == GatewayMode::Isolated,
            ..named("net")
        };
        let side = resolve(request, &[], &host()).unwrap().ipv4.unwrap();
        (side.masquerades(), side.is_unprotected(), side.is_routed())
    };
    assert_eq!(side(GatewayMode::Nat), (true, false, false));
    assert_eq!(side(GatewayMode::NatUnprotected), (true, true, false));
    assert_eq!(side(GatewayMode::Routed), (false, false, true));
    assert_eq!(side(GatewayMode::Isolated), (false, false, false));
}
