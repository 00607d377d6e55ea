//! What packets of every path meet: the answer and the source address the target sees.

use wharf_host::conntrack::{self, FlowFilter};
use wharf_host::netlink::{Family, Netlink};
use wharf_nft::NftPlane;
use wharf_plan::nft::NftPlan;
use wharf_spec::Proto;

use crate::lab::{Lab, ask, available, ping, serve, sh, tcp, udp, udp_socket};
use crate::plans::{bridge, dnat, loopback, open};

/// Two networks, and the web container published as every test here needs it.
fn plan() -> NftPlan {
    let both = |host: &str, from: &str, target: &str, to: &str| {
        ["tcp", "udp"]
            .map(|proto| dnat(&format!("{proto} {host} {from}"), &format!("{target} {to}")))
    };
    let entries = [
        both("*", "8080", "10.1.0.2", "80"),
        both("*", "8080", "fd00:1::2", "80"),
        both("*", "9000-9009", "10.1.0.2", "9000-9009"),
        both("*", "9000-9009", "fd00:1::2", "9000-9009"),
        both("*", "7000-7009", "10.1.0.2", "9000-9009"),
        both("192.0.2.2", "6000", "10.1.0.2", "80"),
        both("192.0.2.2", "9100-9109", "10.1.0.2", "9100-9109"),
        both("2001:db8::2", "6000", "fd00:1::2", "80"),
    ];
    NftPlan {
        bridges: [
            bridge("br1", &["10.1.0.0/24", "fd00:1::/64"]),
            bridge("br2", &["10.2.0.0/24", "fd00:2::/64"]),
        ]
        .into(),
        dnat: entries.into_iter().flatten().collect(),
        ..NftPlan::default()
    }
}

struct Scene {
    lab: Lab,
    plane: NftPlane,
}

impl Scene {
    /// The lab with `plan` applied and the web container serving; `None` where it cannot be built.
    fn with(plan: &NftPlan) -> Option<Self> {
        available().then_some(())?;
        let lab = Lab::build();
        let mut plane = lab.host.run(|| NftPlane::open("wharf")).unwrap().unwrap();
        plane.apply(plan).unwrap();
        for address in ["10.1.0.2", "[fd00:1::2]"] {
            for port in [80, 9005] {
                serve(&lab.web, &format!("{address}:{port}"));
            }
        }
        serve(&lab.web, "10.1.0.2:9105");
        Some(Self { lab, plane })
    }

    fn netlink(&self) -> Netlink {
        self.lab.host.open_netlink(Family::Netfilter).unwrap()
    }
}

/// Asks over TCP and UDP; both have to say the same.
#[track_caller]
pub(crate) fn both(netns: &wharf_host::netns::Netns, to: &str, expected: Option<&str>) {
    assert_eq!(tcp(netns, to).as_deref(), expected, "tcp {to}");
    assert_eq!(udp(netns, to).as_deref(), expected, "udp {to}");
}

#[test]
fn a_remote_client_reaches_published_ports_and_is_seen() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    both(&lab.client, "192.0.2.1:8080", Some("192.0.2.10 at 80"));
    both(&lab.client, "192.0.2.2:8080", Some("192.0.2.10 at 80"));
    both(&lab.client, "[2001:db8::1]:8080", Some("2001:db8::10 at 80"));
}

#[test]
fn ranges_keep_or_shift_their_numbers() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    both(&lab.client, "192.0.2.1:9005", Some("192.0.2.10 at 9005"));
    both(&lab.client, "[2001:db8::1]:9005", Some("2001:db8::10 at 9005"));
    both(&lab.client, "192.0.2.1:7005", Some("192.0.2.10 at 9005"));
    both(&lab.client, "192.0.2.2:9105", Some("192.0.2.10 at 9105"));
}

#[test]
fn a_named_host_address_is_the_only_one_that_answers() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    both(&lab.client, "192.0.2.2:6000", Some("192.0.2.10 at 80"));
    both(&lab.client, "192.0.2.1:6000", None);
    both(&lab.client, "[2001:db8::2]:6000", Some("2001:db8::10 at 80"));
    both(&lab.client, "[2001:db8::1]:6000", None);
}

