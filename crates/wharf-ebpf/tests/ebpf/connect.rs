use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;

use socket2::{Domain, Socket, Type};
use wharf_lab::Host;

use crate::scene::{
    ANSWER, GATEWAY4, GATEWAY6, HOST4, HOST6, Scene, WEB4, WEB6, connect, id, plan, ports, said,
    scene, serve,
};

fn both_families(scene: &Scene) -> wharf_ebpf::EbpfPlane {
    scene.leading(&plan([connect(8080, "10.77.0.2:80"), connect(8080, "[fd77::2]:80")]))
}

#[test]
fn a_process_of_the_host_is_connected_straight_to_the_container() {
    let Some(scene) = scene("straight") else { return };
    let plane = both_families(&scene);
    for (asked, source) in [
        ("127.0.0.1:8080", GATEWAY4),
        ("127.9.9.9:8080", GATEWAY4),
        ("[::1]:8080", GATEWAY6),
        ("10.1.0.2:8080", GATEWAY4),
        ("10.77.0.1:8080", GATEWAY4),
        ("[fd01::2]:8080", GATEWAY6),
    ] {
        let (told, peer) = scene.ask(asked);
        assert_eq!((told.as_str(), peer.as_str()), (&*format!("web {source}"), asked));
    }
    assert_eq!(plane.counters().unwrap()[&id("web")].connections, 6);
}

#[test]
fn the_wildcard_address_is_loopback_to_a_client() {
    let Some(scene) = scene("wildcard") else { return };
    let _plane = both_families(&scene);
    assert_eq!(scene.ask("0.0.0.0:8080"), ("web 10.77.0.1".into(), "127.0.0.1:8080".into()));
    assert_eq!(scene.ask("[::]:8080"), ("web fd77::1".into(), "[::1]:8080".into()));
}

#[test]
fn an_ipv6_socket_may_ask_for_an_ipv4_address() {
    let Some(scene) = scene("mapped") else { return };
    let _plane = both_families(&scene);
    for asked in ["[::ffff:127.0.0.1]:8080", "[::ffff:10.1.0.2]:8080"] {
        let (told, peer) = scene.ask(asked);
        assert_eq!((told.as_str(), peer.as_str()), ("web 10.77.0.1", asked));
    }
}

#[test]
fn getsockname_tells_the_address_that_the_container_sees() {
    let Some(scene) = scene("sockname") else { return };
    let _plane = both_families(&scene);
    let stream = scene.host.tcp("127.0.0.1:8080").unwrap();
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), GATEWAY4);
    assert_eq!(said(stream), "web 10.77.0.1");
}

#[test]
fn a_range_leads_to_the_ports_it_is_published_for() {
    let Some(scene) = scene("range") else { return };
    let mut range = connect(0, "10.77.0.2:0");
    (range.ports, range.target_ports) = (ports(20_001, 20_100), ports(301, 400));
    for port in [301, 350, 400] {
        serve(scene.web.tcp_listen(&format!("0.0.0.0:{port}")).unwrap(), &port.to_string());
    }
    let mut plane = scene.plane();
    plane.apply(&plan([range])).unwrap();
    for (asked, port) in [(20_001, 301), (20_050, 350), (20_100, 400)] {
        let (told, peer) = scene.ask(&format!("127.0.0.1:{asked}"));
        assert_eq!(told, format!("{port} 10.77.0.1"));
        assert_eq!(peer, format!("127.0.0.1:{asked}"));
    }
    assert!(!scene.host.can_connect("127.0.0.1:20000"));
    assert!(!scene.host.can_connect("127.0.0.1:20101"));
}

#[test]
fn an_exact_address_comes_before_every_address() {
    let Some(scene) = scene("exact") else { return };
    serve(scene.web.tcp_listen("0.0.0.0:81").unwrap(), "exact");
    let mut exact = connect(8080, "10.77.0.2:81");
    exact.host = Some(HOST4.parse().unwrap());
    let _plane = scene.leading(&plan([connect(8080, "10.77.0.2:80"), exact.clone()]));
    assert_eq!(scene.ask("10.1.0.2:8080").0, "exact 10.77.0.1");
    assert_eq!(scene.ask("127.0.0.1:8080").0, "web 10.77.0.1");
    drop(scene);
}

#[test]
fn a_loopback_publication_is_for_that_address_alone() {
    let Some(scene) = scene("loopback") else { return };
    let mut only = connect(8080, "10.77.0.2:80");
    only.host = Some("127.0.0.1".parse().unwrap());
    let _plane = scene.leading(&plan([only]));
    assert_eq!(scene.ask("127.0.0.1:8080").0, "web 10.77.0.1");
    assert!(!scene.host.can_connect("127.0.0.2:8080"));
    assert!(!scene.host.can_connect("10.1.0.2:8080"));
}

