//! What others break of ours is put back, and clients do not notice.

use std::time::{Duration, Instant};

use wharf_lab::{Probed, wait};

use super::scene::{AT, LIMIT, RATE, REMOTE, REMOVE_POLICY_RULES, Scene, assert_flawless, sh};

/// How soon everything is as it was.
const SOON: Duration = Duration::from_secs(1);
/// As others do it, one thing after the other.
const PAUSE: Duration = Duration::from_millis(100);
/// How soon settings are noticed that tell of no change, with time for a busy machine.
const LOOKED_AT: Duration = Duration::from_secs(4);

const DELETE_TABLE: &str = "nft delete table inet wharf";
const TABLE_IS_THERE: &str = "nft list tables | grep -q 'inet wharf'";

/// A scene whose table others may change, as they may on every kernel before 6.9.
fn shared(name: &str) -> Option<Scene> {
    Some(Scene::new(name)?.with_env("WHARF_SHARED_TABLE", "true").published())
}

/// A client of port 8080 that never stops asking, while `work` is done.
#[track_caller]
fn meanwhile(scene: &Scene, work: impl FnOnce()) -> Probed {
    let prober = scene.remote.probe("tcp", AT[0], RATE).unwrap();
    prober.answers(20, LIMIT).unwrap();
    work();
    prober.answers(20, LIMIT).unwrap();
    prober.stop().unwrap()
}

/// How many clients got no connection at all, for whatever reason.
fn turned_away(probed: &Probed) -> usize {
    let none = ["no connection", "connect:", "refused"];
    let is_one = |reason: &str| none.iter().any(|it| reason.contains(it));
    probed.failures.iter().filter(|it| is_one(&it.reason)).count()
}

/// Whether our rules serve the remote host, which the relay would do otherwise.
fn has_table(scene: &Scene) -> bool {
    sh(&scene.host, &format!("{TABLE_IS_THERE} && echo yes || echo no")).trim() == "yes"
}

/// Waits until the table is there again, and gives the time that took.
#[track_caller]
fn until_table_is_back(scene: &Scene) -> Duration {
    let began = Instant::now();
    wait::until(LIMIT, "our table", || has_table(scene).then_some(())).unwrap();
    began.elapsed()
}