#[test]
fn a_named_address_goes_before_any_address() {
    let mut plan = plan();
    plan.dnat.insert(dnat("tcp 192.0.2.2 8080", "10.1.0.3 80"));
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan) else { return };
    serve(&lab.neighbour, "10.1.0.3:81");
    serve(&lab.neighbour, "10.1.0.3:80");
    let reached_neighbour = |to| {
        let mut netlink = lab.host.open_netlink(Family::Netfilter).unwrap();
        assert!(tcp(&lab.client, to).is_some());
        let flows = FlowFilter {
            family: None,
            proto: 6,
            orig_dst: None,
            orig_dport: None,
            reply_src: Some("10.1.0.3".parse().unwrap()),
        };
        conntrack::delete_matching(&mut netlink, &flows).unwrap() > 0
    };
    assert!(reached_neighbour("192.0.2.2:8080"));
    assert!(!reached_neighbour("192.0.2.1:8080"));
}

#[test]
fn neighbours_and_the_container_itself_come_as_the_gateway() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    for netns in [&lab.neighbour, &lab.web] {
        both(netns, "192.0.2.1:8080", Some("10.1.0.1 at 80"));
        both(netns, "10.1.0.1:8080", Some("10.1.0.1 at 80"));
        both(netns, "[2001:db8::1]:8080", Some("fd00:1::1 at 80"));
    }
    // Without a rewrite, neighbours see each other.
    both(&lab.neighbour, "10.1.0.2:80", Some("10.1.0.3 at 80"));
}

#[test]
fn a_container_of_another_network_keeps_its_address() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    both(&lab.stranger, "192.0.2.1:8080", Some("10.2.0.2 at 80"));
    both(&lab.stranger, "[2001:db8::1]:8080", Some("fd00:2::2 at 80"));
}

#[test]
fn container_addresses_are_closed_to_others() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    for netns in [&lab.client, &lab.stranger] {
        both(netns, "10.1.0.2:80", None);
        both(netns, "[fd00:1::2]:80", None);
    }
    let drops = sh(&lab.host, "/usr/sbin/nft list chain inet wharf forward || true");
    assert!(!drops.contains("packets 0 bytes 0 drop comment \"not published\""), "{drops}");
}

#[test]
fn containers_answer_directly_where_the_network_says_so() {
    let mut plan = plan();
    plan.open.insert(open("10.1.0.2", "80"));
    plan.open.insert(open("fd00:1::2", "80-90"));
    let Some(Scene { lab, mut plane }) = Scene::with(&plan) else { return };
    assert_eq!(tcp(&lab.client, "10.1.0.2:80").as_deref(), Some("192.0.2.10 at 80"));
    assert_eq!(tcp(&lab.client, "[fd00:1::2]:80").as_deref(), Some("2001:db8::10 at 80"));
    assert_eq!(tcp(&lab.client, "10.1.0.2:9005"), None);
    let pings = || ["10.1.0.2", "fd00:1::2"].map(|to| ping(&lab.client, to));
    assert_eq!(pings(), [false, false]);

    let mut icmp = bridge("br1", &["10.1.0.0/24", "fd00:1::/64"]);
    icmp.subnets.iter_mut().for_each(|subnet| subnet.icmp = true);
    plan.bridges = [icmp.clone()].into();
    plane.apply(&plan).unwrap();
    assert_eq!(pings(), [true, true]);
    assert_eq!(tcp(&lab.client, "10.1.0.2:9005"), None);

    let mut trusting = icmp.clone();
    trusting.trusted_interfaces.insert("up0".to_owned());
    plan.bridges = [trusting].into();
    plane.apply(&plan).unwrap();
    both(&lab.client, "10.1.0.2:9005", Some("192.0.2.10 at 9005"));

    icmp.subnets.iter_mut().for_each(|subnet| subnet.unprotected = true);
    plan.bridges = [icmp].into();
    plane.apply(&plan).unwrap();
    both(&lab.client, "[fd00:1::2]:9005", Some("2001:db8::10 at 9005"));
}

#[test]
fn an_internal_network_is_cut_off() {
    let mut plan = plan();
    let mut shut = bridge("br1", &["10.1.0.0/24", "fd00:1::/64"]);
    shut.internal = true;
    shut.trusted_interfaces.insert("up0".to_owned());
    plan.bridges = [shut, bridge("br2", &["10.2.0.0/24", "fd00:2::/64"])].into();
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan) else { return };
    serve(&lab.client, "192.0.2.10:80");
    both(&lab.client, "192.0.2.1:8080", None);
    both(&lab.client, "10.1.0.2:80", None);
    both(&lab.web, "192.0.2.10:80", None);
    both(&lab.neighbour, "10.1.0.2:80", Some("10.1.0.3 at 80"));
}

