//! Making, listing and removing networks, and giving out addresses.

use ipnet::IpNet;

use super::scene::Scene;

#[test]
fn a_network_is_made_listed_inspected_and_removed() {
    let Some(scene) = Scene::new("lifecycle") else { return };
    let id = scene.wharf.ok([
        "network",
        "create",
        "--subnet",
        "10.77.0.0/24",
        "--gateway",
        "10.77.0.9",
        "--label",
        "team=red",
        "blue",
    ]);
    assert_eq!(id.len(), 64);
    let blue = scene.network("blue");
    assert_eq!(
        (&blue["Id"], &blue["Name"], &blue["Driver"]),
        (&id.as_str().into(), &"blue".into(), &"bridge".into())
    );
    assert_eq!((&blue["Internal"], &blue["Scope"]), (&false.into(), &"local".into()));
    assert_eq!(blue["Labels"], serde_json::json!({ "team": "red" }));
    let subnet = serde_json::json!({ "Subnet": "10.77.0.0/24", "Gateway": "10.77.0.9" });
    assert_eq!(blue["IPAM"]["Config"], serde_json::json!([subnet]));
    let bridge = scene.bridge("blue");
    assert!(scene.host.interfaces().unwrap().contains(&bridge));
    assert_eq!(
        scene.wharf.ok(["network", "inspect", &id[..12]]),
        scene.wharf.ok(["network", "inspect", "blue"])
    );

    let names = |listed: serde_json::Value| -> Vec<String> {
        listed.as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(scene.wharf.json(["network", "ls"])), ["blue", "wharf"]);
    let table = scene.wharf.ok(["network", "ls"]);
    assert!(table.starts_with("NETWORK ID") && table.contains("10.77.0.0/24"), "{table}");

    assert_eq!(scene.wharf.ok(["network", "rm", "blue"]), "blue");
    assert_eq!(names(scene.wharf.json(["network", "ls"])), ["wharf"]);
    assert!(!scene.host.interfaces().unwrap().contains(&bridge));
}

