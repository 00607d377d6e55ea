//! What container engines leave in the firewall, loaded as `iptables-save` writes it.

use wharf_lab::Iptables;
use wharf_plan::firewall::{Family, Owner};

use crate::scene::{Scene, forwarded};

/// Docker 20.10 with one published port; it sets the policy when it turned forwarding on itself.
const DOCKER: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";

/// Podman 4.3 with CNI, and Kubernetes' way to let marked packets through.
const PODMAN: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:CNI-ADMIN - [0:0]
:CNI-FORWARD - [0:0]
:NETAVARK_FORWARD - [0:0]
:MARKED - [0:0]
-A FORWARD -m comment --comment \"netavark firewall rules\" -j NETAVARK_FORWARD
-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD
-A FORWARD -j MARKED
-A CNI-FORWARD -j CNI-ADMIN
-A CNI-FORWARD -d 10.88.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.88.0.5/32 -j ACCEPT
-A NETAVARK_FORWARD -d 10.88.0.0/16 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A MARKED -o wharf0 -j MARK --set-xmark 0x40000/0xff0000
-A MARKED -i wharf0 -j MARK --set-xmark 0x40000/0xff0000
-A MARKED -m mark --mark 0x40000/0xff0000 -j ACCEPT
COMMIT
";

fn docker(iptables: Iptables) {
    let Some(scene) = Scene::build("docker") else { return };
    if !iptables.works(&scene.host).unwrap() {
        return;
    }
    iptables.restore(&scene.host, "iptables", DOCKER).unwrap();
    let seen = scene.check();
    assert_eq!(
        seen.told()[0],
        ["docker drops forwarded packets (policy of chain FORWARD of table ip filter)", "-"]
    );
    let obstacle = seen.forward[0].as_ref().unwrap();
    assert_eq!(obstacle.owner, Owner::Docker);
    for command in forwarded(Family::V4).remedy(obstacle) {
        let words: Vec<&str> = command.split(' ').collect();
        assert!(command.contains("-I DOCKER-USER"), "{command}");
        let output = iptables.run(&scene.host, "iptables", &words[1..]).unwrap();
        assert!(output.is_success(), "{output:?}");
    }
    scene.check().all_open();
}

#[test]
fn dockers_policy_is_seen_and_remedied() {
    docker(Iptables::Nft);
}

#[test]
fn dockers_policy_in_iptables_legacy_is_seen_and_remedied() {
    docker(Iptables::Legacy);
}

#[test]
fn marks_are_followed() {
    for iptables in [Iptables::Nft, Iptables::Legacy] {
        let Some(scene) = Scene::build("marks") else { return };
        if !iptables.works(&scene.host).unwrap() {
            return;
        }
        iptables.restore(&scene.host, "iptables", PODMAN).unwrap();
        scene.check().all_open();
    }
}
