//! Faults on the way in: what is asked, who asks, and the rules of others.

use super::scene::Scene;

#[test]
fn a_port_that_is_not_published_is_said_to_be_somebodys_or_nobodys() {
    let Some(scene) = Scene::new("unpublished") else { return };
    scene.by_remote("8080").fails("publication", "nobody listens there", "wharf publish");
    let _held = scene.host.tcp_listen("0.0.0.0:8080").unwrap();
    scene.by_remote("8080").fails("publication", "listens there itself", "wharf publish");
}

#[test]
fn a_port_that_is_published_elsewhere_is_pointed_to() {
    let Some(scene) = Scene::new("elsewhere") else { return };
    scene.whoami("web", ["-p", "127.0.0.1:8080:80"]);
    let way = scene.way("10.1.0.2:8080", None);
    way.fails("publication", "web is at port 8080/tcp of 127.0.0.1", "");
    let way = scene.by_remote("8080");
    way.fails("publication", "but not to 10.1.0.1", "publish it on an address");
    scene.way("10.9.9.9:8080", None).fails("address", "no interface of this host", "ip address");
}

#[test]
fn a_client_that_nothing_leads_to_is_told() {
    let Some(scene) = Scene::new("no route") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    scene.way("10.1.0.2:8080", Some("203.0.113.9")).fails("arrival", "no route", "ip route add");
}

#[test]
fn who_is_not_on_the_list_is_told_who_is() {
    let Some(scene) = Scene::new("allow-list") else { return };
    scene.whoami("web", ["-p", "8080:80,allow=192.0.2.0/24"]);
    let way = scene.by_remote("8080");
    way.fails("allow-list", "10.1.0.1 is not on the list", "--allow 192.0.2.0/24,10.1.0.1");
    let anyone = scene.way("8080", None);
    assert_eq!(anyone.code, 0, "{anyone:?}");
    assert!(anyone.hop("allow-list").starts_with("unknown: only 192.0.2.0/24"), "{anyone:?}");
    assert!(!scene.remote.can_connect("10.1.0.2:8080"));
    let own = scene.way("8080", Some("host"));
    own.fails("allow-list", "127.0.0.1 is not on the list", "127.0.0.1");
}

const FORWARD: &str = "table inet others { chain forward { \
    type filter hook forward priority 0; policy drop; }; }";
const INPUT: &str = "table inet others { chain input { \
    type filter hook input priority 0; policy drop; tcp dport 22 accept; }; }";

#[test]
fn a_foreign_drop_of_forwarded_packets_makes_the_relay_serve_and_is_named() {
    let Some(scene) = Scene::new("forward drop") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    if !scene.runs("nft", &[FORWARD]) {
        return;
    }
    // At first the kernel's packets are swallowed; then the plan is another.
    let way = scene.once("8080", |way| way.value["plane"] == "relay").works();
    assert!(way.hop("plane").contains("drops forwarded packets"), "{way:?}");
    assert!(way.hop("plane").contains("table inet others"), "{way:?}");
    assert!(scene.remote.can_connect("10.1.0.2:8080"));
}

#[test]
fn a_foreign_drop_on_the_way_in_ends_the_way() {
    let Some(scene) = Scene::new("input drop") else { return };
    scene.whoami("web", ["-p", "8080:80,via=relay", "-p", "8081:80"]);
    if !scene.runs("nft", &[INPUT]) {
        return;
    }
    let way = scene.by_remote("8080");
    let way = way.fails("firewall", "drops packets to this host", "nft insert rule inet others");
    assert!(way.hop("firewall").contains("chain input of table inet others"), "{way:?}");
    assert!(!scene.remote.can_connect("10.1.0.2:8080"));
    // The kernel's packets do not come by there.
    scene.by_remote("8081").works();
    assert!(scene.remote.can_connect("10.1.0.2:8081"));
    let remedy = way.remedy("firewall");
    let words: Vec<&str> = remedy.split_whitespace().skip(1).collect();
    assert!(scene.runs("nft", &words));
    scene.by_remote("8080").works();
    assert!(scene.remote.can_connect("10.1.0.2:8080"));
}

#[test]
fn a_rule_against_one_client_is_seen_by_asking_for_that_client() {
    let Some(scene) = Scene::new("one client") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let rules = "table inet others { chain forward { type filter hook forward priority 0; \
        ip saddr 10.1.0.1 reject; }; }";
    if !scene.runs("nft", &[rules]) {
        return;
    }
    scene.by_remote("8080").fails("firewall", "rejects forwarded packets", "nft insert rule");
    scene.way("8080", None).works();
}
