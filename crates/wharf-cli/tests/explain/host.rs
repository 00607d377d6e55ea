//! Faults of the host: settings, bridges, sockets, the relay.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::scene::{LIMIT, Scene};

#[test]
fn forwarding_switched_off_is_the_hop_or_the_reason() {
    let Some(scene) = Scene::new("forwarding") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    scene.host.sysctl("net/ipv4/ip_forward", "0").unwrap();
    // The daemon looks every two seconds; until then the kernel's packets end here.
    let way = scene.by_remote("8080");
    if way.value["plane"] == "nft" {
        way.fails("forwarding", "net.ipv4.ip_forward", "sysctl -w net.ipv4.ip_forward=1");
    }
    let way = scene.once("8080", |way| way.value["plane"] == "relay").works();
    assert!(way.hop("plane").contains("IPv4 forwarding is off"), "{way:?}");
}

#[test]
fn forwarding_switched_off_for_one_interface_is_found_there() {
    let Some(scene) = Scene::new("forwarding of one") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    scene.host.sysctl("net/ipv4/conf/eth0/forwarding", "0").unwrap();
    let way = scene.by_remote("8080");
    way.fails("forwarding", "conf.eth0.forwarding", "sysctl -w net.ipv4.conf.eth0.forwarding=1");
    assert!(!scene.remote.can_connect("10.1.0.2:8080"));
    scene.host.sysctl("net/ipv4/conf/eth0/forwarding", "1").unwrap();
    scene.by_remote("8080").works();
    assert!(scene.remote.can_connect("10.1.0.2:8080"));
}

#[test]
fn a_bridge_that_is_down_is_named() {
    let Some(scene) = Scene::new("bridge down") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let down = || {
        assert!(scene.runs("ip", &["link", "set", "wharf0", "down"]));
    };
    let way = scene.until_seen(down, "bridge");
    way.fails("bridge", "bridge wharf0 is down", "ip link set wharf0 up");
}

#[test]
fn a_bridge_without_its_address_is_named() {
    let Some(scene) = Scene::new("bridge address") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let flush = || {
        assert!(scene.runs("ip", &["address", "flush", "dev", "wharf0"]));
    };
    scene.until_seen(flush, "bridge").fails("bridge", "has lost its address", "wharf restart web");
}

/// Where the kernel has owned tables (6.9), nobody can do this to a daemon that runs.
#[test]
fn a_rule_that_is_missing_is_named() {
    let Some(scene) = Scene::new("rule missing") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let line = ["delete", "element", "inet", "wharf", "ports4", "{ tcp . 8080 }"];
    let delete = || {
        let mut command = std::process::Command::new("nft");
        command.args(line);
        scene.host.output(command, LIMIT).map(|output| output.stderr)
    };
    match delete() {
        Ok(said) if said.contains("Operation not permitted") => {
            eprintln!("skipped: the table is the daemon's, and nobody else can change it");
            scene.by_remote("8080").works();
            return;
        }
        Ok(_) => {}
        Err(_) => return eprintln!("skipped: nft is not installed"),
    }
    let way = scene.until_seen(|| drop(delete()), "plane");
    way.fails("plane", "the port is missing from set ports4", "wharf events");
}

#[test]
fn a_relay_that_is_stopped_is_named() {
    let Some(scene) = Scene::new("relay stopped") else { return };
    scene.whoami("web", ["-p", "8080:80,via=relay"]);
    let relay = Pid::from_raw(scene.wharf.pids_of("relay")[0]).unwrap();
    kill_process(relay, Signal::STOP).unwrap();
    let began = Instant::now();
    let way = scene.by_remote("8080").fails("plane", "is stopped", "kill -CONT");
    assert!(began.elapsed() < Duration::from_secs(9), "waited for a relay that is stopped");
    assert!(way.remedy("plane").contains(&relay.as_raw_nonzero().to_string()), "{way:?}");
    kill_process(relay, Signal::CONT).unwrap();
    scene.once("8080", |way| way.code == 0).works();
}

#[test]
fn a_relay_that_is_killed_is_named_until_there_is_another() {
    let Some(scene) = Scene::new("relay killed") else { return };
    scene.whoami("web", ["-p", "8080:80,via=relay"]);
    let kill = || {
        for pid in scene.wharf.pids_of("relay") {
            // Another may have ended it first.
            let _ended = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    };
    let way = scene.until_seen(kill, "plane");
    assert!(way.hop("plane").contains("relay"), "{way:?}");
    scene.once("8080", |way| way.code == 0).works();
}

#[test]
fn a_program_that_has_the_very_address_is_named() {
    let Some(scene) = Scene::new("more specific") else { return };
    let daemon = scene.wharf.daemon().unwrap();
    scene.whoami("web", ["-p", "8080:80"]);
    // Without daemon and relay nobody holds the port for a moment.
    daemon.kill9().unwrap();
    for pid in scene.wharf.pids_of("relay") {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    let began = Instant::now();
    let _taken = loop {
        match scene.host.tcp_listen("127.0.0.1:8080") {
            Ok(listener) => break listener,
            Err(error) => assert!(began.elapsed() < LIMIT, "{error:#}"),
        }
    };
    let way = scene.way("8080", Some("host"));
    let way = way.fails("plane", "listens at 127.0.0.1:8080", "publish another port");
    assert!(way.hop("plane").contains("before \"any\""), "{way:?}");
    // The kernel takes what comes from outside.
    scene.by_remote("8080").works();
}
