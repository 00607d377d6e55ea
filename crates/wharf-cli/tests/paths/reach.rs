//! What may be reached without a published port, and what may not: container addresses from
//! outside, loopback ports by crafted packets, networks among each other, and the way out.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use wharf_lab::Host;

use super::scene::{HOST, REMOTE, Scene, ask, at};

/// A port of a container that nobody publishes.
const PRIVATE: u16 = 8181;

/// Long enough for an answer inside one machine.
const SILENCE: Duration = Duration::from_millis(500);

/// Makes the remote host send what is for `container`'s network to the host.
fn route_to(scene: &Scene, network: &str) {
    let inspected = scene.wharf.ok(["network", "inspect", network]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    for subnet in inspected[0]["IPAM"]["Config"].as_array().unwrap() {
        let subnet = subnet["Subnet"].as_str().unwrap();
        let via = if subnet.contains(':') { HOST[2] } else { HOST[0] };
        scene.remote.route(subnet, via).unwrap();
    }
}

/// Whether a datagram to `address` is answered, asked once.
fn answers_udp(from: &Host, address: &str) -> bool {
    let socket: UdpSocket = from.udp(address).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.send(b"?").is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

/// Each port of the container that `from` reaches on the container's own addresses.
fn reached(scene: &Scene, from: &Host, container: &str) -> Vec<String> {
    let mut reached = Vec::new();
    for field in ["IPAddress", "GlobalIPv6Address"] {
        let address = scene.address(container, field);
        for port in [80, PRIVATE] {
            let at = std::net::SocketAddr::new(address, port).to_string();
            if from.can_connect(&at) {
                reached.push(format!("{field} {port} tcp"));
            }
            if answers_udp(from, &at) {
                reached.push(format!("{field} {port} udp"));
            }
        }
    }
    reached
}

/// Makes a container with one published and one private port on a network of this gateway mode,
/// and sees that the remote host reaches these ports of it by a route, in both families.
fn check_mode(mode: &str, open: &[&str]) {
    let Some(scene) = Scene::new(mode) else { return };
    scene.wharf.ok(["network", "create", "--ipv6", "--gateway-mode", mode, "net"]);
    scene.whoami("web", ["--network", "net", "-p", "8080:80", "-p", "8080:80/udp"]);
    let inside = scene.wharf.container("web").unwrap();
    let _teller = inside.tell(&[PRIVATE]).unwrap();
    route_to(&scene, "net");
    let expected = ["IPAddress", "GlobalIPv6Address"]
        .map(|it| open.iter().map(move |at| format!("{it} {at}")));
    let expected: Vec<String> = expected.into_iter().flatten().collect();
    let look = || reached(&scene, &scene.remote, "web");
    // A busy machine may answer too late.
    let once_more = |seen: Vec<String>, _| if seen.len() < expected.len() { look() } else { seen };
    let reached = (0..3).fold(look(), once_more);
    let states = || {
        [&scene.remote, &scene.host, &inside]
            .map(|it| format!("{it:?}\n{}", it.snapshot().unwrap()))
    };
    assert!(reached == expected, "{reached:?}, not {expected:?}\n{}", states().join("\n"));
    // The host itself is no stranger on its own bridge.
    for field in ["IPAddress", "GlobalIPv6Address"] {
        let web = std::net::SocketAddr::new(scene.address("web", field), 80);
        assert!(ask(&scene.host, "tcp", web).is_ok(), "{field}");
    }
}

#[test]
fn a_nat_network_is_closed_to_routed_packets() {
    check_mode("nat", &[]);
}

#[test]
fn a_routed_network_opens_published_ports_alone() {
    check_mode("routed", &["80 tcp", "80 udp"]);
}

#[test]
fn an_unprotected_network_is_open_on_every_port() {
    check_mode("nat-unprotected", &["80 tcp", "80 udp", "8181 tcp", "8181 udp"]);
}

#[test]
fn a_routed_container_is_reached_and_reaches_out_with_addresses_unchanged() {
    let Some(scene) = Scene::new("routed sources") else { return };
    scene.wharf.ok(["network", "create", "--ipv6", "--gateway-mode", "routed", "net"]);
    scene.whoami("web", ["--network", "net", "-p", "80"]);
    route_to(&scene, "net");
    let _teller = scene.remote.tell(&[9000]).unwrap();
    let inside = scene.wharf.container("web").unwrap();
    for (field, remote) in [("IPAddress", REMOTE[0]), ("GlobalIPv6Address", REMOTE[1])] {
        let own = scene.address("web", field);
        let web = std::net::SocketAddr::new(own, 80);
        assert_eq!(ask(&scene.remote, "tcp", web).unwrap().source.to_string(), remote);
        for proto in ["tcp", "udp"] {
            assert_eq!(ask(&inside, proto, at(remote, 9000)).unwrap().source, own);
        }
    }
}

#[test]
fn containers_leave_with_an_address_of_the_host() {
    let Some(scene) = Scene::new("egress") else { return };
    scene.whoami("web", []);
    let _teller = scene.remote.tell(&[9000]).unwrap();
    let inside = scene.wharf.container("web").unwrap();
    for (remote, own) in [(REMOTE[0], &HOST[..2]), (REMOTE[1], &HOST[2..])] {
        for proto in ["tcp", "udp"] {
            let seen = ask(&inside, proto, at(remote, 9000)).unwrap().source.to_string();
            assert!(own.contains(&seen.as_str()), "{proto} {seen}");
        }
    }
}

#[test]
fn networks_reach_each_other_by_published_ports_alone() {
    let Some(scene) = Scene::new("isolated") else { return };
    scene.wharf.ok(["network", "create", "--ipv6", "left"]);
    scene.wharf.ok(["network", "create", "--ipv6", "right"]);
    scene.whoami("web", ["--network", "left", "-p", "8080:80"]);
    scene.whoami("client", ["--network", "right"]);
    let _teller = scene.wharf.container("web").unwrap().tell(&[PRIVATE]).unwrap();
    let client = scene.wharf.container("client").unwrap();
    assert_eq!(reached(&scene, &client, "web"), [""; 0]);
    for address in [HOST[0], HOST[2]] {
        assert!(ask(&client, "tcp", at(address, 8080)).is_ok(), "{address}");
    }
}

#[test]
fn an_internal_network_has_no_way_out_and_its_published_ports_work() {
    let Some(scene) = Scene::new("internal") else { return };
    scene.wharf.ok(["network", "create", "--ipv6", "--internal", "net"]);
    scene.whoami("web", ["--network", "net", "-p", "8080:80", "-p", "8080:80/udp"]);
    let _teller = scene.remote.tell(&[9000]).unwrap();
    let inside = scene.wharf.container("web").unwrap();
    for remote in REMOTE {
        assert!(!inside.can_connect(&at(remote, 9000).to_string()), "{remote}");
    }
    // Even with a route of its own making.
    for (everything, gateway) in [("0.0.0.0/0", "Gateway"), ("::/0", "IPv6Gateway")] {
        let networks = &scene.wharf.inspect("web")["NetworkSettings"]["Networks"];
        let gateway = networks["net"][gateway].as_str().unwrap_or_default().to_owned();
        if !gateway.is_empty() && inside.route(everything, &gateway).is_ok() {
            let remote = if everything == "::/0" { REMOTE[1] } else { REMOTE[0] };
            assert!(!inside.can_connect(&at(remote, 9000).to_string()), "{remote}");
        }
    }
    for address in HOST {
        for proto in ["tcp", "udp"] {
            let told = ask(&scene.remote, proto, at(address, 8080)).unwrap();
            assert!(!REMOTE.contains(&told.source.to_string().as_str()), "{told:?}");
        }
    }
    route_to(&scene, "net");
    assert_eq!(reached(&scene, &scene.remote, "web"), [""; 0]);
}

/// Makes the remote host send what is for 127.0.0.0/8 to the host, and the host take it; `false`
/// when there is no program to do it with.
fn craft_loopback(scene: &Scene) -> bool {
    for (host, link) in [(&scene.host, "eth0"), (&scene.remote, "eth0")] {
        for at in ["all", link] {
            host.sysctl(&format!("net/ipv4/conf/{at}/route_localnet"), "1").unwrap();
        }
    }
    let script = format!(
        "ip route del local 127.0.0.0/8 dev lo table local; ip addr flush dev lo;
         ip route add 127.0.0.0/8 via {} src {}",
        HOST[0], REMOTE[0]
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]);
    let output = scene.remote.output(command, Duration::from_secs(10)).unwrap();
    output.is_success()
}

#[test]
fn a_loopback_port_is_closed_to_crafted_packets() {
    let Some(scene) = Scene::new("crafted") else { return };
    scene.whoami("web", ["-p", "127.0.0.1:8080:80", "-p", "127.0.0.1:8080:80/udp"]);
    if !craft_loopback(&scene) {
        eprintln!("skipped: the program ip is not installed");
        return;
    }
    // What the host itself has on its loopback address shows that such packets do arrive.
    let _listener = scene.host.tcp_listen("127.0.0.1:9000").unwrap();
    let echo = scene.host.udp_bind("127.0.0.1:9000").unwrap();
    std::thread::spawn(move || {
        let (length, from) = echo.recv_from(&mut [0; 64]).unwrap();
        echo.send_to(&[0; 64][..length], from).unwrap();
    });
    assert!(answers_udp(&scene.remote, "127.0.0.1:9000"), "the packets do not arrive at all");
    assert!(scene.remote.can_connect("127.0.0.1:9000"));
    assert!(!answers_udp(&scene.remote, "127.0.0.1:8080"));
    let error = scene.remote.tcp("127.0.0.1:8080").unwrap_err();
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(ErrorKind::TimedOut), "dropped, not refused: {error:#}");
    assert!(ask(&scene.host, "tcp", at("127.0.0.1", 8080)).is_ok());
}
