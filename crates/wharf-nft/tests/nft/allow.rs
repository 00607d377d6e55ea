//! Allow-lists: who gets in, by every way there is.

use std::net::UdpSocket;
use std::time::Duration;

use wharf_host::netns::Netns;
use wharf_nft::NftPlane;
use wharf_plan::nft::{AllowList, NftPlan};

use crate::lab::{Lab, ask, available, serve, sh, tcp, udp, udp_socket};
use crate::plans::{allow, bridge, dnat, open_to};
use crate::traffic::both;

struct Scene {
    lab: Lab,
    plane: NftPlane,
    plan: NftPlan,
}

impl Scene {
    /// Ports 8080 and 9000-9009 lead to the web container, 8082 to a process of the host, as the
    /// relay's would; nothing is restricted yet.
    fn new() -> Option<Self> {
        available().then_some(())?;
        let lab = Lab::build();
        let plane = lab.host.run(|| NftPlane::open("wharf")).unwrap().unwrap();
        let mut plan = NftPlan {
            bridges: [
                bridge("br1", &["10.1.0.0/24", "fd00:1::/64"]),
                bridge("br2", &["10.2.0.0/24", "fd00:2::/64"]),
            ]
            .into(),
            ..NftPlan::default()
        };
        for proto in ["tcp", "udp"] {
            for target in ["10.1.0.2", "fd00:1::2"] {
                plan.dnat.insert(dnat(&format!("{proto} * 8080"), &format!("{target} 80")));
                let range = format!("{proto} * 9000-9009");
                plan.dnat.insert(dnat(&range, &format!("{target} 9000-9009")));
            }
        }
        for address in ["10.1.0.2", "[fd00:1::2]"] {
            serve(&lab.web, &format!("{address}:80"));
            serve(&lab.web, &format!("{address}:9005"));
        }
        for address in ["192.0.2.1", "127.0.0.1", "[2001:db8::1]"] {
            serve(&lab.host, &format!("{address}:8082"));
        }
        Some(Self { lab, plane, plan })
    }

    /// Puts these lists in force, for TCP and UDP: host addresses, ports, clients.
    fn restrict(&mut self, lists: &[(&str, &str, &[&str])]) {
        let of = |proto| {
            lists
                .iter()
                .map(move |(host, ports, from)| allow(&format!("{proto} {host} {ports}"), from))
        };
        let lists: Vec<AllowList> = of("tcp").chain(of("udp")).collect();
        self.plan.allow = lists.into_iter().collect();
        self.plane.apply(&self.plan).unwrap();
    }

    /// Packets dropped for want of a place on a list.
    fn turned_away(&mut self) -> u64 {
        self.plane.counters().unwrap()["not on the allow-list"].packets
    }
}

#[test]
fn only_those_on_the_list_get_in_and_a_change_counts_at_once() {
    let Some(mut scene) = Scene::new() else { return };
    scene.restrict(&[
        ("0.0.0.0/0", "8080", &["192.0.2.0/28"]),
        ("::/0", "8080", &["2001:db8::10/128"]),
    ]);
    let Scene { lab, .. } = &scene;
    both(&lab.client, "192.0.2.1:8080", Some("192.0.2.10 at 80"));
    both(&lab.client, "[2001:db8::1]:8080", Some("2001:db8::10 at 80"));
    for netns in [&lab.stranger, &lab.neighbour, &lab.web] {
        both(netns, "192.0.2.1:8080", None);
        both(netns, "[2001:db8::1]:8080", None);
    }
    both(&lab.stranger, "192.0.2.1:9005", Some("10.2.0.2 at 9005"));

    let flow = udp_socket(&lab.client, "192.0.2.2:8080");
    assert_eq!(ask(&flow).as_deref(), Some("192.0.2.10 at 80"));
    scene.restrict(&[("0.0.0.0/0", "8080", &["10.2.0.0/24"])]);
    assert_eq!(ask(&flow), None, "an open flow of someone no longer on the list");
    both(&scene.lab.client, "192.0.2.1:8080", None);
    both(&scene.lab.stranger, "192.0.2.1:8080", Some("10.2.0.2 at 80"));
    both(&scene.lab.stranger, "[2001:db8::1]:8080", Some("fd00:2::2 at 80"));

    scene.restrict(&[]);
    assert_eq!(ask(&flow).as_deref(), Some("192.0.2.10 at 80"));
    both(&scene.lab.neighbour, "192.0.2.1:8080", Some("10.1.0.1 at 80"));
}

