//! What nobody would ever take back: of changes that failed.

use std::net::Ipv4Addr;

use wharf_ebpf::Error;
use wharf_plan::ebpf::{Connect, EbpfPlan};

use crate::scene::{connect, plan, ports, scene, serve};

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
