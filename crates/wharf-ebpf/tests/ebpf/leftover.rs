//! What nobody would ever take back: of changes that failed, and of sockets that went unseen.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use wharf_ebpf::Error;
use wharf_lab::wait;
use wharf_plan::ebpf::{Connect, EbpfPlan};

use crate::scene::{Scene, connect, echo, id, plan, ports, scene, serve};

/// Every port but the first and the last is so many prefixes.
const PREFIXES: u32 = 30;
/// How many prefixes there is room for.
const ROOM: u32 = 262_144;

/// All ports of more addresses than there is room for; the last of them, of which a few ports find
/// room, is 127.0.0.1.
fn too_many() -> EbpfPlan {
    let whole = ROOM / PREFIXES;
    let first = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    let hosts = (first..first + whole).map(Ipv4Addr::from).chain([Ipv4Addr::LOCALHOST]);
    let range = ports(1, 65_534);
    plan(hosts.map(|host| Connect {
        host: Some(host.into()),
        ports: range,
        target_ports: range,
        ..connect(0, "10.77.0.2:0")
    }))
}

#[test]
fn a_change_that_failed_half_way_leaves_nothing() {
    let Some(scene) = scene("half way") else { return };
    serve(scene.web.tcp_listen("0.0.0.0:1").unwrap(), "web");
    let mut plane = scene.plane();
    plane.apply(&plan([connect(8080, "[fd77::2]:80")])).unwrap();
    let many = too_many();
    let full = plane.change(&EbpfPlan::default(), &many).unwrap_err();
    assert!(matches!(full, Error::Full { map: "published", .. }), "{full}");
    assert_eq!(scene.ask("127.0.0.1:1").0, "web 10.77.0.1", "half of it is there");
    plane.change(&many, &EbpfPlan::default()).unwrap();
    assert!(!scene.host.can_connect("127.0.0.1:1"));
    assert_eq!(plane.observe().unwrap(), plan([connect(8080, "[fd77::2]:80")]));
}

/// Removes the link of a program, as somebody else may.
fn detach(scene: &Scene, program: &str) {
    let releases = fs::read_dir(&scene.place).unwrap().map(|entry| entry.unwrap().path());
    let link = releases.map(|path| path.join("links").join(program)).find(|path| path.exists());
    fs::remove_file(link.unwrap()).unwrap();
}

#[test]
fn a_led_socket_that_went_unseen_is_forgotten() {
    let Some(scene) = scene("unseen") else { return };
    echo(scene.web.tcp_listen("0.0.0.0:80").unwrap());
    let mut plane = scene.plane();
    plane.apply(&plan([connect(8080, "10.77.0.2:80")])).unwrap();
    plane.set_pace(Duration::ZERO);
    let kept = scene.host.tcp("127.0.0.1:8080").unwrap();
    detach(&scene, "sock_release");
    // The kernel detaches a little later.
    let unseen = || {
        drop(scene.host.tcp("127.0.0.1:8080").unwrap());
        (plane.counters().unwrap()[&id("web")].open > 1).then_some(())
    };
    wait::until(Duration::from_secs(5), "a socket to go unseen", unseen).unwrap();
    assert_eq!(plane.repair().unwrap(), ["sock_release"]);
    let forgotten = || {
        plane.repair().unwrap();
        (plane.counters().unwrap()[&id("web")].open == 1).then_some(())
    };
    wait::until(Duration::from_secs(5), "the socket to be forgotten", forgotten).unwrap();
    for _ in 0..3 {
        plane.repair().unwrap();
    }
    // The other is not.
    assert_eq!(kept.peer_addr().unwrap().to_string(), "127.0.0.1:8080");
    assert_eq!(plane.counters().unwrap()[&id("web")].open, 1);
    plane.apply(&EbpfPlan::default()).unwrap();
    assert_eq!(plane.counters().unwrap()[&id("web")].open, 1);
    drop(kept);
    plane.change(&EbpfPlan::default(), &EbpfPlan::default()).unwrap();
    assert!(!plane.counters().unwrap().contains_key(&id("web")));
}
