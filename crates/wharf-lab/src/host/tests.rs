use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::snapshot::assert_same;
use crate::{Host, Lab, can_run};

/// A client, a router and a server, each on a cable of its own to the next.
fn routed(lab: &Lab) -> (Host, Host, Host) {
    let [client, router, server] = ["client", "router", "server"].map(|it| lab.host(it).unwrap());
    lab.link(&client, &["10.1.0.1/24", "fd01::1/64"], &router, &["10.1.0.2/24", "fd01::2/64"])
        .unwrap();
    lab.link(&router, &["10.2.0.2/24", "fd02::2/64"], &server, &["10.2.0.1/24", "fd02::1/64"])
        .unwrap();
    router.forward().unwrap();
    for gateway in ["10.1.0.2", "fd01::2"] {
        client.default_route_via(gateway).unwrap();
    }
    server.route("10.1.0.0/24", "10.2.0.2").unwrap();
    server.route("fd01::/64", "fd02::2").unwrap();
    (client, router, server)
}

fn answer_one(server: &Host, address: &str) -> thread::JoinHandle<String> {
    let listener = server.tcp_listen(address).unwrap();
    thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        peer.ip().to_string()
    })
}

#[test]
fn tcp_crosses_a_router_in_both_families() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("tcp crosses").unwrap();
    let (client, _router, server) = routed(&lab);
    for (address, source) in [("10.2.0.1:80", "10.1.0.1"), ("[fd02::1]:80", "fd01::1")] {
        let seen = answer_one(&server, address);
        assert_eq!(client.http_get(address, "/").unwrap().text(), "hi");
        assert_eq!(seen.join().unwrap(), source);
    }
    assert!(!client.can_connect("10.2.0.1:81"));
}

#[test]
fn a_source_address_can_be_chosen() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("source").unwrap();
    let (left, right) = (lab.host("left").unwrap(), lab.host("right").unwrap());
    lab.link(&left, &["10.1.0.1/24", "10.1.0.7/24"], &right, &["10.1.0.2/24"]).unwrap();
    let listener = right.tcp_listen("10.1.0.2:80").unwrap();
    let stream = left.tcp_from("10.1.0.7:0", "10.1.0.2:80").unwrap();
    assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), "10.1.0.7");
}

#[test]
fn a_datagram_is_answered_only_by_the_address_asked() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("udp").unwrap();
    let (client, _router, server) = routed(&lab);
    let socket = server.udp_bind("[fd02::1]:53").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&done);
    // Whoever is slow is asked again.
    let answering = thread::spawn(move || {
        let mut question = [0; 64];
        while !until.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut question) {
                socket.send_to(&question[..length], from).unwrap();
            }
        }
    });
    assert_eq!(client.udp_ask("[fd02::1]:53", b"who?").unwrap(), b"who?");
    done.store(true, Ordering::Relaxed);
    answering.join().unwrap();
    assert!(client.udp_ask("10.2.0.1:53", b"who?").is_err(), "nobody listens there");
}

#[test]
fn a_snapshot_sees_links_addresses_routes_and_sockets() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("snapshot").unwrap();
    let (host, other) = (lab.host("host").unwrap(), lab.host("other").unwrap());
    let before = host.snapshot().unwrap();
    assert_same(&before, &host.snapshot().unwrap());
    lab.link(&host, &["10.1.0.1/24"], &other, &["10.1.0.2/24"]).unwrap();
    let listener = host.tcp_listen("10.1.0.1:80").unwrap();
    let found = before.differences(&host.snapshot().unwrap()).join("\n");
    for line in ["+ links: eth0", "+ addresses: eth0 10.1.0.1/24", "+ sockets: tcp "] {
        assert!(found.contains(line), "{line} is not in\n{found}");
    }
    drop(listener);
    host.delete_interface("eth0").unwrap();
    assert_eq!(host.interfaces().unwrap(), ["lo"]);
    assert_same(&before, &host.snapshot().unwrap());
}

#[test]
fn parameters_are_the_hosts_own() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("parameters").unwrap();
    let (one, two) = (lab.host("one").unwrap(), lab.host("two").unwrap());
    one.sysctl("net/ipv4/ip_forward", "1").unwrap();
    two.sysctl("net/ipv4/ip_forward", "0").unwrap();
    assert_eq!(one.read_sysctl("net/ipv4/ip_forward").unwrap(), "1");
    assert_eq!(two.read_sysctl("net/ipv4/ip_forward").unwrap(), "0");
}
