//! Allow-lists, the same on every plane: who is not on them gets nowhere near the container.

use wharf_lab::Host;

use super::scene::{Scene, reaches};

/// Another host on another cable, which is on no allow-list.
fn stranger(scene: &Scene) -> Host {
    scene.neighbour("stranger", &["10.2.0.2/24", "fd02::2/64"], &["10.2.0.1/24", "fd02::1/64"])
}

/// Every way for which `from` is not treated as is `right` for it.
fn wrong(from: &Host, hosts: &[&str], port: u16, right: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for host in hosts {
        for proto in ["tcp", "udp"] {
            let address = format!("{host}:{port}");
            if reaches(from, proto, &address, right) != right {
                wrong.push(format!("{from:?} {proto} {address} should be {right}"));
            }
        }
    }
    wrong
}

/// One container, published by one plane for the remote host alone.
fn check(via: &str) {
    let Some(scene) = Scene::new(&format!("allow {via}")) else { return };
    let stranger = stranger(&scene);
    scene.whoami("web", []);
    let specs = ["8080:80", "8080:80/udp"];
    let allow = ["--via", via, "--allow", "10.1.0.0/24,fd01::/64"];
    scene.wharf.publish("web", &specs, &allow);
    let mut all = wrong(&scene.remote, &["10.1.0.2", "[fd01::2]"], 8080, true);
    all.extend(wrong(&stranger, &["10.2.0.2", "[fd02::2]"], 8080, false));
    // The host itself is nobody special.
    all.extend(wrong(&scene.host, &["127.0.0.1", "[::1]"], 8080, false));
    assert!(all.is_empty(), "{all:#?}");

    // Others, from now on.
    let allow = ["--via", via, "--allow", "10.2.0.1,fd02::1,127.0.0.0/8,::1"];
    scene.wharf.publish("web", &specs, &allow);
    let mut all = wrong(&scene.remote, &["10.1.0.2", "[fd01::2]"], 8080, false);
    all.extend(wrong(&stranger, &["10.2.0.2", "[fd02::2]"], 8080, true));
    all.extend(wrong(&scene.host, &["127.0.0.1", "[::1]"], 8080, true));
    assert!(all.is_empty(), "{all:#?}\n{:#?}", scene.wharf.ports());

    // One family only: nobody of the other one.
    scene.wharf.publish("web", &specs, &["--via", via, "--allow", "10.2.0.1"]);
    let mut all = wrong(&stranger, &["10.2.0.2"], 8080, true);
    all.extend(wrong(&stranger, &["[fd02::2]"], 8080, false));
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn the_kernel_plane_serves_those_on_the_list() {
    check("nft");
}

#[test]
fn the_relay_serves_those_on_the_list() {
    check("relay");
}

#[test]
fn containers_are_clients_like_others() {
    let Some(scene) = Scene::new("allow inside") else { return };
    scene.whoami("web", []);
    scene.wharf.ok(["network", "create", "--ipv6", "--subnet", "10.77.0.0/24", "blue"]);
    let neighbour = scene.whoami("neighbour", []);
    let other = scene.whoami("other", ["--network", "blue"]);
    for (port, via) in [("8080:80", "nft"), ("8081:80", "relay")] {
        scene.wharf.publish("web", &[port], &["--via", via, "--allow", "10.77.0.0/24"]);
    }
    for port in [8080, 8081] {
        let address = format!("10.1.0.2:{port}");
        assert!(reaches(&other, "tcp", &address, true), "{port}");
        assert!(!reaches(&neighbour, "tcp", &address, false), "{port}");
        assert!(!reaches(&scene.remote, "tcp", &address, false), "{port}");
    }
}

/// Before the handshake: nobody who may not connect learns that somebody listens.
#[test]
fn who_is_turned_away_is_turned_away_before_the_handshake() {
    let Some(scene) = Scene::new("allow handshake") else { return };
    scene.whoami("web", []);
    for (port, via) in [("8080:80", "nft"), ("8081:80", "relay")] {
        scene.wharf.publish("web", &[port], &["--via", via, "--allow", "192.0.2.0/24"]);
    }
    for port in [8080, 8081] {
        assert_eq!(scene.connects(port, false), [false; 2], "{port}");
    }
}
