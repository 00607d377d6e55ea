//! Which host ports a container gets, and for how long it has them.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::scene::{Scene, answered_by, port_of};

/// Whether somebody else could have `port`, over either protocol and on any address.
fn is_free(scene: &Scene, port: u16) -> bool {
    let places = ["0.0.0.0", "[::]", "127.0.0.1", "10.1.0.2", "[::1]"];
    let fails = |result: anyhow::Result<()>| {
        let error = result.err()?;
        let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(kind, Some(ErrorKind::AddrInUse), "{error:#}");
        Some(())
    };
    let taken = places.iter().filter_map(|place| {
        let at = format!("{place}:{port}");
        fails(scene.host.tcp_listen(&at).map(drop))
            .or_else(|| fails(scene.host.udp_bind(&at).map(drop)))
    });
    let taken = taken.count();
    assert!(taken == 0 || taken == places.len(), "{port} is taken on {taken} addresses");
    taken == 0
}

#[test]
fn an_ephemeral_port_has_the_same_number_in_both_families() {
    let Some(scene) = Scene::new("ephemeral") else { return };
    scene.whoami("web", ["-p", "80", "-p", "0:80/udp", "-p", "127.0.0.1::80"]);
    let tcp = scene.wharf.ok(["port", "web", "80"]);
    let lines: Vec<&str> = tcp.lines().collect();
    let wildcard: Vec<u16> =
        lines.iter().filter(|l| !l.starts_with("127.")).map(|l| port_of(l)).collect();
    assert_eq!(wildcard.len(), 2, "{tcp}");
    assert_eq!(wildcard[0], wildcard[1], "{tcp}");
    let (first, last) = ephemeral_range(&scene);
    for line in &lines {
        assert!((first..=last).contains(&port_of(line)), "{line}");
    }
    let port = wildcard[0];
    for address in [format!("10.1.0.2:{port}"), format!("[fd01::2]:{port}")] {
        assert_eq!(answered_by(&scene.remote, "tcp", &address).unwrap(), "web");
    }
    let loopback = lines.iter().find(|line| line.starts_with("127.0.0.1:")).unwrap();
    assert_eq!(answered_by(&scene.host, "tcp", loopback).unwrap(), "web");
    let udp = scene.wharf.ok(["port", "web", "80/udp"]);
    let port = port_of(udp.lines().next().unwrap());
    assert_eq!(answered_by(&scene.remote, "udp", &format!("[fd01::2]:{port}")).unwrap(), "web");
}

fn ephemeral_range(scene: &Scene) -> (u16, u16) {
    let text = scene.host.read_sysctl("net/ipv4/ip_local_port_range").unwrap();
    let mut ends = text.split_whitespace().map(|end| end.parse().unwrap());
    (ends.next().unwrap(), ends.next().unwrap())
}

#[test]
fn every_port_of_a_container_range_gets_a_host_port() {
    let Some(scene) = Scene::new("ephemeral range") else { return };
    scene.whoami("web", ["-p", "79-82"]);
    let lines = scene.wharf.ok(["port", "web"]);
    assert_eq!(lines.lines().count(), 8, "{lines}");
    let line = scene.wharf.ok(["port", "web", "80"]);
    let port = port_of(line.lines().next().unwrap());
    assert_eq!(answered_by(&scene.remote, "tcp", &format!("10.1.0.2:{port}")).unwrap(), "web");
}

#[test]
fn all_exposed_ports_are_published_on_request() {
    let Some(scene) = Scene::new("publish all") else { return };
    scene.whoami("web", ["-P", "--expose", "9000-9002", "--expose", "53/udp"]);
    let lines = scene.wharf.ok(["port", "web"]);
    let published: BTreeSet<&str> =
        lines.lines().map(|l| l.split(" -> ").next().unwrap()).collect();
    let exposed = ["53/udp", "80/tcp", "80/udp", "9000/tcp", "9001/tcp", "9002/tcp"];
    assert_eq!(published, exposed.into());
    for proto in ["tcp", "udp"] {
        let line = scene.wharf.ok(["port", "web", &format!("80/{proto}")]);
        let port = port_of(line.lines().next().unwrap());
        assert_eq!(answered_by(&scene.remote, proto, &format!("10.1.0.2:{port}")).unwrap(), "web");
    }
}

