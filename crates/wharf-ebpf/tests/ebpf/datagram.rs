use std::net::UdpSocket;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use wharf_plan::ebpf::Connect;

use crate::scene::{ANSWER, SILENCE, Scene, answer, connect, datagrams, exchange, id, plan, scene};

fn with_server(scene: &Scene, entries: impl IntoIterator<Item = Connect>) -> wharf_ebpf::EbpfPlane {
    answer(scene.web.udp_bind("0.0.0.0:53").unwrap(), "web");
    answer(scene.web.udp_bind("[fd77::2]:53").unwrap(), "web");
    let mut plane = scene.plane();
    plane.apply(&plan(entries)).unwrap();
    plane
}

fn both() -> [Connect; 2] {
    [datagrams(5353, "10.77.0.2:53"), datagrams(5353, "[fd77::2]:53")]
}

fn told(socket: &UdpSocket, to: &str) -> Option<(String, String)> {
    exchange(socket, to).map(|(text, from)| (text, from.to_string()))
}

#[test]
fn each_datagram_is_led_and_the_answer_comes_from_where_it_was_sent() {
    let Some(scene) = scene("unconnected") else { return };
    let plane = with_server(&scene, both());
    let (v4, v6) = (scene.udp("0.0.0.0:0"), scene.udp("[::]:0"));
    for (socket, to, source) in [
        (&v4, "127.0.0.1:5353", "10.77.0.1"),
        (&v4, "10.1.0.2:5353", "10.77.0.1"),
        (&v4, "127.0.0.9:5353", "10.77.0.1"),
        (&v6, "[::1]:5353", "fd77::1"),
        (&v6, "[fd01::2]:5353", "fd77::1"),
        (&v6, "[::ffff:127.0.0.1]:5353", "10.77.0.1"),
    ] {
        let (text, from) = told(socket, to).unwrap();
        assert_eq!((text.as_str(), from.as_str()), (&*format!("web {source}"), to));
    }
    assert_eq!(told(&v4, "0.0.0.0:5353").unwrap().1, "127.0.0.1:5353");
    assert_eq!(told(&v6, "[::]:5353").unwrap().1, "[::1]:5353");
    let counted = plane.counters().unwrap()[&id("web")];
    assert_eq!((counted.datagrams, counted.connections, counted.open), (8, 0, 0));
}

#[test]
fn the_address_asked_for_can_be_the_source() {
    let Some(scene) = scene("udp keeps host") else { return };
    let keeping = both().map(|entry| Connect { keeps_host: true, ..entry });
    let _plane = with_server(&scene, keeping);
    let (v4, v6) = (scene.udp("0.0.0.0:0"), scene.udp("[::]:0"));
    for (socket, to, seen) in [
        (&v4, "10.1.0.2:5353", "10.1.0.2"),
        (&v4, "127.0.0.1:5353", "10.77.0.1"),
        (&v6, "[fd01::2]:5353", "fd01::2"),
        (&v6, "[::ffff:10.1.0.2]:5353", "10.1.0.2"),
    ] {
        let (text, from) = told(socket, to).unwrap();
        assert_eq!((text.as_str(), from.as_str()), (&*format!("web {seen}"), to));
    }
}

#[test]
fn a_connected_socket_is_left_to_the_relay() {
    let Some(scene) = scene("connected") else { return };
    let plane = with_server(&scene, both());
    answer(scene.host.udp_bind("0.0.0.0:5353").unwrap(), "relay");
    let socket = scene.host.udp("127.0.0.1:5353").unwrap();
    assert_eq!(socket.peer_addr().unwrap(), "127.0.0.1:5353".parse().unwrap());
    assert_eq!(scene.host.udp_ask("127.0.0.1:5353", b"who?").unwrap(), b"relay 127.0.0.1");
    assert_eq!(plane.counters().unwrap()[&id("web")].datagrams, 0);
    // One that was connected and is not any more is like any other.
    socket.send(b"who?").unwrap();
    let mut bytes = [0; 64];
    assert_eq!(socket.recv(&mut bytes).unwrap(), "relay 127.0.0.1".len());
    let free = scene.udp("0.0.0.0:0");
    assert_eq!(told(&free, "127.0.0.1:5353").unwrap().0, "web 10.77.0.1");
}

#[test]
fn a_connected_socket_that_names_its_destination_is_left_to_the_relay_too() {
    let Some(scene) = scene("named") else { return };
    let plane = with_server(&scene, both().map(|entry| Connect { keeps_host: true, ..entry }));
    answer(scene.host.udp_bind("0.0.0.0:5353").unwrap(), "relay");
    answer(scene.host.udp_bind("[::1]:5353").unwrap(), "relay");
    for (to, source) in [("10.1.0.2:5353", "10.1.0.2"), ("[::1]:5353", "::1")] {
        let (text, from) = told(&scene.host.udp(to).unwrap(), to).unwrap();
        assert_eq!((text.as_str(), from.as_str()), (&*format!("relay {source}"), to));
    }
    assert_eq!(plane.counters().unwrap()[&id("web")].datagrams, 0);
}