#[test]
fn networks_and_volumes_are_printed_as_scripts_for_docker_expect() {
    let Some(scene) = Scene::new("templates") else { return };
    let line = ["network", "create", "--ipv6", "--label", "team=red", "--label", "a=b", "blue"];
    let id = scene.wharf.ok(line);
    let rows = [
        (&["--format", "{{.Name}} {{.Driver}} {{.Scope}}"][..], "blue bridge local"),
        (&["--format", "{{.ID}}"], &id[..12]),
        (&["--format", "{{.ID}}", "--no-trunc"], &id),
        (&["-q"], &id[..12]),
        (&["--format", "{{.IPv6}} {{.Internal}} {{.Labels}}"], "true false a=b,team=red"),
    ];
    for (flags, expected) in rows {
        let listed = scene.wharf.ok([&["network", "ls"], flags].concat());
        assert_eq!(listed.lines().next(), Some(expected), "{flags:?}");
        assert_eq!(listed.lines().count(), 2, "the default one, too: {listed}");
    }
    let template = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let subnets = scene.wharf.ok(["network", "inspect", "-f", template, "blue"]);
    assert_eq!(subnets.split_whitespace().collect::<Vec<_>>(), scene.subnets("blue"));
    assert_eq!(scene.wharf.ok(["inspect", "--format", "{{.Name}}", "blue"]), "blue");

    scene.wharf.ok(["volume", "create", "--label", "team=red", "data"]);
    let listed = ["volume", "ls", "--format", "{{.Name}} {{.Driver}} {{.Labels}} {{.Links}}"];
    assert_eq!(scene.wharf.ok(listed), "data local team=red 0");
    let place = scene.wharf.ok(["volume", "ls", "--format", "{{.Mountpoint}}"]);
    assert_eq!(scene.wharf.ok(["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]), place);
    for verb in ["network", "volume"] {
        let failed = scene.wharf.fails([verb, "ls", "--format", "{{.Nothing}}"]);
        assert!(failed.stderr.contains("no field \"Nothing\" here"), "{failed:?}");
    }
}

#[test]
fn the_default_network_has_both_families_and_its_bridge_is_wharf0() {
    let Some(scene) = Scene::new("default") else { return };
    scene.wharf.ok(["run", "-d", "--name", "web", "wharf/whoami"]);
    let network = scene.network("wharf");
    assert_eq!(scene.bridge("wharf"), "wharf0");
    let subnets = scene.subnets("wharf");
    assert!(subnets[0].starts_with("10.201."), "{subnets:?}");
    assert!(subnets[1].starts_with("fd"), "a unique local subnet: {subnets:?}");
    let member = network["Containers"].as_object().unwrap().values().next().unwrap().clone();
    assert_eq!(member["Name"], "web");
    // The same as in the inspection of the container, but for the prefix.
    let place = &scene.wharf.inspect("web")["NetworkSettings"]["Networks"]["wharf"];
    for field in ["EndpointID", "MacAddress"] {
        assert_eq!(member[field], place[field], "{field}");
    }
    for (field, there) in [("IPv4Address", "IPAddress"), ("IPv6Address", "GlobalIPv6Address")] {
        let address = member[field].as_str().unwrap().split('/').next();
        assert_eq!(address, place[there].as_str(), "{field}");
    }
    let failed = scene.wharf.fails(["network", "rm", "wharf"]);
    assert!(failed.stderr.contains("is the default one and cannot be removed"), "{failed:?}");
}

#[test]
fn a_network_in_use_is_not_removed() {
    let Some(scene) = Scene::new("in use") else { return };
    scene.wharf.ok(["network", "create", "blue"]);
    scene.wharf.ok(["run", "-d", "--name", "web", "--network", "blue", "wharf/whoami"]);
    let says = |output: wharf_lab::Output| {
        assert_eq!(output.code(), 1);
        assert!(output.stderr.contains("network \"blue\" has containers: web"), "{output:?}");
    };
    says(scene.wharf.fails(["network", "rm", "blue"]));
    scene.wharf.ok(["stop", "-t", "0", "web"]);
    // Its address waits for it.
    says(scene.wharf.fails(["network", "rm", "blue"]));
    scene.wharf.ok(["rm", "web"]);
    scene.wharf.ok(["network", "rm", "blue"]);
}

#[test]
fn a_subnet_routed_on_the_host_is_chosen_around() {
    let Some(scene) = Scene::new("routed") else { return };
    let other = scene.lab.host("other").unwrap();
    // What the default pools would give first, once as a neighbour and once behind a router.
    scene
        .lab
        .link(&scene.host, &["10.201.0.1/20", "192.0.2.1/24"], &other, &["192.0.2.2/24"])
        .unwrap();
    scene.host.route("10.201.16.0/20", "192.0.2.2").unwrap();
    scene.wharf.ok(["run", "-d", "wharf/whoami"]);
    let mut taken: Vec<IpNet> =
        ["10.201.0.0/20", "10.201.16.0/20"].map(|net| net.parse().unwrap()).into();
    for name in ["one", "two"] {
        scene.wharf.ok(["network", "create", "--ipv6", name]);
    }
    for name in ["wharf", "one", "two"] {
        for subnet in scene.subnets(name) {
            let subnet: IpNet = subnet.parse().unwrap();
            let clash = taken.iter().find(|net| net.contains(&subnet) || subnet.contains(*net));
            assert_eq!(clash, None, "{name} has {subnet}");
            taken.push(subnet);
        }
    }
    let failed = scene.wharf.fails(["network", "create", "--subnet", "10.201.8.0/24", "three"]);
    assert!(
        failed.stderr.contains("Pool overlaps with other one on this address space"),
        "{failed:?}"
    );
    assert!(failed.stderr.contains("10.201.8.0/24 overlaps"), "{failed:?}");
}

#[test]
fn pools_of_ones_own_are_used() {
    let Some(scene) = Scene::new("pools") else { return };
    let _daemon =
        scene.wharf.daemon_with([("WHARF_POOLS", "10.99.0.0/16:28,fd77::/48:64")]).unwrap();
    scene.wharf.ok(["network", "create", "--ipv6", "blue"]);
    let subnets = scene.subnets("blue");
    assert!(subnets[0].starts_with("10.99.0.") && subnets[0].ends_with("/28"), "{subnets:?}");
    assert!(subnets[1].starts_with("fd77:"), "{subnets:?}");
}

#[test]
fn requests_for_a_network_are_refused_in_words() {
    let Some(scene) = Scene::new("refused") else { return };
    scene.wharf.ok(["network", "create", "--subnet", "10.77.0.0/24", "blue"]);
    let rows: &[(&[&str], &str)] = &[
        (&["blue"], "network with name blue already exists"),
        (&["-"], "invalid network name"),
        (
            &["--subnet", "10.77.0.0/16", "red"],
            "Pool overlaps with other one on this address space: 10.77.0.0/16 overlaps 10.77.0.0/24",
        ),
        (
            &["--subnet", "10.78.0.1/24", "red"],
            "invalid subnet 10.78.0.1/24: it should be 10.78.0.0/24",
        ),
        (&["--subnet", "10.78.0.0/31", "red"], "invalid subnet 10.78.0.0/31"),
        (&["--subnet", "ten", "red"], "invalid subnet"),
        (
            &["--subnet", "10.78.0.0/24", "--subnet", "10.79.0.0/24", "red"],
            "has one subnet of each family",
        ),
        (&["--gateway", "10.80.0.1", "red"], "no matching subnet for gateway 10.80.0.1"),
        (&["--gateway-mode", "isolated", "red"], "add --internal"),
        (&["--trusted-interface", "a/b", "red"], "invalid interface name \"a/b\""),
        (&["host"], "network name host is reserved"),
    ];
    let before = scene.wharf.snapshot().unwrap();
    for (options, says) in rows {
        let mut line = vec!["network", "create"];
        line.extend(*options);
        let failed = scene.wharf.fails(&line);
        assert_eq!(failed.code(), 1, "{failed:?}");
        assert!(failed.stderr.contains(says), "{options:?} is to say {says:?}: {failed:?}");
    }
    wharf_lab::assert_same(&before, &scene.wharf.snapshot().unwrap());
    assert_eq!(scene.wharf.json(["network", "ls"]).as_array().unwrap().len(), 2);
}

#[test]
fn an_address_is_not_given_out_again_at_once() {
    let Some(scene) = Scene::new("addresses") else { return };
    let mut seen = Vec::new();
    for _ in 0..3 {
        scene.wharf.ok(["run", "-d", "--name", "web", "wharf/whoami"]);
        seen.push(scene.address("web", "IPAddress"));
        seen.push(scene.address("web", "GlobalIPv6Address"));
        scene.wharf.ok(["rm", "-f", "web"]);
    }
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), seen.len(), "{seen:?}");
}

#[test]
fn an_address_stays_with_a_container_that_is_stopped_and_started() {
    let Some(scene) = Scene::new("stays") else { return };
    scene.wharf.ok(["run", "-d", "--name", "web", "wharf/whoami"]);
    let addresses =
        || ["IPAddress", "GlobalIPv6Address", "MacAddress"].map(|it| scene.address("web", it));
    let before = addresses();
    scene.wharf.ok(["stop", "-t", "0", "web"]);
    scene.wharf.ok(["run", "-d", "--name", "other", "wharf/whoami"]);
    scene.wharf.ok(["start", "web"]);
    assert_eq!(addresses(), before);
}

#[test]
fn addresses_can_be_asked_for() {
    let Some(scene) = Scene::new("asked for") else { return };
    scene.wharf.ok([
        "network",
        "create",
        "--subnet",
        "10.77.0.0/24",
        "--subnet",
        "fd77::/64",
        "blue",
    ]);
    let run = |name: &str, options: &[&str]| {
        let mut line = vec!["run", "-d", "--name", name, "--network", "blue"];
        line.extend(options);
        line.push("wharf/whoami");
        scene.wharf.run(line).unwrap()
    };
    assert!(run("web", &["--ip", "10.77.0.50", "--ip6", "fd77::50"]).is_success());
    assert_eq!(scene.address("web", "IPAddress"), "10.77.0.50");
    assert_eq!(scene.address("web", "GlobalIPv6Address"), "fd77::50");
    let refused = [
        (["--ip", "10.77.0.50"], "address already in use: 10.77.0.50"),
        (["--ip6", "fd77::50"], "address already in use: fd77::50"),
        (["--ip", "10.77.0.1"], "invalid address 10.77.0.1: it is the gateway of"),
        (["--ip", "10.77.0.0"], "invalid address 10.77.0.0"),
        (["--ip", "10.77.0.255"], "invalid address 10.77.0.255"),
        (["--ip", "10.78.0.5"], "does not belong to the network's subnet 10.77.0.0/24"),
    ];
    for (options, says) in refused {
        let failed = run("other", &options);
        assert_eq!(failed.code(), 125, "{failed:?}");
        assert!(failed.stderr.contains(says), "{options:?} is to say {says:?}: {failed:?}");
    }
    // A family the network does not have.
    scene.wharf.ok(["network", "create", "narrow"]);
    let line = ["run", "-d", "--network", "narrow", "--ip6", "fd77::51", "wharf/whoami"];
    let failed = scene.wharf.fails(line);
    assert!(failed.stderr.contains("network narrow has no subnet of its family"), "{failed:?}");
    assert_eq!(scene.wharf.json(["ps", "-a"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_full_subnet_is_refused_with_the_way_out() {
    let Some(scene) = Scene::new("full") else { return };
    scene.wharf.ok(["network", "create", "--subnet", "10.77.0.0/29", "small"]);
    let create = || scene.wharf.run(["create", "--network", "small", "wharf/whoami"]).unwrap();
    for _ in 0..5 {
        assert!(create().is_success());
    }
    let failed = create();
    assert_eq!(failed.code(), 125);
    assert!(failed.stderr.contains("no available addresses in 10.77.0.0/29"), "{failed:?}");
}

#[test]
fn gateway_modes_are_listed_and_an_isolated_bridge_has_no_address() {
    let Some(scene) = Scene::new("modes") else { return };
    for (name, options) in [
        ("a", vec!["--gateway-mode", "nat"]),
        ("b", vec!["--gateway-mode", "nat-unprotected"]),
        ("c", vec!["--gateway-mode", "routed"]),
        ("d", vec!["--gateway-mode", "isolated", "--internal"]),
        ("e", vec!["--internal"]),
    ] {
        let mut line = vec!["network", "create", "--ipv6"];
        line.extend(options);
        line.push(name);
        scene.wharf.ok(line);
    }
    let mode = |name: &str| {
        let network = scene.network(name);
        let modes = ["ipv4", "ipv6"].map(|family| {
            let option = format!("com.docker.network.bridge.gateway_mode_{family}");
            network["Options"][option].as_str().unwrap().to_owned()
        });
        assert_eq!(modes[0], modes[1], "{name}");
        (modes[0].clone(), network["Internal"] == true)
    };
    let modes = ["a", "b", "c", "d", "e"].map(mode);
    let expected = [
        ("nat", false),
        ("nat-unprotected", false),
        ("routed", false),
        ("isolated", true),
        ("nat", true),
    ];
    assert_eq!(modes, expected.map(|(mode, internal)| (mode.to_owned(), internal)));
    assert_eq!(scene.network("d")["IPAM"]["Config"][0]["Gateway"], serde_json::Value::Null);
    let bridge = scene.bridge("d");
    let addresses = scene.host.snapshot().unwrap();
    let own = addresses
        .section("addresses")
        .iter()
        .any(|line| line.starts_with(&format!("{bridge} ")) && !line.contains(" fe80:"));
    assert!(!own, "{addresses}");
    scene.wharf.ok(["run", "-d", "--name", "web", "--network", "d", "wharf/whoami"]);
    assert_eq!(scene.address("web", "Gateway"), "");
}
