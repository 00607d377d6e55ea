use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use wharf_plan::ebpf::Connect;
use wharf_spec::PublicationId;

use crate::scene::{HOST4, HOST6, addresses, connect, id, plan, said, scene, serve};

fn keeping(entry: Connect) -> Connect {
    Connect { keeps_host: true, ..entry }
}

fn only(entry: Connect, nets: &[&str]) -> Connect {
    Connect { from: nets.iter().map(|net| net.parse().unwrap()).collect(), ..entry }
}

#[test]
fn a_client_of_a_host_address_is_seen_as_that_address() {
    let Some(scene) = scene("keeps host") else { return };
    let entries = [keeping(connect(8080, "10.77.0.2:80")), keeping(connect(8080, "[fd77::2]:80"))];
    let _plane = scene.leading(&plan(entries));
    for (asked, seen) in [
        ("10.1.0.2:8080", HOST4),
        ("[fd01::2]:8080", HOST6),
        ("[::ffff:10.1.0.2]:8080", HOST4),
        ("10.77.0.1:8080", "10.77.0.1"),
        // 127.0.0.1 cannot be seen outside; the gateway is promised.
        ("127.0.0.1:8080", "10.77.0.1"),
        ("[::1]:8080", "fd77::1"),
    ] {
        let (told, peer) = scene.ask(asked);
        assert_eq!((told.as_str(), peer.as_str()), (&*format!("web {seen}"), asked));
    }
}

#[test]
fn a_source_that_a_program_chose_is_kept_or_left_to_others() {
    let Some(scene) = scene("bound") else { return };
    let keeping = keeping(connect(8081, "10.77.0.2:80"));
    let _plane = scene.leading(&plan([connect(8080, "10.77.0.2:80"), keeping]));
    let from = |source: &str, to: &str| scene.host.tcp_from(source, to);
    // Bound to a port alone: the address is still the kernel's to choose.
    assert_eq!(said(from("0.0.0.0:45000", "127.0.0.1:8080").unwrap()), "web 10.77.0.1");
    // Where the gateway is promised, no other address may be seen.
    assert!(from("10.1.0.2:0", "10.1.0.2:8080").is_err(), "nobody listens there");
    assert!(from("127.0.0.1:0", "127.0.0.1:8080").is_err());
    // Where the host's address is kept, so is the one that was chosen.
    assert_eq!(said(from("10.1.0.2:0", "10.1.0.2:8081").unwrap()), "web 10.1.0.2");
    assert_eq!(said(from("10.1.0.2:0", "10.77.0.1:8081").unwrap()), "web 10.1.0.2");
    assert!(from("127.0.0.1:0", "10.1.0.2:8081").is_err());
    // With a port of its own it cannot be given a source; the others have to keep it.
    assert!(from("0.0.0.0:45001", "10.1.0.2:8081").is_err());
    serve(scene.host.tcp_listen("0.0.0.0:8081").unwrap(), "relay");
    let stream = from("0.0.0.0:45001", "10.1.0.2:8081").unwrap();
    assert_eq!(stream.peer_addr().unwrap(), "10.1.0.2:8081".parse().unwrap());
    assert_eq!(said(stream), "relay 10.1.0.2");
}

#[test]
fn only_those_on_the_list_are_led() {
    let Some(scene) = scene("allowed") else { return };
    let entries = [
        only(connect(8080, "10.77.0.2:80"), &["127.0.0.0/8"]),
        only(connect(8081, "10.77.0.2:80"), &["10.1.0.0/24"]),
        only(connect(8082, "10.77.0.2:80"), &["192.0.2.0/24"]),
        only(connect(8083, "[fd77::2]:80"), &["::1/128"]),
        only(keeping(connect(8084, "10.77.0.2:80")), &["10.77.0.1/32"]),
    ];
    let plane = scene.leading(&plan(entries));
    for (asked, led) in [
        ("127.0.0.1:8080", true),
        ("127.8.8.8:8080", true),
        ("10.1.0.2:8080", false),
        ("127.0.0.1:8081", false),
        ("10.1.0.2:8081", true),
        ("127.0.0.1:8082", false),
        ("10.1.0.2:8082", false),
        ("[::1]:8083", true),
        ("[fd01::2]:8083", false),
        ("10.77.0.1:8084", true),
        ("10.1.0.2:8084", false),
    ] {
        assert_eq!(scene.host.can_connect(asked), led, "{asked}");
    }
    // Who chose an address is judged by it.
    assert!(scene.host.tcp_from("10.77.0.1:0", "10.1.0.2:8084").is_ok());
    assert!(scene.host.tcp_from("10.1.0.2:0", "10.77.0.1:8084").is_err());
    assert_eq!(plane.counters().unwrap()[&id("web")].connections, 6);
}

#[test]
fn a_list_is_changed_while_it_is_in_force() {
    let Some(scene) = scene("list") else { return };
    let entry = connect(8080, "10.77.0.2:80");
    let mut plane = scene.leading(&plan([only(entry.clone(), &["127.0.0.0/8"])]));
    assert!(scene.host.can_connect("127.0.0.1:8080"));
    plane.apply(&plan([only(entry.clone(), &["192.0.2.0/24", "198.51.100.0/24"])])).unwrap();
    assert!(!scene.host.can_connect("127.0.0.1:8080"));
    plane.apply(&plan([only(entry.clone(), &["0.0.0.0/0"])])).unwrap();
    assert!(scene.host.can_connect("127.0.0.1:8080"));
    plane.apply(&plan([entry])).unwrap();
    assert!(scene.host.can_connect("10.1.0.2:8080"));
}

#[test]
fn addresses_of_the_host_come_and_go() {
    let Some(scene) = scene("addresses") else { return };
    let at_one = Connect { host: Some(HOST4.parse().unwrap()), ..connect(8081, "10.77.0.2:80") };
    let mut plane = scene.leading(&plan([connect(8080, "10.77.0.2:80"), at_one]));
    assert!(scene.host.can_connect("10.1.0.2:8081"));
    plane.set_local_addresses([]).unwrap();
    for to in ["10.1.0.2:8080", "10.1.0.2:8081"] {
        let to: SocketAddr = to.parse().unwrap();
        let refused = scene.host.run(|| TcpStream::connect(to)).unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{to} is another machine's now");
    }
    assert!(scene.host.can_connect("127.0.0.1:8080"), "loopback is always the host's");
    plane.set_local_addresses(addresses()).unwrap();
    assert!(scene.host.can_connect("10.1.0.2:8080"));
}

#[test]
fn publications_count_apart() {
    let Some(scene) = scene("apart") else { return };
    let db = Connect { publication: PublicationId("db".into()), ..connect(5432, "10.77.0.2:80") };
    let plane = scene.leading(&plan([connect(8080, "10.77.0.2:80"), db]));
    for at in ["127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:5432"] {
        scene.ask(at);
    }
    let counted = plane.counters().unwrap();
    assert_eq!((counted[&id("web")].connections, counted[&id("db")].connections), (2, 1));
}
