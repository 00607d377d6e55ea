use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::link::Links;
use crate::netns::Netns;
use crate::sysctl;
use crate::watch::HostWatch;

/// Long enough for an answer inside one namespace.
const ANSWER: Duration = Duration::from_millis(700);
const CLIENTS: [&str; 2] = ["198.51.100.7", "2001:db8:9::7"];

fn netns() -> Option<Netns> {
    if rustix::process::geteuid().is_root() {
        return Some(Netns::create().unwrap());
    }
    eprintln!("skipped: making network namespaces needs root");
    None
}

fn state(netns: &Netns) -> String {
    let mut routes = Routes::open_in(netns).unwrap();
    format!("{:?} {:?}", routes.list().unwrap(), routes.rules().unwrap())
}

#[test]
fn the_way_back_is_laid_once_and_taken_up_whole() {
    let Some(netns) = netns() else { return };
    let before = state(&netns);
    netns
        .run(|| {
            assert!(is_possible());
            assert!(!is_laid().unwrap());
            take_up_way_back().unwrap();
            lay_way_back().unwrap();
            assert!(is_laid().unwrap());
            lay_way_back().unwrap();
        })
        .unwrap();
    assert_eq!(Routes::open_in(&netns).unwrap().rules().unwrap().len(), 4);
    netns.run(|| take_up_way_back().unwrap()).unwrap();
    assert_eq!(state(&netns), before);
}

#[test]
fn half_a_way_back_is_no_way_back_and_is_completed() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            lay_way_back().unwrap();
            let [own, _] = rules(true, PRIORITY);
            assert!(Routes::open().unwrap().delete_rule(&own).unwrap());
            assert!(!is_laid().unwrap());
            lay_way_back().unwrap();
            assert!(is_laid().unwrap());
        })
        .unwrap();
}

#[test]
fn the_way_back_goes_ahead_of_rules_that_come_later_and_returns() {
    let Some(netns) = netns() else { return };
    let mut routes = Routes::open_in(&netns).unwrap();
    let places = |routes: &mut Routes| -> Vec<u32> {
        let ours = routes.rules().unwrap().into_iter().filter(|rule| is_ours(rule) && !rule.ipv6);
        ours.filter_map(|rule| rule.priority).collect()
    };
    netns.run(|| lay_way_back().unwrap()).unwrap();
    assert_eq!(places(&mut routes), [80, 81]);
    // The kernel chooses the place, as for wg-quick.
    let foreign = Rule { mark: 7, priority: None, ..to_table(false, 0) };
    routes.add_rule(&foreign).unwrap();
    netns
        .run(|| {
            assert!(!is_laid().unwrap());
            lay_way_back().unwrap();
            assert!(is_laid().unwrap());
        })
        .unwrap();
    assert_eq!(places(&mut routes), [77, 78]);
    assert!(routes.delete_rule(&foreign).unwrap());
    netns.run(|| lay_way_back().unwrap()).unwrap();
    assert_eq!(places(&mut routes), [80, 81]);
    // Nobody can be ahead of this one.
    routes.add_rule(&Rule { priority: Some(1), ..foreign }).unwrap();
    netns.run(|| lay_way_back().unwrap()).unwrap();
    assert_eq!(places(&mut routes), [80, 81]);
}

#[test]
fn changes_of_rules_are_told() {
    let Some(netns) = netns() else { return };
    let mut watch = netns.run(|| HostWatch::rules().unwrap()).unwrap();
    let readable = |watch: &HostWatch| {
        let mut poll = [rustix::event::PollFd::new(watch, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        rustix::event::poll(&mut poll, Some(&limit)).unwrap() > 0
    };
    assert!(!readable(&watch));
    let mut routes = Routes::open_in(&netns).unwrap();
    for ipv6 in [false, true] {
        routes.add_rule(&to_table(ipv6, 5)).unwrap();
        assert!(readable(&watch));
        watch.clear();
        assert!(!readable(&watch));
    }
}

#[test]
fn a_host_without_ipv6_has_a_way_back_for_ipv4() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            sysctl::set("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
            lay_way_back().unwrap();
            assert!(is_laid().unwrap());
            take_up_way_back().unwrap();
            assert!(Routes::open().unwrap().rules().unwrap().is_empty());
        })
        .unwrap();
}

