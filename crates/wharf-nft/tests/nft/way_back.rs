//! A proxy in one connection: bound to a client's address, answered by a container.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use wharf_host::netns::Netns;
use wharf_host::transparent::{lay_way_back, take_up_way_back};
use wharf_nft::NftPlane;
use wharf_plan::nft::NftPlan;

use crate::lab::{Lab, available, serve, sh, tcp, udp};
use crate::plans::{bridge, dnat};

const ANSWER: Duration = Duration::from_millis(700);
/// Targets and, for each, a client nobody here has, one there is, and one of another network.
const CLIENTS: [(&str, [&str; 3]); 2] = [
    ("10.1.0.2:80", ["198.51.100.7", "192.0.2.10", "10.2.0.2"]),
    ("[fd00:1::2]:80", ["2001:db8:9::7", "2001:db8::10", "fd00:2::2"]),
];

/// Prints how many IPv4 packets a host has sent on (`ForwDatagrams`).
const FORWARDED: &str = "awk '/^Ip:/ && at { print $at }
    /^Ip:/ && !at { for (i = 1; i <= NF; i++) if ($i == \"ForwDatagrams\") at = i }' \
    /proc/net/snmp";

struct Scene {
    lab: Lab,
    plane: NftPlane,
}

fn plan() -> NftPlan {
    NftPlan {
        bridges: [
            bridge("br1", &["10.1.0.0/24", "fd00:1::/64"]),
            bridge("br2", &["10.2.0.0/24", "fd00:2::/64"]),
        ]
        .into(),
        dnat: ["tcp", "udp"].map(|proto| dnat(&format!("{proto} * 8080"), "10.1.0.2 80")).into(),
        way_back: true,
        ..NftPlan::default()
    }
}

impl Scene {
    fn new() -> Option<Self> {
        available().then_some(())?;
        let lab = Lab::build();
        let plane = lab.host.run(|| {
            let mut plane = NftPlane::open("wharf").unwrap();
            plane.apply(&plan()).unwrap();
            lay_way_back().unwrap();
            plane
        });
        for (target, _) in CLIENTS {
            serve(&lab.web, target);
        }
        Some(Self { plane: plane.unwrap(), lab })
    }

    /// Every kind of client over both protocols and families; lists what is not as it should be.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (target, clients) in CLIENTS {
            for client in clients {
                for kind in [Type::STREAM, Type::DGRAM] {
                    match relayed(&self.lab.host, kind, client, target) {
                        Ok(seen) if seen == format!("{client} at 80") => {}
                        other => wrong.push(format!("{kind:?} {client} to {target}: {other:?}")),
                    }
                }
            }
        }
        wrong
    }

    #[track_caller]
    fn all_well(&self, circumstances: &str) {
        // A busy machine may answer too late.
        let once_more = |wrong: Vec<String>, _| if wrong.is_empty() { wrong } else { self.wrong() };
        let wrong = (0..3).fold(self.wrong(), once_more);
        assert!(wrong.is_empty(), "{circumstances}:\n{}", wrong.join("\n"));
    }
}

/// Asks `to` from `host` with the address of `client`, and some port.
fn relayed(host: &Netns, kind: Type, client: &str, to: &str) -> io::Result<String> {
    let (client, to) = (SocketAddr::new(client.parse().unwrap(), 0), to.parse().unwrap());
    let socket = host.run(|| transparent(kind, client)).unwrap()?;
    socket.set_read_timeout(Some(ANSWER))?;
    ask(socket, kind, to)
}

fn transparent(kind: Type, client: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(client), kind, None)?;
    if client.is_ipv4() {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_ip_transparent_v6(true)?;
    }
    socket.bind(&client.into())?;
    Ok(socket)
}

fn ask(socket: Socket, kind: Type, to: SocketAddr) -> io::Result<String> {
    socket.connect_timeout(&to.into(), ANSWER)?;
    let mut text = String::new();
    if kind == Type::STREAM {
        TcpStream::from(socket).read_to_string(&mut text)?;
        return Ok(text);
    }
    let mut buffer = [0; 64];
    let socket = UdpSocket::from(socket);
    socket.send(b"who am I?")?;
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[test]
fn answers_to_a_clients_address_come_back_whatever_is_checked_of_arrived_packets() {
    let Some(scene) = Scene::new() else { return };
    for (rp_filter, src_valid_mark, accept_local) in
        [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 1, 0), (2, 1, 0), (1, 1, 1)]
    {
        let circumstances = format!(
            "rp_filter={rp_filter} src_valid_mark={src_valid_mark} accept_local={accept_local}"
        );
        for at in ["all", "br1"] {
            let settings = circumstances
                .split(' ')
                .map(|setting| format!("net.ipv4.conf.{at}.{setting}"))
                .collect::<Vec<_>>();
            sh(&scene.lab.host, &format!("sysctl -qw {}", settings.join(" ")));
        }
        scene.all_well(&circumstances);
    }
}