#[test]
fn the_host_reaches_its_own_addresses_and_keeps_its_loopback() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    serve(&lab.host, "127.0.0.1:8080");
    serve(&lab.host, "[::1]:8080");
    both(&lab.host, "192.0.2.1:8080", Some("192.0.2.1 at 80"));
    both(&lab.host, "[2001:db8::1]:8080", Some("2001:db8::1 at 80"));
    // Nothing is rewritten, so these are the host's own servers.
    both(&lab.host, "127.0.0.1:8080", Some("127.0.0.1 at 8080"));
    both(&lab.host, "[::1]:8080", Some("::1 at 8080"));
}

#[test]
fn the_host_talking_to_itself_is_not_masqueraded() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    serve(&lab.host, "10.1.0.1:81");
    both(&lab.host, "10.1.0.1:81", Some("10.1.0.1 at 81"));
}

#[test]
fn containers_leave_with_the_hosts_address() {
    let Some(Scene { lab, mut plane }) = Scene::with(&plan()) else { return };
    serve(&lab.client, "192.0.2.10:80");
    serve(&lab.client, "[2001:db8::10]:80");
    both(&lab.web, "192.0.2.10:80", Some("192.0.2.1 at 80"));
    let seen = tcp(&lab.web, "[2001:db8::10]:80").unwrap();
    assert!(seen.starts_with("2001:db8::1 ") || seen.starts_with("2001:db8::2 "), "{seen}");

    let mut plan = plan();
    let mut plain = bridge("br1", &["10.1.0.0/24", "fd00:1::/64"]);
    plain.subnets.iter_mut().for_each(|subnet| subnet.masquerade = false);
    plan.bridges = [plain].into();
    plane.apply(&plan).unwrap();
    both(&lab.web, "192.0.2.10:80", Some("10.1.0.2 at 80"));
}

#[test]
fn crafted_packets_to_a_guarded_loopback_port_are_dropped() {
    let mut plan = plan();
    plan.loopback.insert(loopback(Proto::Udp, "127.0.0.1", "8081"));
    let Some(Scene { lab, mut plane }) = Scene::with(&plan) else { return };
    sh(
        &lab.host,
        "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.up0.route_localnet=1",
    );
    sh(
        &lab.client,
        "sysctl -qw net.ipv4.conf.eth0.route_localnet=1
         ip route del local 127.0.0.0/8 dev lo table local || true
         ip addr flush dev lo
         ip route add 127.0.0.0/8 via 192.0.2.1 src 192.0.2.10",
    );
    serve(&lab.host, "127.0.0.1:8081");
    assert_eq!(udp(&lab.client, "127.0.0.1:8081"), None);
    assert_eq!(udp(&lab.host, "127.0.0.1:8081").as_deref(), Some("127.0.0.1 at 8081"));
    // Without the guard the same packet gets in, so it was the guard that kept it out.
    plan.loopback.clear();
    plane.apply(&plan).unwrap();
    assert_eq!(udp(&lab.client, "127.0.0.1:8081").as_deref(), Some("192.0.2.10 at 8081"));
}

#[test]
fn a_port_that_moves_takes_its_udp_flows_along_once_conntrack_is_cleaned() {
    let Some(mut scene) = Scene::with(&plan()) else { return };
    serve(&scene.lab.neighbour, "10.1.0.3:81");
    let socket = udp_socket(&scene.lab.client, "192.0.2.1:8080");
    assert_eq!(ask(&socket).as_deref(), Some("192.0.2.10 at 80"));

    let mut moved = plan();
    moved.dnat.remove(&dnat("udp * 8080", "10.1.0.2 80"));
    moved.dnat.insert(dnat("udp * 8080", "10.1.0.3 81"));
    scene.plane.apply(&moved).unwrap();
    assert_eq!(ask(&socket).as_deref(), Some("192.0.2.10 at 80"), "the old flow goes on");

    let filter = FlowFilter {
        family: None,
        proto: 17,
        orig_dst: None,
        orig_dport: Some((8080, 8080)),
        reply_src: None,
    };
    assert_eq!(conntrack::delete_matching(&mut scene.netlink(), &filter).unwrap(), 1);
    assert_eq!(ask(&socket).as_deref(), Some("192.0.2.10 at 81"));
}

