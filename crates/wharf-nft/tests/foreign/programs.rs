//! ufw and firewalld.

use wharf_lab::{Firewalld, ForwardPorts, Iptables, Ufw};
use wharf_plan::firewall::{Family, Owner};

use crate::scene::{Scene, forwarded, incoming};

fn ufw(iptables: Iptables) {
    let Some(scene) = Scene::build("ufw") else { return };
    let Some(ufw) = Ufw::start(&scene.host, iptables).unwrap() else { return };
    let seen = scene.check();
    assert_eq!(
        seen.told()[0][0],
        "ufw drops forwarded packets (policy of chain FORWARD of table ip filter)"
    );
    assert_eq!(
        seen.told()[1][1],
        "ufw drops packets to this host (policy of chain INPUT of table ip6 filter)"
    );
    ufw.reload().unwrap();
    assert_eq!(scene.check(), seen);

    let mut remedies = forwarded(Family::V4).remedy(seen.forward[0].as_ref().unwrap());
    assert_eq!(remedies, ["ufw route allow proto tcp to any port 80"]);
    remedies.push(incoming(Family::V4).remedy(seen.input[0].as_ref().unwrap()));
    assert_eq!(remedies[1], "ufw allow 9000/tcp");
    for command in &remedies {
        ufw.ok(command.strip_prefix("ufw ").unwrap()).unwrap();
    }
    scene.check().all_open();
    assert!(!scene.bridge_is_open(Family::V4), "one port is open, others are not");
    ufw.ok("route allow out on wharf0").unwrap();
    assert!(scene.bridge_is_open(Family::V4) && scene.bridge_is_open(Family::V6));

    ufw.ok("deny 9000/tcp").unwrap();
    ufw.ok("delete allow 9000/tcp").unwrap();
    let told = scene.check().told();
    assert!(told[1][0].contains("in chain ufw-user-input of table ip filter"), "{told:?}");
    ufw.ok("--force disable").unwrap();
    scene.check().all_open();
}

#[test]
fn ufw_is_seen_and_remedied() {
    ufw(Iptables::Nft);
}

#[test]
fn ufw_on_iptables_legacy_is_seen_and_remedied() {
    ufw(Iptables::Legacy);
}

#[test]
fn firewalld_lets_rewritten_packets_pass_and_blocks_the_port() {
    let Some(scene) = Scene::build("firewalld") else { return };
    let Some(firewalld) = Firewalld::start(&scene.host, ForwardPorts::Open).unwrap() else {
        return;
    };
    let seen = scene.check();
    assert_eq!(seen.told()[0], ["-", "-"]);
    assert!(seen.told()[1][0].starts_with("firewalld rejects packets to this host"), "{seen:?}");
    let remedy = incoming(Family::V4).remedy(seen.input[0].as_ref().unwrap());
    assert_eq!(remedy, "firewall-cmd --zone=public --add-port=9000/tcp");
    firewalld.ok(remedy.strip_prefix("firewall-cmd ").unwrap()).unwrap();
    scene.check().all_open();
    assert!(scene.bridge_is_open(Family::V4) && scene.bridge_is_open(Family::V6));
    firewalld.reload().unwrap();
    assert_eq!(scene.check(), seen, "what is not permanent is gone");

    firewalld.ok("--zone=trusted --change-interface=eth0").unwrap();
    scene.check().all_open();
}

#[test]
fn strict_forward_ports_are_seen_and_remedied() {
    let Some(scene) = Scene::build("strict") else { return };
    let Some(firewalld) = Firewalld::start(&scene.host, ForwardPorts::Strict).unwrap() else {
        return;
    };
    let seen = scene.check();
    let obstacle = seen.forward[0].as_ref().unwrap();
    assert_eq!(obstacle.owner, Owner::Firewalld);
    assert!(seen.forward[1].is_some());
    firewalld.reload().unwrap();
    assert_eq!(scene.check().forward, seen.forward);
    for command in forwarded(Family::V4).remedy(obstacle) {
        firewalld.ok(command.strip_prefix("firewall-cmd ").unwrap()).unwrap();
    }
    assert_eq!(scene.check().told()[0], ["-", "-"]);
    assert!(scene.bridge_is_open(Family::V4) && scene.bridge_is_open(Family::V6));
}