#[test]
fn a_port_published_by_hand_is_not_published_again_by_request_for_all() {
    let Some(scene) = Scene::new("by hand") else { return };
    scene.whoami("web", ["-P", "-p", "8080:80"]);
    assert_eq!(scene.wharf.ok(["port", "web", "80"]), "0.0.0.0:8080\n[::]:8080");
    assert_eq!(scene.wharf.ok(["port", "web", "80/udp"]).lines().count(), 2);
}

#[test]
fn containers_share_a_host_range_until_it_is_exhausted() {
    let Some(scene) = Scene::new("host range") else { return };
    let mut ports = BTreeSet::new();
    for name in ["c0", "c1", "c2"] {
        scene.whoami(name, ["-p", "8000-8002:80"]);
        let line = scene.wharf.ok(["port", name, "80"]);
        ports.insert(port_of(line.lines().next().unwrap()));
        let address = format!("10.1.0.2:{}", port_of(line.lines().next().unwrap()));
        assert_eq!(answered_by(&scene.remote, "tcp", &address).unwrap(), name);
    }
    assert_eq!(ports, [8000, 8001, 8002].into());
    let failed = scene.wharf.fails(["run", "-d", "--rm", "-p", "8000-8002:80", "wharf/whoami"]);
    assert_eq!(failed.code(), 125);
    assert!(failed.stderr.contains("all ports are allocated"), "{failed:?}");
    // A foreign program in the range is passed over, too, however many there are.
    let _held: Vec<_> = (8100..8120)
        .map(|port| scene.host.tcp_listen(&format!("127.0.0.1:{port}")).unwrap())
        .collect();
    scene.whoami("c3", ["-p", "8100-8120:80"]);
    assert_eq!(scene.wharf.ok(["port", "c3", "80"]), "0.0.0.0:8120\n[::]:8120");
}

#[test]
fn exact_ports_are_chosen_before_ranges_and_ephemeral_ones() {
    let Some(scene) = Scene::new("order") else { return };
    scene.whoami("web", ["-p", "8000-8001:80", "-p", "8000:81"]);
    assert_eq!(scene.wharf.ok(["port", "web", "80"]), "0.0.0.0:8001\n[::]:8001");
    assert_eq!(scene.wharf.ok(["port", "web", "81"]), "0.0.0.0:8000\n[::]:8000");
}

#[test]
fn one_container_port_can_have_several_host_ports() {
    let Some(scene) = Scene::new("several") else { return };
    scene.whoami("web", ["-p", "8080:80", "-p", "8081:80", "-p", "127.0.0.1:8082:80"]);
    for port in [8080, 8081, 8082] {
        assert_eq!(answered_by(&scene.host, "tcp", &format!("127.0.0.1:{port}")).unwrap(), "web");
    }
}

#[test]
fn one_host_port_on_two_loopback_addresses_leads_to_two_containers() {
    let Some(scene) = Scene::new("loopbacks") else { return };
    scene.whoami("one", ["-p", "127.0.1.2:8080:80"]);
    scene.whoami("two", ["-p", "127.0.1.3:8080:80"]);
    assert_eq!(answered_by(&scene.host, "tcp", "127.0.1.2:8080").unwrap(), "one");
    assert_eq!(answered_by(&scene.host, "tcp", "127.0.1.3:8080").unwrap(), "two");
}

#[test]
fn one_host_port_on_two_host_addresses_leads_to_two_containers() {
    let Some(scene) = Scene::new("addresses") else { return };
    scene.whoami("four", ["-p", "10.1.0.2:8080:80"]);
    scene.whoami("six", ["-p", "[fd01::2]:8080:80"]);
    assert_eq!(answered_by(&scene.remote, "tcp", "10.1.0.2:8080").unwrap(), "four");
    assert_eq!(answered_by(&scene.remote, "tcp", "[fd01::2]:8080").unwrap(), "six");
}

