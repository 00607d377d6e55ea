//! ufw and firewalld, the real ones: which plane serves beside them, what they refuse, what is said
//! about that, and what clients notice of a reload.

use wharf_lab::{Firewalld, ForwardPorts, Iptables, Ufw, wait};

use super::scene::{AT, LIMIT, RATE, REMOTE, Scene, assert_flawless, rules_of_others};

/// ufw with its defaults: nothing comes in, nothing is forwarded.
fn ufw(name: &str, iptables: Iptables) {
    let Some(scene) = Scene::new(name) else { return };
    let Some(ufw) = Ufw::start(&scene.host, iptables).unwrap() else { return };
    let theirs = rules_of_others(&scene.host);
    let scene = scene.published();
    scene.until_served_by("relay");
    for path in scene.external("8080") {
        assert!(path.reason.starts_with("ufw drops forwarded packets"), "{}", path.reason);
    }
    // Its rules for this host are obeyed.
    assert_eq!(scene.connects(8080, false), [false; 2]);
    let warned = scene.warned(&["web", "8081:80"]);
    let [line] = warned.as_slice() else { panic!("{warned:?}") };
    assert!(
        line.starts_with(
            "wharf: other hosts cannot reach 8081/tcp: ufw drops packets to this host"
        ) && line.ends_with("`ufw allow 8081/tcp` lets them in"),
        "{line}"
    );
    assert_eq!(rules_of_others(&scene.host), theirs);

    ufw.ok("allow 8080").unwrap();
    assert_eq!(scene.seen_from_remote(), REMOTE);
    assert_eq!(scene.connects(8081, false), [false; 2]);
    reload_unnoticed(name, &scene, || ufw.reload().unwrap());
    scene.until_served_by("relay");
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn the_relay_obeys_ufw() {
    ufw("ufw", Iptables::Nft);
}

#[test]
fn the_relay_obeys_ufw_on_iptables_legacy() {
    ufw("ufw legacy", Iptables::Legacy);
}

#[test]
fn what_ufw_forwards_goes_through_the_kernel_and_is_said_to_walk_past_it() {
    let Some(scene) = Scene::new("ufw route").map(Scene::published) else { return };
    let Some(ufw) = Ufw::start(&scene.host, Iptables::Nft).unwrap() else { return };
    scene.until_served_by("relay");
    ufw.ok("route allow out on wharf0").unwrap();
    scene.until_served_by("nft");
    assert_eq!(scene.seen_from_remote(), REMOTE);
    let theirs = rules_of_others(&scene.host);
    let warned = scene.warned(&["web", "8081:80"]);
    let [line] = warned.as_slice() else { panic!("{warned:?}") };
    assert!(
        line.starts_with("wharf: ufw blocks 8081/tcp for this host, but not for forwarded packets"),
        "{line}"
    );
    assert_eq!(scene.connects(8081, true), [true; 2]);
    scene.warned(&["web", "8082:80", "--via", "relay"]);
    assert_eq!(scene.connects(8082, false), [false; 2]);
    // A port that is open anyway, and one that no other host can ask for.
    assert_eq!(scene.warned(&["web", "127.0.0.1:8083:80"]), [""; 0]);
    assert_eq!(rules_of_others(&scene.host), theirs);
    ufw.ok("allow 8082/tcp").unwrap();
    assert_eq!(scene.connects(8082, true), [true; 2]);
    let silent = || scene.warned(&["web", "8082:80", "--via", "relay"]).is_empty().then_some(());
    // The change is told as an event, a moment after it was made.
    wait::until(LIMIT, "nothing to warn of", silent).unwrap();

    reload_unnoticed("ufw route", &scene, || ufw.reload().unwrap());
    scene.until_served_by("nft");
}

#[test]
fn firewalld_lets_forwarded_packets_pass_and_is_said_to_be_walked_past() {
    let Some(scene) = Scene::new("firewalld") else { return };
    let Some(firewalld) = Firewalld::start(&scene.host, ForwardPorts::Open).unwrap() else {
        return;
    };
    let theirs = rules_of_others(&scene.host);
    let scene = scene.published();
    scene.until_served_by("nft");
    assert_eq!(scene.seen_from_remote(), REMOTE);
    let warned = scene.warned(&["web", "8081:80"]);
    let [line] = warned.as_slice() else { panic!("{warned:?}") };
    assert!(
        line.starts_with("wharf: firewalld blocks 8081/tcp for this host, but not for forwarded"),
        "{line}"
    );
    scene.warned(&["web", "8082:80", "--via", "relay"]);
    assert_eq!(scene.connects(8082, false), [false; 2]);
    assert_eq!(rules_of_others(&scene.host), theirs);
    firewalld.ok("--zone=public --add-port=8082/tcp").unwrap();
    assert_eq!(scene.connects(8082, true), [true; 2]);

    reload_unnoticed("firewalld", &scene, || firewalld.reload().unwrap());
    scene.until_served_by("nft");
    assert_eq!(scene.connects(8082, false), [false; 2], "what is not permanent is gone");
}

#[test]
fn the_relay_serves_and_obeys_where_firewalld_forwards_nothing() {
    let Some(scene) = Scene::new("strict") else { return };
    let Some(firewalld) = Firewalld::start(&scene.host, ForwardPorts::Strict).unwrap() else {
        return;
    };
    let theirs = rules_of_others(&scene.host);
    let scene = scene.published();
    scene.until_served_by("relay");
    for path in scene.external("8080") {
        assert!(path.reason.starts_with("firewalld rejects forwarded packets"), "{}", path.reason);
    }
    assert_eq!(scene.connects(8080, false), [false; 2]);
    let warned = scene.warned(&["web", "8081:80"]);
    let [line] = warned.as_slice() else { panic!("{warned:?}") };
    let remedy = "firewall-cmd --zone=public --add-port=8081/tcp";
    assert!(line.contains("other hosts cannot reach 8081/tcp: firewalld rejects"), "{line}");
    assert!(line.ends_with(&format!("`{remedy}` lets them in")), "{line}");
    assert_eq!(rules_of_others(&scene.host), theirs);

    for port in ["8080/tcp", "8080/udp"] {
        firewalld.ok(&format!("--permanent --zone=public --add-port={port}")).unwrap();
    }
    firewalld.reload().unwrap();
    assert_eq!(scene.seen_from_remote(), REMOTE);
    reload_unnoticed("firewalld strict", &scene, || firewalld.reload().unwrap());
    scene.until_served_by("relay");
}

/// A client that asks all the time gets an answer every time.
fn reload_unnoticed(name: &str, scene: &Scene, reload: impl Fn()) {
    let prober = scene.remote.probe("tcp", AT[0], RATE).unwrap();
    prober.answers(20, LIMIT).unwrap();
    reload();
    prober.answers(20, LIMIT).unwrap();
    assert_flawless(name, &prober.stop().unwrap());
}