#[test]
fn sources_that_a_program_chose_are_kept_or_left_to_others() {
    let Some(scene) = scene("udp bound") else { return };
    let keeping = Connect { keeps_host: true, ..datagrams(5354, "10.77.0.2:53") };
    let _plane = with_server(&scene, [datagrams(5353, "10.77.0.2:53"), keeping]);
    let host = scene.udp("10.1.0.2:0");
    host.set_read_timeout(Some(SILENCE)).unwrap();
    assert_eq!(told(&host, "10.1.0.2:5353"), None, "the gateway is promised");
    host.set_read_timeout(Some(ANSWER)).unwrap();
    let (text, from) = told(&host, "10.1.0.2:5354").unwrap();
    assert_eq!((text.as_str(), from.as_str()), ("web 10.1.0.2", "10.1.0.2:5354"));
    let loopback = scene.udp("127.0.0.1:0");
    loopback.set_read_timeout(Some(SILENCE)).unwrap();
    assert_eq!(told(&loopback, "127.0.0.1:5354"), None, "127.0.0.1 cannot leave");
}

#[test]
fn only_senders_on_the_list_are_led() {
    let Some(scene) = scene("udp allowed") else { return };
    let from = vec!["127.0.0.0/8".parse().unwrap()];
    let entry = Connect { from, ..datagrams(5353, "10.77.0.2:53") };
    let _plane = with_server(&scene, [entry]);
    let socket = scene.udp("0.0.0.0:0");
    assert!(told(&socket, "127.0.0.1:5353").is_some());
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    assert_eq!(told(&socket, "10.1.0.2:5353"), None);
}

#[test]
fn a_more_specific_server_keeps_its_datagrams() {
    let Some(scene) = scene("udp specific") else { return };
    let _plane = with_server(&scene, both());
    answer(scene.host.udp_bind("127.0.0.1:5353").unwrap(), "own");
    let socket = scene.udp("0.0.0.0:0");
    assert_eq!(told(&socket, "127.0.0.1:5353").unwrap().0, "own 127.0.0.1");
    assert_eq!(told(&socket, "10.1.0.2:5353").unwrap().0, "web 10.77.0.1");
}

#[test]
fn one_socket_may_ask_the_same_server_by_two_ports() {
    let Some(scene) = scene("two ports") else { return };
    let other = Connect { publication: id("other"), ..datagrams(5354, "10.77.0.2:54") };
    answer(scene.web.udp_bind("0.0.0.0:54").unwrap(), "other");
    let _plane = with_server(&scene, [datagrams(5353, "10.77.0.2:53"), other]);
    let socket = scene.udp("0.0.0.0:0");
    for _ in 0..3 {
        let (text, from) = told(&socket, "127.0.0.1:5353").unwrap();
        assert_eq!((text.as_str(), from.as_str()), ("web 10.77.0.1", "127.0.0.1:5353"));
        let (text, from) = told(&socket, "127.0.0.1:5354").unwrap();
        assert_eq!((text.as_str(), from.as_str()), ("other 10.77.0.1", "127.0.0.1:5354"));
    }
    // The container's own address is answered from there.
    let (_, from) = told(&scene.udp("0.0.0.0:0"), "10.77.0.2:53").unwrap();
    assert_eq!(from, "10.77.0.2:53");
}

#[test]
fn servers_that_share_a_udp_port_share_it_as_before() {
    let Some(scene) = scene("udp reuseport") else { return };
    let _plane = with_server(&scene, both());
    for name in ["one", "two"] {
        let make = || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            let at: std::net::SocketAddr = "0.0.0.0:9000".parse().unwrap();
            socket.bind(&at.into()).unwrap();
            UdpSocket::from(socket)
        };
        answer(scene.host.run(make).unwrap(), name);
    }
    let ask = |_| told(&scene.udp("0.0.0.0:0"), "127.0.0.1:9000").unwrap().0;
    let mut seen: Vec<String> = (0..40).map(ask).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["one 127.0.0.1", "two 127.0.0.1"]);
}

#[test]
fn tcp_and_udp_of_one_number_are_two_ports() {
    let Some(scene) = scene("tcp and udp") else { return };
    let _plane = with_server(&scene, [connect(5353, "10.77.0.2:80")]);
    let socket = scene.udp("0.0.0.0:0");
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(told(&socket, "127.0.0.1:5353"), None);
}
