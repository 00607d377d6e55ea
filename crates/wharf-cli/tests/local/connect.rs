//! What a process of the host meets at a published port.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use wharf_lab::wait;

use super::scene::{LIMIT, OWN, Scene};

#[test]
fn every_own_address_leads_straight_to_the_container() {
    let Some(scene) = Scene::new("straight") else { return };
    scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let gateways = ["Gateway", "IPv6Gateway"].map(|it| scene.wharf.network_setting("web", it));
    for address in OWN {
        let loopback = ["127.0.0.1", "[::1]"].contains(&address);
        let gateway = &gateways[usize::from(address.contains(':'))];
        let own = address.trim_matches(['[', ']']);
        let expected = if loopback { gateway.as_str() } else { own };
        assert_eq!(scene.source("tcp", address, 8080), expected, "{address}");
        assert_eq!(scene.source("udp", address, 8080), expected, "{address}");
    }
    let tcp = scene.entry("8080", "tcp");
    assert_eq!(tcp["planes"], serde_json::json!(["nft", "ebpf"]));
    assert_eq!(tcp["relayed"], 0, "the relay has carried something: {tcp}");
}

#[test]
fn a_program_is_told_the_address_it_has_asked_for() {
    let Some(scene) = Scene::new("getpeername") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    for address in OWN {
        let asked: SocketAddr = format!("{address}:8080").parse().unwrap();
        let stream = scene.host.tcp(&asked.to_string()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), asked);
        let own = stream.local_addr().unwrap().ip();
        let is_gateway = |it: IpAddr| it != asked.ip();
        assert_eq!(is_gateway(own), asked.ip().is_loopback(), "{own} for {asked}");
    }
}

#[test]
fn open_connections_are_counted_and_end_with_the_publication() {
    let Some(scene) = Scene::new("counted") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let mut streams: Vec<TcpStream> =
        OWN.iter().map(|it| scene.host.tcp(&format!("{it}:8080")).unwrap()).collect();
    let open = || scene.entry("8080", "tcp")["connections"].as_u64();
    wait::until(LIMIT, "four connections", || (open() == Some(4)).then_some(())).unwrap();
    scene.wharf.unpublish("web", &["8080:80"]);
    for stream in &mut streams {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let error = stream.read(&mut [0; 1]).map(|read| assert_ne!(read, 0, "a clean end"));
        let kind = error.unwrap_err().kind();
        assert!(kind != std::io::ErrorKind::WouldBlock, "it goes on");
    }
    assert!(OWN.iter().all(|it| !scene.host.can_connect(&format!("{it}:8080"))));
}

#[test]
fn a_drain_lets_open_connections_go_on_and_nobody_new_in() {
    let Some(scene) = Scene::new("drained") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let mut stream = scene.host.tcp("127.0.0.1:8080").unwrap();
    scene.wharf.ok(["unpublish", "--drain", "2s", "web", "8080:80"]);
    assert!(!scene.host.can_connect("127.0.0.1:8080"));
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(stream.read(&mut [0; 512]).unwrap() > 0, "it was cut off at once");
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err(), "it goes on after the drain");
}

#[test]
fn a_list_holds_for_the_host_and_cuts_those_it_leaves_out() {
    let Some(scene) = Scene::new("listed") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let mut own = scene.host.tcp("10.1.0.2:8080").unwrap();
    let mut loopback = scene.host.tcp("127.0.0.1:8080").unwrap();
    scene.wharf.publish("web", &["8080:80"], &["--allow", "10.1.0.0/24"]);
    let answers = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let asked = stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        asked.is_ok() && stream.read(&mut [0; 512]).is_ok_and(|read| read > 0)
    };
    assert!(answers(&mut own), "who is still allowed was cut off");
    assert!(!answers(&mut loopback), "who is not allowed any more still talks");
    assert!(scene.host.told("tcp", "10.1.0.2:8080").is_ok());
    assert!(scene.host.told("tcp", "127.0.0.1:8080").is_err());
    // A client of the loopback has the first of its addresses to a list, and the gateway's to others.
    scene.wharf.publish("web", &["8080:80"], &["--allow", "127.0.0.1"]);
    let mut loopback = scene.host.tcp("127.0.0.1:8080").unwrap();
    scene.wharf.publish("web", &["8080:80"], &["--allow", "127.0.0.0/8"]);
    assert!(answers(&mut loopback), "who is still allowed was cut off");
    assert!(!answers(&mut own), "who is not allowed any more still talks");
}

#[test]
fn a_change_of_target_is_for_the_next_connection_and_every_next_datagram() {
    let Some(scene) = Scene::new("next") else { return };
    scene.whoami("blue", ["-p", "8080:80", "-p", "8080:80/udp"]);
    scene.whoami("green", []);
    let tcp = scene.host.probe("tcp", "127.0.0.1:8080", 100).unwrap();
    let udp = scene.host.probe("udp", "127.0.0.1:8080", 100).unwrap();
    for prober in [&tcp, &udp] {
        prober.reaches("blue", LIMIT).unwrap();
    }
    scene.wharf.publish("green", &["8080:80", "8080:80/udp"], &["--replace", "blue"]);
    for prober in [&tcp, &udp] {
        prober.reaches("green", LIMIT).unwrap();
    }
    let seen = tcp.stop().unwrap();
    assert!(seen.is_flawless(), "{seen}");
}

#[test]
fn the_plane_is_switched_on_and_off_under_load_with_no_failed_connection() {
    let Some(scene) = Scene::new("switched") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let probers = ["127.0.0.1:8080", "[::1]:8080", "10.1.0.2:8080"]
        .map(|at| scene.host.probe("tcp", at, 100).unwrap());
    let all_answer = || probers.iter().for_each(|it| it.answers(20, LIMIT).unwrap());
    all_answer();
    let planes = || scene.entry("8080", "tcp")["planes"].to_string();
    for _ in 0..3 {
        for (switch, plane) in [("true", "relay"), ("false", "ebpf")] {
            scene.wharf.kill9("daemon").unwrap();
            let _daemon = scene.wharf.daemon_with([("WHARF_NO_EBPF", switch)]).unwrap();
            assert!(planes().contains(plane), "{}", planes());
            all_answer();
        }
    }
    for prober in probers {
        let seen = prober.stop().unwrap();
        assert!(seen.is_flawless(), "{seen}");
    }
}
