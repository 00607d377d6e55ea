//! Somebody drops what is forwarded: the plan falls back to the relay by itself, and returns.

use std::time::{Duration, Instant};

use wharf_lab::Iptables;

use super::scene::{AT, LIMIT, RATE, REMOTE, Scene, both, rules_of_others, sh};

/// How soon the plan has to fit: rules of nftables are told as events; those of iptables-legacy,
/// which are not told at all, are looked at every two seconds.
const TOLD: Duration = Duration::from_secs(1);
const LOOKED_AT: Duration = Duration::from_secs(4);

const DROP_ALL: &str = "nft 'add table inet site; add chain inet site forward \
    { type filter hook forward priority 0; policy drop; }'";

/// A way to drop what is forwarded, and to stop that.
struct Swallower {
    name: &'static str,
    place: fn(&Scene),
    lift: fn(&Scene),
    reason: &'static str,
    within: Duration,
}

fn policy(iptables: Iptables, scene: &Scene, policy: &str) {
    both(iptables, &scene.host, &["-P", "FORWARD", policy]);
}

/// The whole way there and back, with a client that never stops asking.
fn check(swallower: &Swallower) {
    let Some(scene) = Scene::new(swallower.name).map(Scene::published) else { return };
    scene.until_served_by("nft");
    let prober = scene.remote.probe("tcp", AT[0], RATE).unwrap();
    prober.answers(20, LIMIT).unwrap();

    let began = Instant::now();
    (swallower.place)(&scene);
    let theirs = rules_of_others(&scene.host);
    scene.until_served_by("relay");
    let fallen_back = began.elapsed();
    for path in scene.external("8080") {
        assert!(path.reason.contains(swallower.reason), "{}", path.reason);
    }
    assert_eq!(scene.seen_from_remote(), REMOTE);
    assert_eq!(rules_of_others(&scene.host), theirs);

    let began = Instant::now();
    (swallower.lift)(&scene);
    let theirs = rules_of_others(&scene.host);
    scene.until_served_by("nft");
    let returned = began.elapsed();
    assert_eq!(scene.seen_from_remote(), REMOTE);
    assert_eq!(rules_of_others(&scene.host), theirs);
    let probed = prober.stop().unwrap();
    let name = swallower.name;
    eprintln!("{name}: relay after {fallen_back:?}, kernel again after {returned:?}; {probed}");
    let within = swallower.within;
    assert!(fallen_back < within && returned < within, "{fallen_back:?} {returned:?}");
    // What was under way when the drop came is lost, as its author wants; whoever knocks until it
    // is noticed knocks again.
    let lost = probed.failures.iter().filter(|it| !it.reason.contains("no answer"));
    assert_eq!(lost.count(), 0, "{probed}");
    assert!(probed.longest_gap < within + TOLD, "{probed}");
}

#[test]
fn a_policy_of_iptables_legacy_is_fallen_back_from() {
    let Some(scene) = Scene::new("has legacy") else { return };
    if !Iptables::Legacy.works(&scene.host).unwrap() {
        return;
    }
    check(&Swallower {
        name: "iptables-legacy",
        place: |scene| policy(Iptables::Legacy, scene, "DROP"),
        lift: |scene| policy(Iptables::Legacy, scene, "ACCEPT"),
        reason: "iptables-legacy drops forwarded packets (policy of chain FORWARD",
        within: LOOKED_AT,
    });
}

#[test]
fn a_policy_of_iptables_nft_is_fallen_back_from() {
    let Some(scene) = Scene::new("has iptables") else { return };
    if !Iptables::Nft.works(&scene.host).unwrap() {
        return;
    }
    check(&Swallower {
        name: "iptables-nft",
        place: |scene| policy(Iptables::Nft, scene, "DROP"),
        lift: |scene| policy(Iptables::Nft, scene, "ACCEPT"),
        reason: "iptables drops forwarded packets (policy of chain FORWARD",
        within: TOLD * 2,
    });
}

#[test]
fn a_policy_of_nftables_is_fallen_back_from() {
    check(&Swallower {
        name: "nftables",
        place: |scene| {
            sh(&scene.host, DROP_ALL);
        },
        lift: |scene| {
            sh(&scene.host, "nft delete table inet site");
        },
        reason: "nftables drops forwarded packets (policy of chain forward of table inet site)",
        within: TOLD * 2,
    });
}

#[test]
fn a_drop_for_one_port_leaves_the_others_in_the_kernel() {
    let Some(scene) = Scene::new("one port").map(Scene::published) else { return };
    scene.wharf.publish("web", &["8081:81"], &[]);
    let _teller = scene.wharf.container("web").unwrap().tell(&[81]).unwrap();
    sh(
        &scene.host,
        "nft 'add table inet site; add chain inet site forward \
         { type filter hook forward priority 0; }; add rule inet site forward tcp dport 81 drop'",
    );
    let planes = |ports| -> Vec<String> {
        scene.external(ports).into_iter().map(|path| path.plane).collect()
    };
    let fallen = || planes("8081").iter().all(|it| it == "relay").then_some(());
    wharf_lab::wait::until(LIMIT, "the relay for one port", fallen).unwrap();
    assert_eq!(planes("8080"), ["nft"; 4]);
    assert_eq!(scene.remote.told("tcp", "10.1.0.2:8081").unwrap().port, Some(81));
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn the_kernel_plane_is_not_promised_where_somebody_drops() {
    let Some(scene) = Scene::new("promised").map(Scene::published) else { return };
    sh(&scene.host, DROP_ALL);
    scene.until_served_by("relay");
    let failed = scene.wharf.publish_fails("web", &["8081:80"], &["--via", "nft"]);
    assert!(failed.stderr.contains("via=nft cannot be honoured: nftables drops"), "{failed:?}");
    assert!(scene.wharf.ports_at("8081").is_empty());
}

/// Datagrams that never cease keep their flow alive, and where the kernel sends it.
#[test]
fn a_client_that_never_stops_sending_falls_back_too() {
    let Some(scene) = Scene::new("datagrams").map(Scene::published) else { return };
    scene.until_served_by("nft");
    let probers = AT.map(|at| scene.remote.probe("udp", at, RATE / 2).unwrap());
    for prober in &probers {
        prober.answers(10, LIMIT).unwrap();
    }
    sh(&scene.host, DROP_ALL);
    scene.until_served_by("relay");
    for prober in &probers {
        prober.answers(10, TOLD).unwrap();
    }
    sh(&scene.host, "nft delete table inet site");
    scene.until_served_by("nft");
    for prober in probers {
        prober.answers(10, TOLD).unwrap();
        let probed = prober.stop().unwrap();
        assert!(probed.longest_gap < TOLD * 2, "{probed}");
    }
}