#[test]
fn a_flushed_ruleset_leaves_what_we_own() {
    let Some(scene) = Scene::new("owned").map(Scene::published) else { return };
    let mut survived = true;
    let probed = meanwhile(&scene, || {
        for _ in 0..20 {
            sh(&scene.host, "nft flush ruleset");
            survived &= has_table(&scene);
            std::thread::sleep(PAUSE);
        }
    });
    if !survived {
        eprintln!("skipped: this kernel has no tables with a lasting owner");
        return;
    }
    assert_flawless("20 flushes", &probed);
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn a_table_that_is_not_owned_is_back_within_a_second() {
    let Some(scene) = shared("shared") else { return };
    let mut slowest = Duration::ZERO;
    let probed = meanwhile(&scene, || {
        for break_it in [DELETE_TABLE, "nft flush ruleset", "nft flush table inet wharf"] {
            for _ in 0..2 {
                sh(&scene.host, break_it);
                slowest = slowest.max(until_table_is_back(&scene));
                std::thread::sleep(SOON);
            }
        }
    });
    eprintln!("back within {slowest:?}; {probed}");
    assert!(slowest < SOON, "{slowest:?}");
    assert_eq!(scene.seen_from_remote(), REMOTE);
    // The relay takes every new client meanwhile; a connection that the kernel had begun to rewrite
    // ends with the rules that rewrite it.
    assert_eq!(turned_away(&probed), 0, "{probed}");
    assert!(probed.failed < 20, "{probed}");
}

#[test]
fn a_chain_and_an_element_that_are_gone_are_put_back() {
    let Some(scene) = shared("parts") else { return };
    let listed = || sh(&scene.host, "nft --stateless list table inet wharf");
    let before = listed();
    let chain = before.lines().find_map(|line| line.trim().strip_prefix("chain ")).unwrap();
    let chain = chain.trim_end_matches(" {");
    sh(&scene.host, &format!("nft flush chain inet wharf {chain}"));
    wait::until(LIMIT, "the chain", || (listed() == before).then_some(())).unwrap();
    sh(&scene.host, "nft 'add rule inet wharf forward drop'");
    wait::until(LIMIT, "nothing but ours", || (listed() == before).then_some(())).unwrap();
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn somebody_who_keeps_deleting_is_told_of_and_left_alone() {
    let Some(scene) = shared("fight") else { return };
    let events = scene.wharf.events().unwrap();
    for _ in 0..20 {
        sh(&scene.host, &format!("{DELETE_TABLE} || true"));
        std::thread::sleep(PAUSE);
    }
    let fights = events.wait_for("plane", "fight", 1).unwrap();
    assert_eq!(fights.len(), 1, "{fights:#?}");
    let detail = fights[0]["detail"].as_str().unwrap();
    assert!(detail.contains("nft"), "who did it is named: {detail}");
    assert!(!events.of("plane", "repair").is_empty());
    // By one plane or the other.
    assert!(wait::until(LIMIT, "an answer", || scene.is_open().then_some(())).is_ok());
}

#[test]
fn a_deleted_bridge_is_made_anew() {
    let Some(scene) = Scene::new("bridge").map(Scene::published) else { return };
    let (mut made, mut back) = (Duration::ZERO, Duration::ZERO);
    let probed = meanwhile(&scene, || {
        for _ in 0..3 {
            let began = Instant::now();
            sh(&scene.host, "ip link del wharf0");
            let is_joined = || {
                (!sh(&scene.host, "ip link show master wharf0 || true").is_empty()).then_some(())
            };
            wait::until(LIMIT, "a container on its bridge", is_joined).unwrap();
            made = made.max(began.elapsed());
            wait::until(LIMIT, "an answer", || scene.is_open().then_some(())).unwrap();
            back = back.max(began.elapsed());
            std::thread::sleep(SOON);
        }
    });
    eprintln!("made again after {made:?}, answers after {back:?}; {probed}");
    // Whoever asked for a neighbour while it was not back yet asks again after a second.
    assert!(probed.longest_gap < SOON, "{probed}");
    assert_eq!(turned_away(&probed), 0, "{probed}");
    assert_eq!(scene.seen_from_remote(), REMOTE);
    scene.until_served_by("nft");
}

#[test]
fn a_bridge_that_is_down_is_brought_up() {
    let Some(scene) = Scene::new("down").map(Scene::published) else { return };
    let probed = meanwhile(&scene, || {
        for _ in 0..3 {
            sh(&scene.host, "ip link set wharf0 down");
            std::thread::sleep(SOON);
        }
    });
    assert_flawless("a bridge that is down", &probed);
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn policy_rules_that_are_removed_are_made_again() {
    let Some(scene) = Scene::new("policy rules") else { return };
    scene.whoami("web", ["-p", "8080:80,via=relay", "-p", "8080:80/udp,via=relay"]);
    let rules = || sh(&scene.host, "ip rule; ip -6 rule");
    let before = rules();
    let probed = meanwhile(&scene, || {
        for _ in 0..5 {
            sh(&scene.host, REMOVE_POLICY_RULES);
            wait::until(SOON, "policy rules", || (rules() == before).then_some(())).unwrap();
            std::thread::sleep(PAUSE);
        }
    });
    assert_flawless("policy rules", &probed);
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn routes_and_addresses_that_are_removed_are_made_again() {
    let Some(scene) = Scene::new("routes") else { return };
    scene.whoami("web", ["-p", "8080:80,via=relay", "-p", "8080:80/udp,via=relay"]);
    // The kernel's own remarks on who has made a route, and its link-local addresses, come and go.
    let state = || {
        let text = "for f in -4 -6; do ip $f route show table 4183; ip $f route show dev wharf0;
            ip $f -o addr show dev wharf0 scope global; done | grep -v ^fe80 |
            sed 's/ proto .*//; s/ *scope .*//'";
        sh(&scene.host, text)
    };
    let before = state();
    let events = scene.wharf.events().unwrap();
    for (done, break_it) in [
        "ip route flush table 4183; ip -6 route flush table 4183",
        "ip route del $(ip route show dev wharf0 | head -1) dev wharf0",
        "ip -6 route del $(ip -6 route show dev wharf0 | grep -v ^fe80 | head -1) dev wharf0",
        "ip addr flush dev wharf0 scope global",
    ]
    .into_iter()
    .enumerate()
    {
        sh(&scene.host, break_it);
        events.wait_for("plane", "repair", done + 1).unwrap();
        let waited = wait::until(SOON, break_it, || (state() == before).then_some(()));
        assert!(waited.is_ok(), "{waited:?}:\n{} is to be\n{before}", state());
        wait::until(LIMIT, "an answer", || scene.is_open().then_some(())).unwrap();
        assert_eq!(scene.seen_from_remote(), REMOTE, "{break_it}");
    }
}

#[test]
fn a_port_that_somebody_else_has_got_is_his_on_every_path() {
    let Some(scene) = Scene::new("taken").map(Scene::published) else { return };
    scene.wharf.kill9("daemon").unwrap();
    scene.wharf.kill9("relay").unwrap();
    let taken = || scene.host.tcp_listen("0.0.0.0:8080").ok();
    let taker = wait::until(LIMIT, "a port that is free", taken).unwrap();
    taker.set_nonblocking(true).unwrap();
    let tcp = || scene.wharf.ports_at("8080").into_iter().find(|it| it["protocol"] == "tcp");
    assert_eq!(tcp().unwrap()["state"], "down");
    let line = scene.remote.tcp(AT[0]).unwrap();
    let accepted = wait::until(LIMIT, "the taker's client", || taker.accept().ok()).unwrap();
    assert_eq!(accepted.1, line.local_addr().unwrap());
    // The other protocol is nobody else's.
    assert_eq!(scene.remote.told("udp", AT[0]).unwrap().hostname, "web");
    drop((line, accepted, taker));
    let back = || (tcp().unwrap()["state"] == "active").then_some(());
    wait::until(LIMIT, "a port that is served", back).unwrap();
    scene.until_served_by("nft");
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn a_killed_relay_is_noticed_by_nobody_whom_the_kernel_serves() {
    let Some(scene) = Scene::new("relay").map(Scene::published) else { return };
    let own = scene.host.probe("tcp", "127.0.0.1:8080", RATE / 4).unwrap();
    own.answers(10, LIMIT).unwrap();
    let probed = meanwhile(&scene, || {
        for _ in 0..3 {
            scene.wharf.kill9("relay").unwrap();
            own.answers(10, LIMIT).unwrap();
        }
    });
    assert_flawless("the kernel's clients", &probed);
    let own = own.stop().unwrap();
    eprintln!("the relay's clients: {own}");
    // What it carried ends with it; who comes meanwhile waits for the next one.
    assert_eq!(turned_away(&own), 0, "{own}");
    assert!(own.failed <= 9, "{own}");
}

#[test]
fn a_killed_daemon_is_noticed_by_nobody() {
    let Some(scene) = Scene::new("daemon").map(Scene::published) else { return };
    let own = scene.host.probe("tcp", "127.0.0.1:8080", RATE).unwrap();
    let probed = meanwhile(&scene, || {
        for _ in 0..5 {
            assert_eq!(scene.wharf.kill9("daemon").unwrap(), 1);
            std::thread::sleep(PAUSE);
            scene.wharf.ok(["ps"]);
        }
    });
    assert_flawless("the kernel's clients", &probed);
    assert_flawless("the relay's clients", &own.stop().unwrap());
}

/// Nobody repairs while there is no daemon; the next one does.
#[test]
fn a_new_daemon_repairs_what_was_broken_while_there_was_none() {
    let Some(scene) = shared("no daemon") else { return };
    scene.wharf.kill9("daemon").unwrap();
    sh(&scene.host, DELETE_TABLE);
    assert_eq!(scene.connects(8080, true), [true; 2], "the relay is there");
    scene.wharf.ok(["ps"]);
    until_table_is_back(&scene);
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn forwarding_that_is_switched_off_is_what_the_relay_is_for() {
    let Some(scene) = Scene::new("forwarding").map(Scene::published) else { return };
    let switch = |value| {
        for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            scene.host.sysctl(name, value).unwrap();
        }
    };
    let began = Instant::now();
    switch("0");
    scene.until_served_by("relay");
    assert!(began.elapsed() < LOOKED_AT, "{:?}", began.elapsed());
    for path in scene.external("8080") {
        assert!(path.reason.ends_with("forwarding is off"), "{}", path.reason);
    }
    assert_eq!(scene.seen_from_remote(), REMOTE);
    switch("1");
    scene.until_served_by("nft");
    assert_eq!(scene.seen_from_remote(), REMOTE);
}

#[test]
fn a_port_on_an_address_that_is_not_there_yet_is_served_when_it_comes() {
    let Some(scene) = Scene::new("late address") else { return };
    sh(&scene.host, "ip addr add 10.1.0.9/24 dev eth0");
    scene.whoami("web", ["-p", "10.1.0.9:8080:80"]);
    scene.wharf.kill9("daemon").unwrap();
    scene.wharf.kill9("relay").unwrap();
    sh(&scene.host, "ip addr del 10.1.0.9/24 dev eth0");
    let state = || scene.wharf.ports_at("8080")[0]["state"].as_str().unwrap().to_owned();
    assert_eq!(state(), "down");
    sh(&scene.host, "ip addr add 10.1.0.9/24 dev eth0");
    wait::until(SOON * 2, "a port that is served", || (state() == "active").then_some(())).unwrap();
    assert_eq!(scene.remote.told("tcp", "10.1.0.9:8080").unwrap().hostname, "web");
}