#[test]
fn a_list_without_a_family_lets_nobody_of_it_in() {
    let Some(mut scene) = Scene::new() else { return };
    scene.restrict(&[("0.0.0.0/0", "8080", &["0.0.0.0/0"]), ("::/0", "8080", &[])]);
    both(&scene.lab.client, "192.0.2.1:8080", Some("192.0.2.10 at 80"));
    both(&scene.lab.client, "[2001:db8::1]:8080", None);
}

#[test]
fn ranges_and_single_addresses_are_restricted_for_themselves() {
    let Some(mut scene) = Scene::new() else { return };
    scene.restrict(&[
        ("192.0.2.2/32", "9000-9009", &["10.2.0.2/32"]),
        ("2001:db8::2/128", "9000-9009", &["fd00:2::/64", "2001:db8:ffff::/48"]),
    ]);
    let Scene { lab, .. } = &scene;
    both(&lab.client, "192.0.2.2:9005", None);
    both(&lab.client, "[2001:db8::2]:9005", None);
    both(&lab.stranger, "192.0.2.2:9005", Some("10.2.0.2 at 9005"));
    both(&lab.stranger, "[2001:db8::2]:9005", Some("fd00:2::2 at 9005"));
    both(&lab.client, "192.0.2.1:9005", Some("192.0.2.10 at 9005"));
    both(&lab.client, "192.0.2.2:8080", Some("192.0.2.10 at 80"));
}

#[test]
fn the_hosts_own_processes_are_judged_by_the_address_they_have() {
    let Some(mut scene) = Scene::new() else { return };
    scene.restrict(&[
        ("0.0.0.0/0", "8080", &["192.0.2.1/32"]),
        ("0.0.0.0/0", "8082", &["192.0.2.1/32", "127.0.0.0/8"]),
        ("::/0", "8080-8082", &["2001:db8::1/128"]),
    ]);
    let Scene { lab, .. } = &scene;
    // To the kernel plane, then to a socket of the host.
    both(&lab.host, "192.0.2.1:8080", Some("192.0.2.1 at 80"));
    both(&lab.host, "[2001:db8::1]:8080", Some("2001:db8::1 at 80"));
    both(&lab.host, "192.0.2.1:8082", Some("192.0.2.1 at 8082"));
    both(&lab.host, "127.0.0.1:8082", Some("127.0.0.1 at 8082"));
    both(&lab.host, "[2001:db8::1]:8082", Some("2001:db8::1 at 8082"));
    assert_eq!(scene.turned_away(), 0);

    scene.restrict(&[("0.0.0.0/0", "8080-8082", &["127.0.0.1/32"]), ("::/0", "8080-8082", &[])]);
    let Scene { lab, .. } = &scene;
    both(&lab.host, "127.0.0.1:8082", Some("127.0.0.1 at 8082"));
    both(&lab.host, "192.0.2.1:8080", None);
    both(&lab.host, "192.0.2.1:8082", None);
    both(&lab.host, "[2001:db8::1]:8082", None);
}

#[test]
fn a_refused_datagram_is_counted_once() {
    let Some(mut scene) = Scene::new() else { return };
    scene.restrict(&[("0.0.0.0/0", "8080-8082", &["203.0.113.0/24"]), ("::/0", "8080-8082", &[])]);
    let mut expected = 0;
    for place in ["192.0.2.1:8080", "192.0.2.1:8082", "[2001:db8::1]:8080", "[2001:db8::1]:8082"] {
        for from in [&scene.lab.client, &scene.lab.stranger, &scene.lab.web, &scene.lab.host] {
            assert_eq!(udp(from, place), None, "{place}");
            expected += 1;
        }
    }
    for place in ["127.0.0.1:8082", "[::1]:8082"] {
        assert_eq!(udp(&scene.lab.host, place), None, "{place}");
        expected += 1;
    }
    assert_eq!(scene.turned_away(), expected);
}