#[test]
fn other_addresses_and_ports_are_nobodys_business() {
    let Some(scene) = scene("others") else { return };
    let _plane = both_families(&scene);
    serve(scene.client.tcp_listen("0.0.0.0:8080").unwrap(), "client");
    assert_eq!(scene.ask("10.1.0.1:8080"), ("client 10.1.0.2".into(), "10.1.0.1:8080".into()));
    assert!(!scene.host.can_connect("127.0.0.1:8081"));
    // The container's own address is reached as ever.
    assert_eq!(scene.ask("10.77.0.2:80"), ("web 10.77.0.1".into(), "10.77.0.2:80".into()));
}

#[test]
fn ipv6_loopback_of_an_ipv4_container_is_left_to_the_relay() {
    let Some(scene) = scene("family") else { return };
    let plane = scene.leading(&plan([connect(8080, "10.77.0.2:80")]));
    assert!(!scene.host.can_connect("[::1]:8080"), "nobody listens there");
    serve(scene.listen6(&scene.host, 8080), "relay");
    assert_eq!(scene.ask("[::1]:8080"), ("relay ::1".into(), "[::1]:8080".into()));
    assert_eq!(plane.counters().unwrap()[&id("web")].connections, 0);
}

#[test]
fn a_more_specific_listener_keeps_its_clients() {
    let Some(scene) = scene("specific") else { return };
    let _plane = both_families(&scene);
    let [own4, own6] = ["127.0.0.1:8080", "[::1]:8080"].map(|at| {
        serve(scene.host.tcp_listen(at).unwrap(), "own");
        scene.ask(at).0
    });
    assert_eq!((own4.as_str(), own6.as_str()), ("own 127.0.0.1", "own ::1"));
    assert_eq!(scene.ask("127.0.0.2:8080").0, "web 10.77.0.1");
    assert_eq!(scene.ask("[fd01::2]:8080").0, "web fd77::1");
    // What listens on every address is what the publication itself reserves.
    drop(scene.host.tcp_listen("10.1.0.2:8080").unwrap());
    assert_eq!(scene.ask("10.1.0.2:8080").0, "web 10.77.0.1");
}

#[test]
fn a_listener_on_every_address_does_not_keep_anyone() {
    let Some(scene) = scene("reserved") else { return };
    serve(scene.host.tcp_listen("0.0.0.0:8080").unwrap(), "relay");
    let _plane = both_families(&scene);
    assert_eq!(scene.ask("127.0.0.1:8080").0, "web 10.77.0.1");
    assert_eq!(scene.ask("10.1.0.2:8080").0, "web 10.77.0.1");
}

#[test]
fn servers_that_share_a_port_share_it_as_before() {
    let Some(scene) = scene("reuseport") else { return };
    let _plane = both_families(&scene);
    for name in ["one", "two"] {
        serve(shared_listener(&scene.host, "127.0.0.1:8080"), name);
        serve(shared_listener(&scene.host, "0.0.0.0:9000"), name);
    }
    for at in ["127.0.0.1:8080", "127.0.0.1:9000", "10.1.0.2:9000"] {
        let mut told: Vec<String> = (0..40).map(|_| scene.ask(at).0).collect();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|it| it.starts_with("one") || it.starts_with("two")), "{told:?}");
    }
}

pub(crate) fn shared_listener(host: &Host, at: &str) -> std::net::TcpListener {
    let at: SocketAddr = at.parse().unwrap();
    let make = || {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&at.into()).unwrap();
        socket.listen(128).unwrap();
        socket.into()
    };
    host.run(make).unwrap()
}

#[test]
fn a_connection_that_is_not_waited_for_is_led_as_well() {
    let Some(scene) = scene("non blocking") else { return };
    let _plane = both_families(&scene);
    let to: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let socket = scene.host.run(|| Socket::new(Domain::IPV4, Type::STREAM, None)).unwrap().unwrap();
    socket.set_nonblocking(true).unwrap();
    let first = socket.connect(&to.into()).unwrap_err();
    assert_eq!(first.raw_os_error(), Some(rustix::io::Errno::INPROGRESS.raw_os_error()));
    // As some programs learn how it went: by asking again.
    wharf_lab::wait::until(ANSWER, "the connection", || {
        let again = socket.connect(&to.into());
        again.is_ok_and(|()| true).then_some(()).or_else(|| socket.peer_addr().ok().map(|_| ()))
    })
    .unwrap();
    socket.set_nonblocking(false).unwrap();
    let stream = TcpStream::from(socket);
    assert_eq!(stream.peer_addr().unwrap(), to);
    assert_eq!(said(stream), "web 10.77.0.1");
}