#[test]
fn a_table_that_others_use_is_left_to_them() {
    let Some(netns) = netns() else { return };
    let mut links = Links::open_in(&netns).unwrap();
    links.add_bridge("br", None, None).unwrap();
    links.set_up("br").unwrap();
    let foreign = Route {
        table: TABLE,
        ..Route::on_link("0.0.0.0/0".parse().unwrap(), links.index("br").unwrap())
    };
    let mut routes = Routes::open_in(&netns).unwrap();
    routes.add(&foreign).unwrap();
    let error = netns.run(|| lay_way_back().unwrap_err()).unwrap().to_string();
    assert!(error.contains("routing table 4183") && error.contains("source=gateway"), "{error}");
    netns.run(|| take_up_way_back().unwrap()).unwrap();
    assert!(routes.list().unwrap().contains(&foreign));
    assert!(routes.rules().unwrap().is_empty());
}

/// Says to everyone, over TCP and UDP, who they are.
fn serve(netns: &Netns, at: &str) {
    let at: SocketAddr = at.parse().unwrap();
    let udp = netns.run(|| only_its_family(at, Type::DGRAM)).unwrap();
    let tcp = netns.run(|| only_its_family(at, Type::STREAM)).unwrap();
    tcp.listen(16).unwrap();
    let (tcp, udp) = (TcpListener::from(tcp), UdpSocket::from(udp));
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap();
            // The asker may have given up.
            drop(stream.write_all(peer.to_string().as_bytes()));
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 64];
        loop {
            let (_, peer) = udp.recv_from(&mut buffer).unwrap();
            drop(udp.send_to(peer.to_string().as_bytes(), peer));
        }
    });
}

fn only_its_family(at: SocketAddr, kind: Type) -> Socket {
    let socket = Socket::new(Domain::for_address(at), kind, None).unwrap();
    if at.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&at.into()).unwrap();
    socket
}

/// A socket of the proxy: bound to `client`, marked.
fn proxied(netns: &Netns, kind: Type, client: &str, mark: u32) -> Socket {
    let client = SocketAddr::new(client.parse().unwrap(), 0);
    netns
        .run(|| {
            let socket = Socket::new(Domain::for_address(client), kind, None).unwrap();
            if client.is_ipv4() {
                socket.set_ip_transparent_v4(true).unwrap();
            } else {
                socket.set_ip_transparent_v6(true).unwrap();
            }
            socket.set_mark(mark).unwrap();
            socket.bind(&client.into()).unwrap();
            socket.set_read_timeout(Some(ANSWER)).unwrap();
            socket
        })
        .unwrap()
}

/// Asks `to` as `client`; the answer is the client's address and port as the server saw them.
fn asks(netns: &Netns, kind: Type, client: &str, to: &str) -> io::Result<()> {
    let to: SocketAddr = to.parse().unwrap();
    let socket = proxied(netns, kind, client, MARK.value);
    socket.connect_timeout(&to.into(), ANSWER)?;
    let own = socket.local_addr()?.as_socket().unwrap();
    let mut answer = vec![0; 64];
    let length = if kind == Type::STREAM {
        TcpStream::from(socket).read(&mut answer)?
    } else {
        let socket = UdpSocket::from(socket);
        socket.send(b"who am I?")?;
        socket.recv(&mut answer)?
    };
    assert_eq!(String::from_utf8_lossy(&answer[..length]), own.to_string());
    assert_eq!(own.ip().to_string(), client);
    Ok(())
}

#[track_caller]
fn all_answer(netns: &Netns, targets: [&str; 2]) {
    for (client, target) in CLIENTS.into_iter().zip(targets) {
        for kind in [Type::STREAM, Type::DGRAM] {
            let asked = asks(netns, kind, client, target);
            assert!(asked.is_ok(), "{client} to {target}: {kind:?}: {asked:?}");
        }
    }
}