#[test]
fn neither_half_of_the_way_back_is_enough() {
    let Some(mut scene) = Scene::new() else { return };
    let without = NftPlan { way_back: false, ..plan() };
    scene.plane.apply(&without).unwrap();
    assert_eq!(scene.wrong().len(), 12, "{:?}", scene.wrong());
    scene.plane.apply(&plan()).unwrap();
    scene.all_well("laid again");
    scene.lab.host.run(|| take_up_way_back().unwrap()).unwrap();
    assert_eq!(scene.wrong().len(), 12, "{:?}", scene.wrong());
}

#[test]
fn bridges_of_others_answer_where_the_plan_says_so() {
    let Some(mut scene) = Scene::new() else { return };
    let foreign = NftPlan { bridges: [].into(), ..plan() };
    scene.plane.apply(&foreign).unwrap();
    assert_eq!(scene.wrong().len(), 12, "{:?}", scene.wrong());
    scene.plane.apply(&NftPlan { answering: ["br1".to_owned()].into(), ..foreign }).unwrap();
    scene.all_well("a bridge of others");
}

#[test]
fn a_closed_port_is_refused_to_the_proxy_and_the_client_hears_nothing() {
    let Some(Scene { lab, plane: _plane }) = Scene::new() else { return };
    for (target, clients) in CLIENTS {
        let target = target.replace(":80", ":81");
        for client in clients {
            for kind in [Type::STREAM, Type::DGRAM] {
                let refused = relayed(&lab.host, kind, client, &target).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{client} {target}");
            }
        }
    }
    assert_eq!(sh(&lab.host, FORWARDED).trim(), "0");
}

#[test]
fn marks_of_others_stay_in_their_half() {
    let Some(scene) = Scene::new() else { return };
    // Like Calico's and kube-proxy's together, ahead of ours and for every packet.
    let others = "add table inet others
        add chain inet others early { type filter hook prerouting priority mangle; }
        add rule inet others early meta mark set meta mark or 0x0a014000
        add chain inet others late { type filter hook input priority filter; }
        add rule inet others late meta mark & 0xffff0000 == 0x0a010000 counter";
    sh(&scene.lab.host, &format!("/usr/sbin/nft '{others}'"));
    scene.all_well("others mark");
    let counted = sh(&scene.lab.host, "/usr/sbin/nft list chain inet others late");
    assert!(!counted.contains("packets 0 "), "{counted}");
}

#[test]
fn a_tunnel_that_takes_everything_does_not_take_the_answers() {
    let Some(scene) = Scene::new() else { return };
    // What wg-quick does for a default route, with a cable in place of the tunnel.
    sh(
        &scene.lab.host,
        "sysctl -qw net.ipv4.conf.all.src_valid_mark=1 net.ipv4.conf.all.rp_filter=1
         ip link add wg0 type veth peer name wg1; ip link set wg1 up
         ip addr add 10.77.0.1/24 dev wg0; ip link set wg0 up
         for family in -4 -6; do
             ip $family route add default dev wg0 table 51820
             ip $family rule add not fwmark 51820 table 51820
             ip $family rule add table main suppress_prefixlength 0
         done",
    );
    // The kernel has put these rules in front of ours.
    assert_ne!(scene.wrong(), [""; 0]);
    scene.lab.host.run(|| lay_way_back().unwrap()).unwrap();
    scene.all_well("beside a tunnel");
}

#[test]
fn kernel_paths_do_not_mind_the_way_back() {
    let Some(Scene { lab, plane: _plane }) = Scene::new() else { return };
    serve(&lab.client, "192.0.2.10:80");
    for ask in [tcp, udp] {
        assert_eq!(ask(&lab.client, "192.0.2.1:8080").as_deref(), Some("192.0.2.10 at 80"));
        assert_eq!(ask(&lab.stranger, "192.0.2.1:8080").as_deref(), Some("10.2.0.2 at 80"));
        assert_eq!(ask(&lab.neighbour, "192.0.2.1:8080").as_deref(), Some("10.1.0.1 at 80"));
        assert_eq!(ask(&lab.host, "192.0.2.1:8080").as_deref(), Some("192.0.2.1 at 80"));
        assert_eq!(ask(&lab.web, "192.0.2.10:80").as_deref(), Some("192.0.2.1 at 80"));
        assert_eq!(ask(&lab.neighbour, "10.1.0.2:80").as_deref(), Some("10.1.0.3 at 80"));
    }
}

#[test]
fn a_transparent_listener_of_somebody_else_catches_nothing_of_ours() {
    let Some(Scene { lab, plane: _plane }) = Scene::new() else { return };
    serve(&lab.client, "192.0.2.10:80");
    // As a proxy has that takes port 80 of every address, once its own rules send it there.
    let any = SocketAddr::from(([0, 0, 0, 0], 80));
    let listener = lab.host.run(|| transparent(Type::STREAM, any)).unwrap().unwrap();
    listener.listen(16).unwrap();
    assert_eq!(tcp(&lab.web, "192.0.2.10:80").as_deref(), Some("192.0.2.1 at 80"));
}