#[test]
fn a_published_port_is_taken_for_everyone_else_until_the_container_goes() {
    let Some(scene) = Scene::new("taken") else { return };
    let ports = [8080, 8090, 8091];
    let options = [
        "-p",
        "8080:80",
        "-p",
        "8080:80/udp",
        "-p",
        "8090-8091:8090-8091",
        "-p",
        "8090-8091:8090-8091/udp",
    ];
    scene.whoami("web", options);
    assert!(ports.iter().all(|port| !is_free(&scene, *port)));
    scene.wharf.ok(["stop", "-t", "0", "web"]);
    assert!(ports.iter().all(|port| is_free(&scene, *port)), "after the stop");
    scene.wharf.ok(["start", "web"]);
    assert!(ports.iter().all(|port| !is_free(&scene, *port)));
    scene.wharf.ok(["rm", "-f", "web"]);
    assert!(ports.iter().all(|port| is_free(&scene, *port)), "after the removal");
}

#[test]
fn a_container_that_is_started_again_is_published_again() {
    let Some(scene) = Scene::new("again") else { return };
    scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let answers = |what: &str| {
        for (client, address) in [
            (&scene.remote, "10.1.0.2:8080"),
            (&scene.remote, "[fd01::2]:8080"),
            (&scene.host, "127.0.0.1:8080"),
        ] {
            for proto in ["tcp", "udp"] {
                assert_eq!(
                    answered_by(client, proto, address).unwrap(),
                    "web",
                    "{what} {address} {proto}"
                );
            }
        }
    };
    answers("first");
    scene.wharf.ok(["stop", "-t", "0", "web"]);
    assert!(
        !scene.remote.can_connect("10.1.0.2:8080") && !scene.host.can_connect("127.0.0.1:8080")
    );
    scene.again(&["start"], "web");
    answers("started");
    scene.again(&["restart", "-t", "0"], "web");
    answers("restarted");
    scene.wharf.ok(["kill", "web"]);
    assert!(!scene.host.can_connect("127.0.0.1:8080"));
    assert_eq!(scene.listed("web")["exit_code"], 137);
    scene.again(&["start"], "web");
    answers("started after a kill");
}

#[test]
fn an_allow_list_lets_in_whom_it_names() {
    let Some(scene) = Scene::new("allow") else { return };
    scene.whoami(
        "web",
        ["-p", "8080:80,allow=10.1.0.0/24,127.0.0.0/8", "-p", "8081:80,allow=192.0.2.0/24"],
    );
    assert_eq!(answered_by(&scene.remote, "tcp", "10.1.0.2:8080").unwrap(), "web");
    assert_eq!(answered_by(&scene.host, "tcp", "127.0.0.1:8080").unwrap(), "web");
    for refused in ["[fd01::2]:8080", "10.1.0.2:8081", "[fd01::2]:8081"] {
        assert!(answered_by(&scene.remote, "tcp", refused).is_err(), "{refused}");
    }
}

#[test]
fn a_host_without_ipv6_publishes_on_ipv4() {
    let Some(scene) = Scene::new("without ipv6") else { return };
    for which in ["all", "default"] {
        scene.host.sysctl(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1").unwrap();
    }
    scene.whoami("web", ["-p", "8080:80", "-p", "80/udp"]);
    assert_eq!(scene.wharf.ok(["port", "web", "80"]), "0.0.0.0:8080");
    assert_eq!(scene.wharf.ok(["port", "web", "80/udp"]).lines().count(), 1);
    assert_eq!(answered_by(&scene.remote, "tcp", "10.1.0.2:8080").unwrap(), "web");
    assert_eq!(answered_by(&scene.host, "tcp", "127.0.0.1:8080").unwrap(), "web");
    let failed = scene.wharf.fails(["network", "create", "--ipv6", "blue"]);
    assert!(failed.stderr.contains("IPv6 is not available on this host"), "{failed:?}");
    let failed = scene.wharf.fails(["run", "-d", "--rm", "-p", "[::1]:8081:80", "wharf/whoami"]);
    assert!(failed.stderr.contains("this host has no such address"), "{failed:?}");
}