#[test]
fn flows_are_found_by_what_the_client_asked_for() {
    let Some(scene) = Scene::with(&plan()) else { return };
    let lab = &scene.lab;
    both(&lab.client, "192.0.2.1:8080", Some("192.0.2.10 at 80"));
    both(&lab.client, "192.0.2.2:8080", Some("192.0.2.10 at 80"));
    both(&lab.client, "192.0.2.1:7005", Some("192.0.2.10 at 9005"));
    both(&lab.client, "[2001:db8::1]:8080", Some("2001:db8::10 at 80"));
    let mut netlink = scene.netlink();
    let all =
        FlowFilter { family: None, proto: 6, orig_dst: None, orig_dport: None, reply_src: None };
    let mut count = |filter: FlowFilter| conntrack::list(&mut netlink, &filter).unwrap().len();
    assert_eq!(count(all), 4);
    assert_eq!(count(FlowFilter { proto: 17, ..all }), 4);
    assert_eq!(count(FlowFilter { proto: 132, ..all }), 0);
    let orig_dport = Some((8080, 8080));
    assert_eq!(count(FlowFilter { orig_dport, ..all }), 3);
    assert_eq!(count(FlowFilter { orig_dport: Some((7000, 7009)), ..all }), 1);
    // The container's port is not what the client asked for.
    assert_eq!(count(FlowFilter { orig_dport: Some((80, 80)), ..all }), 0);
    let orig_dst = Some("192.0.2.2".parse().unwrap());
    assert_eq!(count(FlowFilter { orig_dst, orig_dport, ..all }), 1);
    let reply_src = Some("fd00:1::2".parse().unwrap());
    assert_eq!(count(FlowFilter { reply_src, orig_dport, ..all }), 1);
    let family = Some(wharf_host::nftables::IpFamily::V4);
    assert_eq!(count(FlowFilter { family, ..all }), 3);
    let deleted = conntrack::delete_matching(&mut netlink, &FlowFilter { family, ..all }).unwrap();
    assert_eq!(deleted, 3);
    assert_eq!(conntrack::list(&mut netlink, &all).unwrap().len(), 1);
}

#[test]
fn link_local_addresses_are_left_to_the_relay() {
    let Some(Scene { lab, plane: _plane }) = Scene::with(&plan()) else { return };
    let address = sh(&lab.host, "ip -6 -o addr show dev up0 scope link | awk '{print $4}'");
    let address = address.split('/').next().unwrap().to_owned();
    let index = sh(&lab.client, "ip -o link show eth0 | cut -d: -f1");
    let index = index.trim();
    serve(&lab.host, "[::]:8080");
    let answer = tcp(&lab.client, &format!("[{address}%{index}]:8080")).unwrap();
    assert!(answer.starts_with("fe80:") && answer.ends_with(" at 8080"), "{answer}");
}

#[test]
fn no_connection_fails_while_the_table_is_replaced() {
    let Some(mut scene) = Scene::with(&plan()) else { return };
    let client = &scene.lab.client;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for _ in 0..300 {
                // Not one of a range: before 6.17 those can be missed for a moment.
                let answer = tcp(client, "192.0.2.1:8080");
                assert_eq!(answer.as_deref(), Some("192.0.2.10 at 80"));
            }
        });
        let mut replaced = 0;
        while !asking.is_finished() {
            scene.plane.forget();
            assert!(scene.plane.apply(&plan()).unwrap().replaced);
            replaced += 1;
        }
        eprintln!("replaced {replaced} times");
    });
}

#[test]
fn a_table_can_be_replaced_under_a_running_connection() {
    let Some(mut scene) = Scene::with(&plan()) else { return };
    let socket = udp_socket(&scene.lab.client, "192.0.2.1:8080");
    for _ in 0..3 {
        assert_eq!(ask(&socket).as_deref(), Some("192.0.2.10 at 80"));
        scene.plane.forget();
        scene.plane.apply(&plan()).unwrap();
    }
}
