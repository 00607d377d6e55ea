use super::*;

const PLAIN: Circumstances<'_> = Circumstances {
    network: "wharf",
    mode_v4: Some(GatewayMode::Nat),
    mode_v6: Some(GatewayMode::Nat),
    host_ipv6: true,
};

fn wanted(specs: &[&str], circumstances: Circumstances<'_>) -> (Vec<Wanted>, Vec<String>) {
    let specs: Vec<String> = specs.iter().map(|s| (*s).to_owned()).collect();
    let mut warnings = Vec::new();
    (resolve(&specs, &[], &[], circumstances, &mut warnings).unwrap(), warnings)
}

#[test]
fn exact_ports_come_before_ranges_before_ephemerals() {
    let (found, _) = wanted(&["80", "8000-8010:80", "9000:90", "8080:81"], PLAIN);
    let order: Vec<HostPorts> = found.iter().map(|w| w.host_ports).collect();
    let single = |port| HostPorts::Exact(PortRange::single(port));
    let any = HostPorts::AnyOf(PortRange::new(8000, 8010).unwrap());
    assert_eq!(order, [single(8080), single(9000), any, HostPorts::Ephemeral]);
}

#[test]
fn the_default_is_every_address_of_both_families() {
    let (found, _) = wanted(&["8080:80"], PLAIN);
    assert_eq!(found[0].addresses, ["0.0.0.0".parse::<IpAddr>().unwrap(), "::".parse().unwrap()]);
    let (found, _) = wanted(&["8080:80"], Circumstances { host_ipv6: false, ..PLAIN });
    assert_eq!(found[0].addresses, ["0.0.0.0".parse::<IpAddr>().unwrap()]);
}

#[test]
fn ephemeral_specs_that_differ_in_address_get_one_number() {
    let (found, _) = wanted(&["127.0.0.1::80", "[::1]::80", "[::1]::80/udp"], PLAIN);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].addresses.len(), 2);
    // One number could not be held on a wildcard address and on one of its own besides.
    assert_eq!(wanted(&["80", "127.0.0.1::80"], PLAIN).0.len(), 2);
}

#[test]
fn a_routed_family_takes_no_host_port_and_says_so() {
    let routed = Circumstances { mode_v6: Some(GatewayMode::Routed), ..PLAIN };
    let (found, warnings) = wanted(&["8080:80"], routed);
    assert_eq!(found[0].addresses, ["0.0.0.0".parse::<IpAddr>().unwrap()]);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("IPv6"), "{warnings:?}");
    let (_, warnings) = wanted(&["80"], routed);
    assert!(warnings.is_empty());
}

#[test]
fn an_isolated_network_refuses() {
    let isolated = Circumstances { mode_v4: Some(GatewayMode::Isolated), ..PLAIN };
    let error = resolve(&["80".into()], &[], &[], isolated, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("isolated"), "{error}");
}

#[test]
fn publish_all_leaves_out_what_is_published_already() {
    let exposed: Vec<Expose> = ["80-84/tcp", "53/udp"].map(|e| e.parse().unwrap()).to_vec();
    let found = resolve(&["8082:82".into()], &[], &exposed, PLAIN, &mut Vec::new()).unwrap();
    let ports: Vec<String> =
        found.iter().map(|w| format!("{}/{}", w.container_ports, w.proto)).collect();
    assert_eq!(ports, ["82/tcp", "53/udp", "80-81/tcp", "83-84/tcp"]);
}