#[test]
fn data_that_opens_a_connection_goes_there_too() {
    let Some(scene) = scene("fast open") else { return };
    crate::scene::echo(scene.web.tcp_listen("0.0.0.0:80").unwrap());
    let mut plane = scene.plane();
    plane.apply(&plan([connect(8080, "10.77.0.2:80")])).unwrap();
    let to: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let socket = scene.host.run(|| Socket::new(Domain::IPV4, Type::STREAM, None)).unwrap().unwrap();
    // MSG_FASTOPEN (linux/socket.h): sends and connects at once.
    if let Err(error) = socket.send_to_with_flags(b"hello", &to.into(), 0x2000_0000) {
        eprintln!("skipped: no TCP fast open here ({error})");
        return;
    }
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!((&back, stream.peer_addr().unwrap()), (b"hello", to));
}

#[test]
fn io_uring_connects_by_the_same_hooks() {
    let Some(scene) = scene("io uring") else { return };
    let _plane = both_families(&scene);
    for (asked, told) in [("127.0.0.1:8080", "web 10.77.0.1"), ("[::1]:8080", "web fd77::1")] {
        let to: SocketAddr = asked.parse().unwrap();
        let domain = Domain::for_address(to);
        let make = || Socket::new(domain, Type::STREAM, None).unwrap();
        let socket = scene.host.run(make).unwrap();
        match wharf_host::uring::connect(&socket, to) {
            Err(error) if error.errno().is_some_and(|it| [1, 38].contains(&it)) => {
                eprintln!("skipped: no io_uring here ({error})");
                return;
            }
            connected => connected.unwrap(),
        }
        let stream = TcpStream::from(socket);
        assert_eq!(stream.peer_addr().unwrap(), to);
        assert_eq!(said(stream), told);
    }
}

/// Tries addresses in turn, each when the last has failed or let the client wait (RFC 8305), and
/// takes the first connection that is made. Whoever is asked here answers, so that the client waits
/// for as long as that may take.
fn happy_eyeballs(host: &Host, addresses: &[SocketAddr]) -> Option<TcpStream> {
    let (sender, made) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        for address in addresses.iter().copied() {
            let sender = sender.clone();
            scope.spawn(move || {
                let _late = sender.send(host.run(|| TcpStream::connect(address)).unwrap().ok());
            });
            if let Ok(Some(stream)) = made.recv_timeout(ANSWER) {
                return Some(stream);
            }
        }
        drop(sender);
        std::iter::from_fn(|| made.recv_timeout(ANSWER).ok()).flatten().next()
    })
}

#[test]
fn clients_that_try_both_loopback_addresses_get_there() {
    let Some(scene) = scene("happy eyeballs") else { return };
    let mut plane = scene.leading(&plan([connect(8080, "10.77.0.2:80")]));
    let both = [(Ipv6Addr::LOCALHOST, 8080).into(), (Ipv4Addr::LOCALHOST, 8080).into()];
    let stream = happy_eyeballs(&scene.host, &both).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), both[1], "nothing is at ::1");
    assert_eq!(said(stream), "web 10.77.0.1");
    plane.apply(&plan([connect(8080, "10.77.0.2:80"), connect(8080, "[fd77::2]:80")])).unwrap();
    let stream = happy_eyeballs(&scene.host, &both).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), both[0]);
    assert_eq!(said(stream), "web fd77::1");
}

