//! Clients' addresses through the relay: what has to be on the host for it, for how long, and what
//! becomes of it when others change the host's rules.

use std::time::{Duration, Instant};

use wharf_host::route::{Routes, Rule};
use wharf_host::transparent::{MARK, is_laid};

use super::scene::{HOST, REMOTE, Scene, ask, at};

const PORT: u16 = 8080;
const SPECS: [&str; 4] = ["-p", "8080:80,via=relay", "-p", "8080:80/udp,via=relay"];
/// Rules of others are noticed at once; this is for a busy machine.
const NOTICE: Duration = Duration::from_secs(5);

fn laid(scene: &Scene) -> bool {
    scene.host.run(|| is_laid().unwrap()).unwrap()
}

/// Who is seen through the relay, over both protocols and families.
fn seen(scene: &Scene) -> Vec<String> {
    let mut seen = Vec::new();
    for address in [HOST[0], HOST[2]] {
        for proto in ["tcp", "udp"] {
            seen.push(ask(&scene.remote, proto, at(address, PORT)).unwrap().source.to_string());
        }
    }
    seen.dedup();
    seen
}

fn until_laid(scene: &Scene) {
    let began = Instant::now();
    while !laid(scene) {
        assert!(began.elapsed() < NOTICE, "nobody noticed that rules were changed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_way_back_is_there_as_long_as_anything_of_ours() {
    let Some(scene) = Scene::new("life") else { return };
    let before = scene.wharf.snapshot().unwrap().without("run directory");
    scene.whoami("loopback", ["-p", "127.0.0.1:8081:80"]);
    assert!(!laid(&scene), "nothing needs it yet");
    scene.whoami("web", SPECS);
    assert!(laid(&scene));
    assert_eq!(seen(&scene), REMOTE);
    scene.wharf.ok(["rm", "-f", "web", "loopback"]);
    scene.wharf.ok(["shutdown"]);
    scene.wharf.settles_to(&before, NOTICE).unwrap();
}

#[test]
fn a_rule_made_by_others_later_does_not_take_the_answers() {
    let Some(scene) = Scene::new("tunnel") else { return };
    scene.whoami("web", SPECS);
    let mut routes = Routes::open_in(scene.host.netns()).unwrap();
    // Everything to the main table, ahead of ours: containers' answers to clients would be sent on.
    let rule = Rule {
        ipv6: false,
        mark: MARK.value & 0xff,
        mask: 0xff,
        own: false,
        udp_source_ports: None,
        table: wharf_host::route::MAIN_TABLE,
        priority: None,
    };
    for rule in [rule, Rule { ipv6: true, ..rule }] {
        routes.add_rule(&rule).unwrap();
    }
    until_laid(&scene);
    assert_eq!(seen(&scene), REMOTE);
}

#[test]
fn a_way_back_that_others_take_up_is_laid_again() {
    let Some(scene) = Scene::new("flushed") else { return };
    scene.whoami("web", SPECS);
    let mut routes = Routes::open_in(scene.host.netns()).unwrap();
    for rule in routes.rules().unwrap() {
        routes.delete_rule(&rule).unwrap();
    }
    until_laid(&scene);
    assert_eq!(seen(&scene), REMOTE);
}

#[test]
fn a_new_daemon_lays_it_again() {
    let Some(scene) = Scene::new("adopted") else { return };
    scene.whoami("web", SPECS);
    scene.wharf.ok(["shutdown"]);
    let mut routes = Routes::open_in(scene.host.netns()).unwrap();
    for rule in routes.rules().unwrap() {
        routes.delete_rule(&rule).unwrap();
    }
    scene.wharf.ok(["ps"]);
    assert!(laid(&scene));
    assert_eq!(seen(&scene), REMOTE);
}

#[test]
fn without_a_way_back_clients_are_served_and_come_as_the_gateway() {
    let Some(scene) = Scene::new("without") else { return };
    scene.whoami("web", SPECS);
    scene.wharf.ok(["shutdown"]);
    let mut routes = Routes::open_in(scene.host.netns()).unwrap();
    for rule in routes.rules().unwrap() {
        routes.delete_rule(&rule).unwrap();
    }
    let gateways = ["Gateway", "IPv6Gateway"];
    let told = seen(&scene);
    assert_eq!(told, gateways.map(|field| scene.address("web", field).to_string()));
}

#[test]
fn a_client_address_can_be_demanded_and_is_refused_where_it_cannot_be_had() {
    let Some(scene) = Scene::new("demanded source") else { return };
    scene.wharf.ok(["network", "create", "narrow"]);
    scene.wharf.ok(["network", "create", "--internal", "shut"]);
    scene.whoami("web", ["-p", "8080:80,via=relay,source=client", "-p", "8080:80/udp,via=relay"]);
    assert_eq!(seen(&scene), REMOTE);
    for (network, spec, reason) in [
        ("wharf", "127.0.0.1:8081:80,source=client", "other hosts can reach"),
        ("narrow", "[::]:8081:80,source=client", "the target has no IPv6 address"),
        ("shut", "8081:80,source=client", "the network is internal"),
    ] {
        let failed =
            scene.wharf.fails(["run", "-d", "--network", network, "-p", spec, "wharf/whoami"]);
        assert_eq!(failed.code(), 125);
        assert!(failed.stderr.contains("source=client cannot be honoured"), "{failed:?}");
        assert!(failed.stderr.contains(reason), "{failed:?}");
    }
}