#[test]
fn sockets_of_the_host_are_protected_as_well_and_link_local_clients_judged() {
    let Some(mut scene) = Scene::new() else { return };
    let address = sh(&scene.lab.host, "ip -6 -o addr show dev up0 scope link | awk '{print $4}'");
    let address = address.split('/').next().unwrap();
    let index = |netns, link| sh(netns, &format!("ip -o link show {link} | cut -d: -f1"));
    let near = format!("[{address}%{}]:8082", index(&scene.lab.client, "eth0").trim());
    serve(&scene.lab.host, &format!("[{address}%{}]:8082", index(&scene.lab.host, "up0").trim()));

    scene.restrict(&[("0.0.0.0/0", "8082", &["10.0.0.0/8"]), ("::/0", "8082", &["fe80::/10"])]);
    both(&scene.lab.client, "192.0.2.1:8082", None);
    both(&scene.lab.stranger, "192.0.2.1:8082", Some("10.2.0.2 at 8082"));
    both(&scene.lab.client, "[2001:db8::1]:8082", None);
    for ask in [tcp, udp] {
        assert!(ask(&scene.lab.client, &near).is_some_and(|seen| seen.starts_with("fe80:")));
    }

    scene.restrict(&[("::/0", "8082", &["2001:db8::/32"])]);
    both(&scene.lab.client, "[2001:db8::1]:8082", Some("2001:db8::10 at 8082"));
    both(&scene.lab.client, &near, None);
}

#[test]
fn answers_to_containers_own_connections_are_not_taken_for_clients() {
    let Some(mut scene) = Scene::new() else { return };
    scene.restrict(&[("0.0.0.0/0", "8080", &["10.2.0.0/24"])]);
    let bind = |netns: &Netns, address: &'static str| {
        let socket = netns.run(|| UdpSocket::bind(address).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket
    };
    let server = bind(&scene.lab.client, "192.0.2.10:53");
    let socket = bind(&scene.lab.web, "10.1.0.2:8080");
    let mut buffer = [0; 16];
    socket.send_to(b"question", "192.0.2.10:53").unwrap();
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(from.to_string(), "192.0.2.1:8080", "masquerading keeps a port that is free");
    server.send_to(b"answer", from).unwrap();
    let (_, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from.to_string(), "192.0.2.10:53");
    // The same server is not let in when it asks.
    both(&scene.lab.client, "192.0.2.1:8080", None);
}

#[test]
fn what_only_passes_through_is_not_judged() {
    let Some(mut scene) = Scene::new() else { return };
    scene.restrict(&[("0.0.0.0/0", "8080", &["203.0.113.0/24"]), ("::/0", "8080", &[])]);
    serve(&scene.lab.client, "192.0.2.10:8080");
    serve(&scene.lab.neighbour, "10.1.0.3:8080");
    both(&scene.lab.web, "192.0.2.10:8080", Some("192.0.2.1 at 8080"));
    both(&scene.lab.web, "10.1.0.3:8080", Some("10.1.0.2 at 8080"));
    both(&scene.lab.host, "192.0.2.10:8080", Some("192.0.2.1 at 8080"));
    assert_eq!(scene.turned_away(), 0);
}

#[test]
fn a_routed_port_is_open_to_its_list_only() {
    let Some(mut scene) = Scene::new() else { return };
    scene.plan.open = [
        open_to("10.1.0.2", "80", &["192.0.2.10/32"]),
        open_to("10.1.0.2", "80-90", &["203.0.113.0/24"]),
        open_to("fd00:1::2", "80", &["2001:db8::/64"]),
    ]
    .into();
    scene.plane.apply(&scene.plan).unwrap();
    assert!(tcp(&scene.lab.client, "10.1.0.2:80").is_some());
    assert!(tcp(&scene.lab.client, "[fd00:1::2]:80").is_some());
    assert_eq!(tcp(&scene.lab.stranger, "10.1.0.2:80"), None);
    assert_eq!(tcp(&scene.lab.stranger, "[fd00:1::2]:80"), None);
}
