//! The relay is the floor: whatever becomes of the kernel plane, ports are served.

use wharf_host::netlink::Family;
use wharf_host::nftables::Batch;
use wharf_lab::Host;

use super::scene::{HOST, REMOTE, Scene, ask, at};

const PORT: u16 = 8080;

/// Deletes the program's table as another program would.
fn delete_table(host: &Host) {
    try_to_delete_table(host).unwrap();
}

fn try_to_delete_table(host: &Host) -> wharf_host::Result<()> {
    let mut netlink = host.netns().open_netlink(Family::Netfilter).unwrap();
    let mut batch = Batch::new("wharf");
    batch.delete_table();
    batch.commit(&mut netlink)
}

#[test]
fn nobody_else_can_delete_a_table_that_is_owned() {
    let Some(scene) = Scene::new("owned") else { return };
    scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    match try_to_delete_table(&scene.host) {
        Ok(()) => eprintln!("skipped: this kernel has no tables with a lasting owner"),
        Err(error) => assert_eq!(error.errno(), Some(1), "{error}"),
    }
    assert_eq!(seen_from_remote(&scene, PORT), REMOTE);
}

/// The sources seen over each protocol and family, from the remote host.
fn seen_from_remote(scene: &Scene, port: u16) -> Vec<String> {
    let mut seen = Vec::new();
    for address in HOST {
        for proto in ["tcp", "udp"] {
            let told = ask(&scene.remote, proto, at(address, port));
            let told = told.map(|told| told.source.to_string());
            seen.push(told.unwrap_or_else(|error| format!("{proto} {address}: {error:#}")));
        }
    }
    seen.sort();
    seen.dedup();
    seen
}

fn published(name: &str, options: &[&str]) -> Option<Scene> {
    let scene = Scene::new(name)?.with_shared_table();
    let mut all = vec!["-p", "8080:80", "-p", "8080:80/udp"];
    all.extend(options);
    scene.whoami("web", all);
    Some(scene)
}

#[test]
fn new_connections_succeed_after_a_foreigner_has_deleted_the_table() {
    let Some(scene) = published("deleted", &[]) else { return };
    assert_eq!(seen_from_remote(&scene, PORT), REMOTE);
    delete_table(&scene.host);
    let gateways = ["Gateway", "IPv6Gateway"].map(|field| scene.address("web", field).to_string());
    let seen = seen_from_remote(&scene, PORT);
    // Through the relay, or by a kernel path that has come back already.
    let right = |source: &String| gateways.contains(source) || REMOTE.contains(&source.as_str());
    assert!(seen.iter().all(right), "{seen:?}");
    for address in ["127.0.0.1", "::1", HOST[1], HOST[3]] {
        assert!(ask(&scene.host, "tcp", at(address, PORT)).is_ok(), "{address}");
    }
}

#[test]
fn the_kernel_plane_is_whole_again_after_the_next_change() {
    let Some(scene) = published("restored", &[]) else { return };
    delete_table(&scene.host);
    scene.whoami("next", ["-p", "8081:80", "-p", "8081:80/udp"]);
    for port in [PORT, 8081] {
        assert_eq!(seen_from_remote(&scene, port), REMOTE, "{port}");
    }
}

#[test]
fn an_open_connection_through_the_relay_survives_a_change_of_ports() {
    use std::io::{Read, Write};
    let Some(scene) = published("survives", &[]) else { return };
    let mut stream = scene.host.tcp("127.0.0.1:8080").unwrap();
    let mut answered = || {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut buffer = [0; 1024];
        stream.read(&mut buffer).unwrap() > 0
    };
    assert!(answered());
    scene.whoami("next", ["-p", "8081:80"]);
    scene.wharf.ok(["rm", "-f", "next"]);
    assert!(answered());
}

#[test]
fn planes_and_sources_are_listed_as_they_are() {
    let Some(scene) = published("listed", &["-p", "8082:80,via=relay", "-p", "127.0.0.1:8083:80"])
    else {
        return;
    };
    let listed = scene.wharf.json(["ports"]);
    let line = |ports: &str, protocol: &str| {
        let entries = listed.as_array().unwrap().iter();
        let found =
            entries.clone().find(|e| e["host"]["ports"] == ports && e["protocol"] == protocol);
        let entry = found.unwrap_or_else(|| panic!("{ports} is not in {listed:#}"));
        format!("{} {}", entry["planes"], entry["source"])
    };
    assert_eq!(line("8080", "tcp"), r#"["nft","ebpf"] "client""#);
    assert_eq!(line("8080", "udp"), r#"["nft","ebpf"] "client""#);
    assert_eq!(line("8082", "tcp"), r#"["relay"] "client""#);
    assert_eq!(line("8083", "tcp"), r#"["ebpf"] "gateway""#);
    assert_eq!(seen_from_remote(&scene, 8080), REMOTE);
}

#[test]
fn the_kernel_plane_can_be_demanded_and_is_refused_where_it_cannot_be_had() {
    let Some(scene) = published("demanded", &["-p", "8084:80,via=nft"]) else { return };
    assert_eq!(ask(&scene.remote, "tcp", at(HOST[0], 8084)).unwrap().source.to_string(), REMOTE[0]);
    let failed =
        scene.wharf.fails(["run", "-d", "-p", "127.0.0.1:8085:80,via=nft", "wharf/whoami"]);
    assert_eq!(failed.code(), 125);
    assert!(failed.stderr.contains("via=nft cannot be honoured"), "{failed:?}");
    assert!(failed.stderr.contains("use via=auto"), "{failed:?}");
}