#[test]
fn servers_in_a_namespace_of_loopback_alone_see_the_client() {
    let Some(netns) = netns() else { return };
    let before = state(&netns);
    serve(&netns, "0.0.0.0:80");
    serve(&netns, "[::]:80");
    assert!(asks(&netns, Type::STREAM, CLIENTS[0], "127.0.0.1:80").is_err());
    let changes = lay_way_back_inside(&netns, &[(80, 80)]).unwrap();
    all_answer(&netns, ["127.0.0.1:80", "[::1]:80"]);

    // The second time nothing changes; ports can be added.
    assert!(lay_way_back_inside(&netns, &[(80, 80), (90, 99)]).unwrap().is_empty());
    serve(&netns, "127.0.0.1:95");
    serve(&netns, "[::1]:95");
    all_answer(&netns, ["127.0.0.1:95", "[::1]:95"]);

    take_up_way_back_inside(&netns, &changes).unwrap();
    assert_eq!(state(&netns), before);
    netns.run(|| assert_eq!(sysctl::get("net/ipv4/tcp_fwmark_accept").unwrap(), "0")).unwrap();
    assert!(asks(&netns, Type::STREAM, CLIENTS[0], "127.0.0.1:80").is_err());
    take_up_way_back_inside(&netns, &changes).unwrap();
}

#[test]
fn a_closed_port_in_a_namespace_is_refused_at_once() {
    let Some(netns) = netns() else { return };
    lay_way_back_inside(&netns, &[(80, 80)]).unwrap();
    for (client, target) in CLIENTS.into_iter().zip(["127.0.0.1:80", "[::1]:80"]) {
        for kind in [Type::STREAM, Type::DGRAM] {
            let refused = asks(&netns, kind, client, target).unwrap_err();
            let kind = refused.kind();
            assert_eq!(kind, io::ErrorKind::ConnectionRefused, "{client} {target}: {refused}");
        }
    }
}

#[test]
fn programs_in_a_namespace_of_loopback_alone_still_have_no_network() {
    let Some(netns) = netns() else { return };
    lay_way_back_inside(&netns, &[(80, 80)]).unwrap();
    for (any, far) in [("0.0.0.0:0", "192.0.2.1:80"), ("[::]:0", "[2001:db8::1]:80")] {
        let far: SocketAddr = far.parse().unwrap();
        let tried = netns.run(|| {
            let udp = UdpSocket::bind(any).unwrap();
            (TcpStream::connect_timeout(&far, ANSWER).err(), udp.connect(far).err())
        });
        let (tcp, udp) = tried.unwrap();
        for error in [tcp, udp] {
            assert_eq!(error.unwrap().kind(), io::ErrorKind::NetworkUnreachable, "{far}");
        }
    }
}

#[test]
fn servers_in_a_namespace_with_a_route_see_the_client() {
    let Some(netns) = netns() else { return };
    let mut links = Links::open_in(&netns).unwrap();
    links.add_bridge("eth0", None, None).unwrap();
    netns.run(|| sysctl::set("net/ipv6/conf/eth0/accept_dad", "0").unwrap()).unwrap();
    links.set_up("eth0").unwrap();
    let link = links.index("eth0").unwrap();
    let mut routes = Routes::open_in(&netns).unwrap();
    for (own, gateway) in [("10.5.0.2/24", "10.5.0.1"), ("fd00:5::2/64", "fd00:5::1")] {
        links.add_address(link, own.parse().unwrap()).unwrap();
        routes.add(&Route::default_via(gateway.parse().unwrap(), link)).unwrap();
    }
    serve(&netns, "0.0.0.0:80");
    serve(&netns, "[::]:80");
    assert!(asks(&netns, Type::STREAM, CLIENTS[0], "10.5.0.2:80").is_err());
    lay_way_back_inside(&netns, &[(80, 80)]).unwrap();
    all_answer(&netns, ["10.5.0.2:80", "[fd00:5::2]:80"]);
    for (client, target) in CLIENTS.into_iter().zip(["127.0.0.1:80", "[::1]:80"]) {
        asks(&netns, Type::STREAM, client, target).unwrap();
    }
    // Whoever speaks without having been asked through the proxy still uses the route.
    let local = netns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((CLIENTS[0], 9)).unwrap();
        socket.local_addr().unwrap().ip().to_string()
    });
    assert_eq!(local.unwrap(), "10.5.0.2");
}

#[test]
fn the_proxys_own_namespace_is_refused() {
    let Some(netns) = netns() else { return };
    let refused = netns.run(|| {
        let own = Netns::current().unwrap();
        lay_way_back_inside(&own, &[]).unwrap_err().to_string()
    });
    let refused = refused.unwrap();
    assert!(refused.contains("the proxy's own namespace"), "{refused}");
}
