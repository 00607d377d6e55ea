//! What is closed stays closed, whichever plane serves: loopback ports to crafted packets, container
//! addresses to those who route to them, networks to each other.

use std::net::SocketAddr;

use wharf_lab::Host;

use super::scene::{LIMIT, Scene, reaches, sh};

/// A port of a container that nobody publishes.
const PRIVATE: u16 = 8181;

/// The ways by which `from` reaches ports of the container `name` at the container's own addresses;
/// `expected` as in [`reaches`].
fn reached(scene: &Scene, from: &Host, name: &str, expected: bool) -> Vec<String> {
    let mut reached = Vec::new();
    for field in ["IPAddress", "GlobalIPv6Address"] {
        let address = scene.wharf.network_setting(name, field).parse().unwrap();
        for port in [80, PRIVATE] {
            let at = SocketAddr::new(address, port).to_string();
            let open = ["tcp", "udp"].into_iter().filter(|it| reaches(from, it, &at, expected));
            reached.extend(open.map(|proto| format!("{field} {port} {proto}")));
        }
    }
    reached
}

/// Has `from` send what is for the network to the host at the other end of its cable.
fn route_to(scene: &Scene, from: &Host, network: &str, host: [&str; 2]) {
    let text = scene.wharf.ok(["network", "inspect", network]);
    let inspected: serde_json::Value = serde_json::from_str(&text).unwrap();
    for subnet in inspected[0]["IPAM"]["Config"].as_array().unwrap() {
        let subnet = subnet["Subnet"].as_str().unwrap();
        from.route(subnet, host[usize::from(subnet.contains(':'))]).unwrap();
    }
}

#[test]
fn crafted_packets_reach_no_loopback_port_on_any_plane() {
    let Some(scene) = Scene::new("crafted") else { return };
    for host in [&scene.host, &scene.remote] {
        for at in ["all", "eth0"] {
            host.sysctl(&format!("net/ipv4/conf/{at}/route_localnet"), "1").unwrap();
        }
    }
    scene.whoami("web", []);
    for (port, via) in [("127.0.0.1:8080:80", "auto"), ("127.0.0.1:8081:80", "relay")] {
        let udp = format!("{port}/udp");
        scene.wharf.publish("web", &[port, &udp], &["--via", via]);
    }
    sh(
        &scene.remote,
        "ip route del local 127.0.0.0/8 dev lo table local; ip addr flush dev lo
         ip route add 127.0.0.0/8 via 10.1.0.2 src 10.1.0.1",
    );
    // What the host itself has there shows that such packets do arrive.
    let _teller = scene.host.tell(&[9000]).unwrap();
    assert!(scene.remote.can_connect("127.0.0.1:9000"), "the packets do not arrive at all");
    for port in [8080, 8081] {
        let address = format!("127.0.0.1:{port}");
        for proto in ["tcp", "udp"] {
            assert!(!reaches(&scene.remote, proto, &address, false), "{proto} {port}");
            assert!(reaches(&scene.host, proto, &address, true), "{proto} {port}");
        }
    }
}

#[test]
fn container_addresses_are_open_by_a_trusted_interface_alone() {
    let Some(scene) = Scene::new("trusted") else { return };
    let trusted =
        scene.neighbour("trusted", &["10.2.0.2/24", "fd02::2/64"], &["10.2.0.1/24", "fd02::1/64"]);
    scene.wharf.ok(["network", "create", "--ipv6", "--trusted-interface", "eth1", "net"]);
    scene.whoami("web", ["--network", "net", "-p", "8080:80", "-p", "8081:80,via=relay"]);
    let _teller = scene.wharf.container("web").unwrap().tell(&[PRIVATE]).unwrap();
    route_to(&scene, &scene.remote, "net", ["10.1.0.2", "fd01::2"]);
    route_to(&scene, &trusted, "net", ["10.2.0.2", "fd02::2"]);
    assert_eq!(reached(&scene, &scene.remote, "web", false), [""; 0]);
    assert_eq!(reached(&scene, &trusted, "web", true).len(), 8);
    for port in [8080, 8081] {
        assert_eq!(scene.connects(port, true), [true; 2], "{port}");
    }
}

#[test]
fn container_addresses_stay_closed_while_somebody_flushes_and_deletes() {
    let Some(scene) = Scene::new("closed").map(Scene::published) else { return };
    let _teller = scene.wharf.container("web").unwrap().tell(&[PRIVATE]).unwrap();
    route_to(&scene, &scene.remote, "wharf", ["10.1.0.2", "fd01::2"]);
    assert_eq!(reached(&scene, &scene.remote, "web", false), [""; 0]);
    sh(&scene.host, "nft flush ruleset");
    assert_eq!(reached(&scene, &scene.remote, "web", false), [""; 0]);
    sh(&scene.host, "ip link del wharf0");
    let back = || scene.is_open().then_some(());
    wharf_lab::wait::until(LIMIT, "the bridge", back).unwrap();
    assert_eq!(reached(&scene, &scene.remote, "web", false), [""; 0]);
}

#[test]
fn networks_reach_each_other_by_published_ports_alone_on_every_plane() {
    let Some(scene) = Scene::new("isolated") else { return };
    for network in ["left", "right"] {
        scene.wharf.ok(["network", "create", "--ipv6", network]);
    }
    scene.whoami("web", ["--network", "left"]);
    let client = scene.whoami("client", ["--network", "right"]);
    let _teller = scene.wharf.container("web").unwrap().tell(&[PRIVATE]).unwrap();
    for (port, via) in [("8080", "nft"), ("8081", "relay")] {
        let [tcp, udp] = ["tcp", "udp"].map(|proto| format!("{port}:80/{proto}"));
        scene.wharf.publish("web", &[&tcp, &udp], &["--via", via]);
    }
    assert_eq!(reached(&scene, &client, "web", false), [""; 0]);
    for port in [8080, 8081] {
        for host in ["10.1.0.2", "[fd01::2]"] {
            for proto in ["tcp", "udp"] {
                let address = format!("{host}:{port}");
                assert!(reaches(&client, proto, &address, true), "{proto} {address}");
            }
        }
    }
    scene.wharf.unpublish("web", &["--all"]);
    for port in [8080, 8081] {
        assert!(!reaches(&client, "tcp", &format!("10.1.0.2:{port}"), false), "{port}");
    }
}
