//! Targets that are no containers of ours.

use std::net::IpAddr;
use std::process::Command;

use wharf_lab::Process;

use super::scene::{LIMIT, Line, Scene};

/// A process in a namespace keeps a file that stands for it.
fn keeper(host: &wharf_lab::Host) -> (Process, String) {
    let mut command = Command::new("/bin/sleep");
    command.arg("600");
    let process = host.spawn(command).unwrap();
    let path = format!("netns:/proc/{}/ns/net", process.pid());
    (process, path)
}

#[test]
fn a_namespace_without_any_route_is_reached_from_inside() {
    let Some(scene) = Scene::new("island") else { return };
    let island = scene.lab.host("island").unwrap();
    let (_keeper, target) = keeper(&island);
    let _teller = island.tell(&[80, 81]).unwrap();
    scene.wharf.publish(&target, &["8080:80", "8080:80/udp", "9000-9001:80-81"], &[]);
    scene.answers("tcp", 8080, "island");
    scene.answers("udp", 8080, "island");
    let told = scene.remote.told("tcp", "10.1.0.2:9001").unwrap();
    assert_eq!(told.port, Some(81));
    // The relay speaks from the client's address even there.
    assert_eq!(told.source.to_string(), "10.1.0.1");
    let [entry] = &scene.wharf.ports_at("9000-9001")[..] else { panic!() };
    assert_eq!(entry["planes"], serde_json::json!(["relay"]), "{entry:#}");
    assert_eq!(island.interfaces().unwrap(), ["lo"], "nothing was put into it");
    scene.wharf.unpublish(&target, &["8080:80"]);
    scene.is_closed("tcp", 8080);
    scene.answers("udp", 8080, "island");
    scene.wharf.unpublish(&target, &["--all"]);
    scene.is_closed("udp", 8080);
}

#[test]
fn a_namespace_without_ipv6_serves_clients_that_have_it() {
    let Some(scene) = Scene::new("narrow island") else { return };
    let island = scene.lab.host("island").unwrap();
    island.sysctl("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    let (_keeper, target) = keeper(&island);
    let _teller = island.tell(&[80]).unwrap();
    scene.wharf.publish(&target, &["8080:80", "8080:80/udp"], &[]);
    scene.answers("tcp", 8080, "island");
    scene.answers("udp", 8080, "island");
}

#[test]
fn the_gateway_s_address_in_a_namespace_is_its_own_loopback() {
    let Some(scene) = Scene::new("island gateway") else { return };
    let island = scene.lab.host("island").unwrap();
    let (_keeper, target) = keeper(&island);
    let _teller = island.tell(&[80]).unwrap();
    scene.wharf.publish(&target, &["8080:80"], &["--source", "gateway"]);
    scene.answers("tcp", 8080, "island");
    let told = scene.remote.told("tcp", "10.1.0.2:8080").unwrap();
    assert!(told.source.is_loopback(), "{told:?}");
}

#[test]
fn what_listens_on_the_host_s_own_loopback_is_published() {
    let Some(scene) = Scene::new("own loopback") else { return };
    let listener = scene.host.tcp_listen("127.0.0.1:7000").unwrap();
    listener.set_nonblocking(true).unwrap();
    scene.wharf.publish("addr:127.0.0.1", &["10.1.0.2:7001:7000"], &[]);
    let mut line = Line::open(&scene.remote, "10.1.0.2:7001", &listener);
    assert!(line.carries());
    assert!(!scene.remote.can_connect("10.1.0.2:7000"));
}

#[test]
fn an_allow_list_holds_for_a_namespace() {
    let Some(scene) = Scene::new("island allow") else { return };
    let island = scene.lab.host("island").unwrap();
    let (_keeper, target) = keeper(&island);
    let _teller = island.tell(&[80]).unwrap();
    scene.wharf.publish(&target, &["8080:80"], &["--allow", "10.1.0.0/24"]);
    assert_eq!(scene.remote.told("tcp", "10.1.0.2:8080").unwrap().hostname, "island");
    assert!(scene.remote.told("tcp", "[fd01::2]:8080").is_err());
}

#[test]
fn another_machine_is_reached_by_its_address() {
    let Some(scene) = Scene::new("machine") else { return };
    let machine =
        scene.neighbour("machine", &["10.3.0.1/24", "fd03::1/64"], &["10.3.0.2/24", "fd03::2/64"]);
    let _teller = machine.tell(&[80]).unwrap();
    scene.wharf.publish("addr:10.3.0.2", &["8080:80", "8080:80/udp"], &[]);
    scene.wharf.publish("addr:fd03::2", &["8081:80", "8081:80/udp"], &[]);
    // The machine has no way back to the client, so that only the gateway's address will do.
    for port in [8080, 8081] {
        scene.answers("tcp", port, "machine");
        scene.answers("udp", port, "machine");
    }
    let gateway: IpAddr = "10.3.0.1".parse().unwrap();
    let told = scene.remote.told("tcp", "10.1.0.2:8080").unwrap();
    assert_eq!(told.source, gateway);
    scene.wharf.unpublish("addr:10.3.0.2", &["--all"]);
    scene.is_closed("tcp", 8080);
    scene.answers("tcp", 8081, "machine");
}

#[test]
fn another_machine_moves_like_a_container() {
    let Some(scene) = Scene::new("moved machine") else { return };
    let machine = scene.neighbour("machine", &["10.3.0.1/24"], &["10.3.0.2/24"]);
    machine.default_route_via("10.3.0.1").unwrap();
    let _teller = machine.tell(&[80]).unwrap();
    scene.whoami("web", ["-p", "8080:80"]);
    let prober = scene.remote.probe("tcp", "10.1.0.2:8080", 200).unwrap();
    prober.reaches("web", LIMIT).unwrap();
    scene.wharf.publish("addr:10.3.0.2", &["8080:80"], &["--replace", "web"]);
    prober.reaches("machine", LIMIT).unwrap();
    let seen = prober.stop().unwrap();
    assert!(seen.is_flawless(), "{seen}");
}