#[test]
fn a_socket_whose_connection_failed_may_ask_for_something_else() {
    let Some(scene) = scene("again") else { return };
    let mut closed = connect(8081, "10.77.0.2:81");
    closed.keeps_host = true;
    let plane = scene.leading(&plan([connect(8080, "10.77.0.2:80"), closed]));
    serve(scene.host.tcp_listen("127.0.0.1:9000").unwrap(), "own");
    for (first, then, told) in [
        ("10.1.0.2:8081", "127.0.0.1:8080", "web 10.77.0.1"),
        ("10.1.0.2:8081", "127.0.0.1:9000", "own 127.0.0.1"),
        ("127.0.0.1:8081", "10.1.0.2:8080", "web 10.77.0.1"),
    ] {
        let (first, then): (SocketAddr, SocketAddr) =
            (first.parse().unwrap(), then.parse().unwrap());
        let make = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let socket = scene.host.run(make).unwrap();
        let refused = socket.connect(&first.into()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        socket.connect(&then.into()).unwrap();
        let stream = TcpStream::from(socket);
        assert_eq!(stream.peer_addr().unwrap(), then);
        assert_eq!(said(stream), told);
    }
    assert_eq!(plane.counters().unwrap()[&id("web")].open, 0);
}

#[test]
fn open_connections_are_counted_until_they_are_closed() {
    let Some(scene) = scene("counted") else { return };
    let plane = both_families(&scene);
    let open = || plane.counters().unwrap()[&id("web")].open;
    let mut streams: Vec<TcpStream> = ["127.0.0.1:8080", "[::1]:8080", "10.1.0.2:8080"]
        .map(|at| scene.host.tcp(at).unwrap())
        .into();
    assert_eq!(open(), 3);
    streams.pop();
    assert_eq!(open(), 2);
    let copy = streams[0].try_clone().unwrap();
    drop(streams);
    assert_eq!(open(), 1, "a copy of it is open");
    drop(copy);
    assert_eq!((open(), plane.counters().unwrap()[&id("web")].connections), (0, 3));
}

#[test]
fn sockets_bound_to_a_device_go_by_it() {
    let Some(scene) = scene("device") else { return };
    let plane = both_families(&scene);
    let to: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let socket = scene.host.run(|| Socket::new(Domain::IPV4, Type::STREAM, None)).unwrap().unwrap();
    socket.bind_device(Some(b"lo")).unwrap();
    let refused = socket.connect(&to.into()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(plane.counters().unwrap()[&id("web")].connections, 0);
}

#[test]
fn other_namespaces_are_not_touched() {
    let Some(scene) = scene("namespaces") else { return };
    let _plane = both_families(&scene);
    for at in ["127.0.0.1:8080", "[::1]:8080"] {
        assert!(!scene.web.can_connect(at), "the container's own loopback");
        assert!(!scene.client.can_connect(at));
    }
    serve(scene.web.tcp_listen("127.0.0.1:8080").unwrap(), "inside");
    let told = said(scene.web.tcp("127.0.0.1:8080").unwrap());
    assert_eq!(told, "inside 127.0.0.1");
}

#[test]
fn the_relays_own_sockets_are_led_nowhere() {
    let Some(scene) = scene("relay") else { return };
    let _plane = both_families(&scene);
    let to: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let socket = scene.host.run(|| Socket::new(Domain::IPV4, Type::STREAM, None)).unwrap().unwrap();
    socket.set_mark(wharf_ebpf::RELAY_MARK.value | 0x1057).unwrap();
    assert_eq!(socket.connect(&to.into()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_target_that_refuses_is_a_refusal() {
    let Some(scene) = scene("refused") else { return };
    let mut plane = scene.plane();
    plane
        .apply(&plan([
            connect(8080, &format!("{WEB4}:80")),
            connect(8080, &format!("[{WEB6}]:80")),
        ]))
        .unwrap();
    for at in ["127.0.0.1:8080", "[::1]:8080", &format!("[{HOST6}]:8080")] {
        let to: SocketAddr = at.parse().unwrap();
        let refused = scene.host.run(|| TcpStream::connect(to)).unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{at}");
    }
}

#[test]
fn bytes_go_both_ways() {
    let Some(scene) = scene("bytes") else { return };
    crate::scene::echo(scene.web.tcp_listen("0.0.0.0:80").unwrap());
    let mut plane = scene.plane();
    plane.apply(&plan([connect(8080, "10.77.0.2:80")])).unwrap();
    let mut stream = scene.host.tcp("127.0.0.1:8080").unwrap();
    let sent: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut back = vec![0; sent.len()];
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = thread::spawn(move || writer.write_all(&copy));
    stream.read_exact(&mut back).unwrap();
    writing.join().unwrap().unwrap();
    assert!(back == sent);
}

#[test]
fn multipath_tcp_is_left_to_the_relay() {
    let Some(scene) = scene("mptcp") else { return };
    let plane = both_families(&scene);
    serve(scene.host.tcp_listen("0.0.0.0:8080").unwrap(), "relay");
    serve(scene.listen6(&scene.host, 8080), "relay");
    for (asked, told) in [("127.0.0.1:8080", "relay 127.0.0.1"), ("[::1]:8080", "relay ::1")] {
        let to: SocketAddr = asked.parse().unwrap();
        // IPPROTO_MPTCP (linux/in.h).
        let make = || Socket::new(Domain::for_address(to), Type::STREAM, Some(262.into()));
        let Ok(socket) = scene.host.run(make).unwrap() else {
            eprintln!("skipped: no multipath TCP here");
            return;
        };
        socket.connect(&to.into()).unwrap();
        let stream = TcpStream::from(socket);
        assert_eq!(stream.peer_addr().unwrap(), to);
        assert_eq!(said(stream), told);
    }
    assert_eq!(plane.counters().unwrap()[&id("web")].connections, 0);
}
