//! Ways that work, from everywhere.

use super::scene::Scene;

#[test]
fn a_packet_from_another_host_is_followed_through_the_kernel() {
    let Some(scene) = Scene::new("explained way") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let way = scene.by_remote("8080").works();
    assert_eq!(way.value["plane"], "nft");
    assert_eq!(way.value["path"], "external-v4");
    assert_eq!(way.value["target_name"], "web");
    assert_eq!(way.value["address"], "10.1.0.2");
    assert!(way.hop("arrival").contains("10.1.0.1 comes by eth0"), "{way:?}");
    assert!(way.hop("address").contains("eth0 has 10.1.0.2"), "{way:?}");
    assert!(way.hop("plane").contains("ports4 in table inet wharf"), "{way:?}");
    assert!(way.hop("rewriting").contains("10.1.0.2:8080 becomes 10.201.0."), "{way:?}");
    assert!(way.hop("listening").contains(":80 in container web"), "{way:?}");
    assert!(way.hop("source").contains("the client's address, 10.1.0.1"), "{way:?}");
    assert!(way.has("forwarding") && way.has("bridge") && way.has("veth"), "{way:?}");
    // Nobody in particular comes the same way.
    let anyone = scene.way("8080", None).works();
    assert_eq!(
        (&anyone.value["from"], &anyone.value["plane"]),
        (&"another host".into(), &"nft".into())
    );
}

#[test]
fn the_hosts_own_processes_and_other_families_have_ways_of_their_own() {
    let Some(scene) = Scene::new("own ways") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let own = scene.way("8080", Some("host")).works();
    assert_eq!(
        (&own.value["plane"], &own.value["path"]),
        (&"ebpf".into(), &"host-loopback".into())
    );
    assert!(own.hop("plane").contains("connect() is led to the target"), "{own:?}");
    assert!(own.hop("rewriting").contains("getpeername() says 127.0.0.1:8080"), "{own:?}");
    assert!(own.hop("source").contains("the gateway's address"), "{own:?}");
    assert!(!own.has("forwarding"), "{own:?}");
    let address = scene.way("10.1.0.2:8080", Some("host")).works();
    assert_eq!(address.value["path"], "host-address");
    assert_eq!(scene.way("127.0.0.1:8080", None).works().value["from"], "this host");
    let v6 = scene.way("[fd01::2]:8080", Some("fd01::1"));
    let v6 = v6.works();
    assert_eq!((&v6.value["path"], &v6.value["plane"]), (&"external-v6".into(), &"nft".into()));
    assert!(v6.hop("source").contains("the client's address, fd01::1"), "{v6:?}");
}

#[test]
fn without_ebpf_the_relay_serves_the_host_and_the_plan_says_why() {
    let Some(scene) = Scene::new("no ebpf") else { return };
    let scene = scene.without_ebpf();
    scene.whoami("web", ["-p", "8080:80"]);
    let own = scene.way("8080", Some("host")).works();
    assert_eq!(own.value["plane"], "relay");
    assert!(own.hop("plane").contains("socket "), "{own:?}");
    assert!(own.hop("plane").contains("not ebpf: switched off (--no-ebpf)"), "{own:?}");
}

#[test]
fn neighbours_and_other_networks_are_told_apart() {
    let Some(scene) = Scene::new("neighbours") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    scene.whoami("next", []);
    let inspected = scene.wharf.json(["inspect", "next"]);
    let networks = inspected[0]["NetworkSettings"]["Networks"].as_object().unwrap();
    let address = networks.values().next().unwrap()["IPAddress"].as_str().unwrap().to_owned();
    let way = scene.way("8080", Some(&address)).works();
    assert_eq!(way.value["path"], "same-bridge");
    assert!(way.hop("source").contains("gateway"), "{way:?}");
}

#[test]
fn each_publication_of_a_number_is_explained() {
    let Some(scene) = Scene::new("two of one number") else { return };
    scene.whoami("inner", ["-p", "127.0.0.1:8080:80"]);
    scene.whoami("outer", ["-p", "10.1.0.2:8080:80"]);
    let (code, found) = scene.wharf.explain("8080", None);
    let ways = found.as_array().unwrap();
    assert_eq!((code, ways.len()), (0, 2), "{found:#}");
    assert_eq!(scene.way("10.1.0.2:8080", None).works().value["target_name"], "outer");
    assert_eq!(scene.way("127.0.0.1:8080", None).works().value["target_name"], "inner");
}

#[test]
fn people_get_a_drawing_and_programs_an_exit_code() {
    let Some(scene) = Scene::new("drawing") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let drawing = scene.wharf.ok(["explain", "8080", "--from", "10.1.0.1"]);
    assert!(drawing.starts_with("from 10.1.0.1 to 10.1.0.2:8080/tcp, which is web's"), "{drawing}");
    assert!(drawing.contains("✓ plane") && drawing.ends_with("It works"), "{drawing}");
    let output = scene.wharf.run(["explain", "9999"]).unwrap();
    assert_eq!(output.code(), 1);
    assert!(output.stdout.contains("✗ publication"), "{output:?}");
    let output = scene.wharf.fails(["explain", "web"]);
    assert!(output.stderr.contains("invalid port"), "{output:?}");
}

#[test]
fn datagrams_and_routed_networks_have_ways_too() {
    let Some(scene) = Scene::new("udp and routed") else { return };
    scene.whoami("web", ["-p", "8080:80/udp"]);
    let way = scene.by_remote("8080").works();
    assert_eq!(way.value["protocol"], "udp");
    let own = scene.way("8080/udp", Some("host")).works();
    assert!(own.hop("plane").contains("connected UDP sockets take the slower"), "{own:?}");
    scene.by_remote("8080/tcp").fails("publication", "web is at port 8080/udp", "");
    let routed = ["network", "create", "--gateway-mode", "routed", "--subnet", "10.50.0.0/24"];
    scene.wharf.ok(routed.iter().chain(&["open"]));
    scene.whoami("direct", ["--network", "open", "-p", "80"]);
    scene.remote.route("10.50.0.0/24", "10.1.0.2").unwrap();
    let (_, found) = scene.wharf.explain("80", Some("10.1.0.1"));
    assert_eq!(found[0]["plane"], "routed", "{found:#}");
    assert_eq!(found[0]["works"], true, "{found:#}");
    assert!(scene.remote.can_connect("10.50.0.2:80"));
    scene.host.sysctl("net/ipv4/conf/eth0/forwarding", "0").unwrap();
    scene.by_remote("80").fails("forwarding", "eth0", "sysctl");
}
