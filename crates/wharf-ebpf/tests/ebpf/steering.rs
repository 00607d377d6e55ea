use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};
use wharf_ebpf::{EbpfPlane, RELAY_MARK};
use wharf_lab::Host;
use wharf_plan::ebpf::{EbpfPlan, Steer};
use wharf_spec::Proto;

use crate::scene::{
    ANSWER, Scene, answer, connect, exchange, plan, ports, said, scene, serve, steer, steered,
};

const RANGE: (u16, u16) = (20_000, 59_999);

/// A socket of the relay's, which may have a port of a steered range.
pub(crate) fn of_relay(host: &Host, kind: Type, at: &str) -> Socket {
    let at: SocketAddr = at.parse().unwrap();
    let make = || {
        let socket = Socket::new(Domain::for_address(at), kind, None).unwrap();
        socket.set_mark(RELAY_MARK.value).unwrap();
        if at.is_ipv6() {
            socket.set_only_v6(true).unwrap();
        }
        socket.set_reuse_address(true).unwrap();
        socket.bind(&at.into()).unwrap();
        if kind == Type::STREAM {
            socket.listen(4096).unwrap();
        }
        socket
    };
    host.run(make).unwrap()
}

pub(crate) fn tcp_floor(host: &Host, at: &str) -> TcpListener {
    of_relay(host, Type::STREAM, at).into()
}

pub(crate) fn wide(proto: Proto, host: &str) -> Steer {
    steer(proto, host, ports(RANGE.0, RANGE.1))
}

/// Steers the range on every address of both families to a server that says `floor`.
fn steering(scene: &Scene) -> EbpfPlane {
    let mut plane = scene.plane();
    let (v4, v6) = (wide(Proto::Tcp, "0.0.0.0"), wide(Proto::Tcp, "::"));
    plane.apply(&steered([v4.clone(), v6.clone()])).unwrap();
    for (steer, at) in [(v4, "0.0.0.0:20000"), (v6, "[::]:20000")] {
        let floor = tcp_floor(&scene.host, at);
        plane.set_floor(&steer, &[floor.as_fd()]).unwrap();
        serve(floor, "floor");
    }
    plane
}

fn udp_steering(scene: &Scene) -> EbpfPlane {
    let mut plane = scene.plane();
    let wide = wide(Proto::Udp, "0.0.0.0");
    plane.apply(&steered([wide.clone()])).unwrap();
    let floor: UdpSocket = of_relay(&scene.host, Type::DGRAM, "0.0.0.0:20000").into();
    plane.set_floor(&wide, &[floor.as_fd()]).unwrap();
    answer(floor, "floor");
    plane
}

#[test]
fn one_listener_has_every_port_of_a_range() {
    let Some(scene) = scene("one listener") else { return };
    let _plane = steering(&scene);
    for port in [20_000, 20_001, 33_333, 59_999] {
        for (from, host) in [
            (&scene.client, "10.1.0.2"),
            (&scene.client, "[fd01::2]"),
            (&scene.host, "127.0.0.1"),
            (&scene.host, "[::1]"),
            (&scene.web, "10.77.0.1"),
        ] {
            let told = said(from.tcp(&format!("{host}:{port}")).unwrap());
            assert!(told.starts_with("floor "), "{told}");
        }
    }
    for port in [19_999, 60_000] {
        assert!(!scene.client.can_connect(&format!("10.1.0.2:{port}")), "{port}");
    }
}

#[test]
fn an_accepted_connection_has_the_port_that_was_asked_for() {
    let Some(scene) = scene("asked port") else { return };
    let mut plane = scene.plane();
    let wide = wide(Proto::Tcp, "0.0.0.0");
    plane.apply(&steered([wide.clone()])).unwrap();
    let floor = tcp_floor(&scene.host, "0.0.0.0:20000");
    plane.set_floor(&wide, &[floor.as_fd()]).unwrap();
    let stream = scene.client.tcp("10.1.0.2:45678").unwrap();
    let (accepted, peer) = floor.accept().unwrap();
    assert_eq!(accepted.local_addr().unwrap(), "10.1.0.2:45678".parse().unwrap());
    assert_eq!(peer, stream.local_addr().unwrap());
}

#[test]
fn clients_are_spread_over_the_sockets_of_a_floor() {
    let Some(scene) = scene("spread") else { return };
    let mut plane = scene.plane();
    let wide = wide(Proto::Tcp, "0.0.0.0");
    plane.apply(&steered([wide.clone()])).unwrap();
    let floors = [20_000, 20_001, 20_002].map(|port| {
        let floor = tcp_floor(&scene.host, &format!("0.0.0.0:{port}"));
        serve(floor.try_clone().unwrap(), &port.to_string());
        floor
    });
    let fds: Vec<_> = floors.iter().map(AsFd::as_fd).collect();
    plane.set_floor(&wide, &fds).unwrap();
    let ask = |_| said(scene.client.tcp("10.1.0.2:40000").unwrap());
    let mut seen: Vec<String> = (0..100).map(ask).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
    // Fewer from now on, without a connection that fails.
    plane.set_floor(&wide, &fds[..1]).unwrap();
    assert!((0..30).all(|n| ask(n) == "20000 10.1.0.1"));
    plane.set_floor(&wide, &[]).unwrap();
    assert!(!scene.client.can_connect("10.1.0.2:40000"));
}

#[test]
fn only_the_addresses_asked_for_are_steered() {
    let Some(scene) = scene("one address") else { return };
    let mut plane = scene.plane();
    let wide = wide(Proto::Tcp, "10.1.0.2");
    plane.apply(&steered([wide.clone()])).unwrap();
    let floor = tcp_floor(&scene.host, "10.1.0.2:20000");
    plane.set_floor(&wide, &[floor.as_fd()]).unwrap();
    serve(floor, "floor");
    serve(scene.host.tcp_listen("127.0.0.1:30000").unwrap(), "own");
    assert_eq!(said(scene.client.tcp("10.1.0.2:30000").unwrap()), "floor 10.1.0.1");
    assert_eq!(scene.ask("127.0.0.1:30000").0, "own 127.0.0.1");
    assert_eq!(scene.ask("10.1.0.2:30000").0, "floor 10.1.0.2");
    assert!(!scene.host.can_connect("127.0.0.1:30001"));
}

#[test]
fn a_server_that_was_given_a_port_of_the_range_keeps_it() {
    let Some(scene) = scene("busy tcp") else { return };
    let _plane = steering(&scene);
    scene.host.sysctl("net/ipv4/ip_local_port_range", "40000 40999").unwrap();
    let own = scene.host.tcp_listen("127.0.0.1:0").unwrap();
    let port = own.local_addr().unwrap().port();
    assert!((40_000..41_000).contains(&port));
    serve(own.try_clone().unwrap(), "own");
    assert_eq!(scene.ask(&format!("127.0.0.1:{port}")).0, "own 127.0.0.1");
    // It has that address, and no other.
    let told = said(scene.client.tcp(&format!("10.1.0.2:{port}")).unwrap());
    assert_eq!(told, "floor 10.1.0.1");
    // One on every address of both families.
    let every = scene.host.tcp_listen("[::]:0").unwrap();
    let port = every.local_addr().unwrap().port();
    serve(every, "every");
    for at in ["10.1.0.2", "[fd01::2]"] {
        let told = said(scene.client.tcp(&format!("{at}:{port}")).unwrap());
        assert!(told.starts_with("every "), "{told}");
    }
}

#[test]
fn a_port_is_steered_again_when_its_server_has_gone() {
    let Some(scene) = scene("busy gone") else { return };
    let _plane = steering(&scene);
    scene.host.sysctl("net/ipv4/ip_local_port_range", "40000 40999").unwrap();
    let own = scene.host.tcp_listen("0.0.0.0:0").unwrap();
    let at = format!("10.1.0.2:{}", own.local_addr().unwrap().port());
    let stream = scene.client.tcp(&at).unwrap();
    drop(own.accept().unwrap());
    drop((own, stream));
    assert_eq!(said(scene.client.tcp(&at).unwrap()), "floor 10.1.0.1");
}

#[test]
fn a_server_that_listens_without_binding_keeps_its_port() {
    let Some(scene) = scene("autobind") else { return };
    let _plane = steering(&scene);
    scene.host.sysctl("net/ipv4/ip_local_port_range", "40000 40999").unwrap();
    let make = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.listen(16).unwrap();
        TcpListener::from(socket)
    };
    let own = scene.host.run(make).unwrap();
    let at = format!("10.1.0.2:{}", own.local_addr().unwrap().port());
    serve(own, "own");
    assert_eq!(said(scene.client.tcp(&at).unwrap()), "own 10.1.0.1");
}

#[test]
fn a_server_of_multipath_tcp_keeps_its_port_while_it_is_there() {
    let Some(scene) = scene("mptcp server") else { return };
    let mut plane = steering(&scene);
    scene.host.sysctl("net/ipv4/ip_local_port_range", "40000 40999").unwrap();
    let make = || {
        // IPPROTO_MPTCP (linux/in.h).
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(262.into()))?;
        socket.bind(&"0.0.0.0:0".parse::<SocketAddr>().unwrap().into())?;
        socket.listen(16)?;
        std::io::Result::Ok(TcpListener::from(socket))
    };
    let Ok(own) = scene.host.run(make).unwrap() else {
        eprintln!("skipped: no multipath TCP here");
        return;
    };
    let at = format!("10.1.0.2:{}", own.local_addr().unwrap().port());
    plane.repair().unwrap();
    let stream = scene.client.tcp(&at).unwrap();
    assert_eq!(own.accept().unwrap().1, stream.local_addr().unwrap());
    drop((own, stream));
    // The socket that listens is the kernel's own, and closes without a hook.
    plane.repair().unwrap();
    assert_eq!(said(scene.client.tcp(&at).unwrap()), "floor 10.1.0.1");
}

#[test]
fn servers_that_were_there_before_keep_their_ports() {
    let Some(scene) = scene("before") else { return };
    serve(scene.host.tcp_listen("0.0.0.0:30000").unwrap(), "own");
    serve(scene.listen6(&scene.host, 30_001), "own");
    let held = scene.udp("0.0.0.0:30002");
    answer(held.try_clone().unwrap(), "own");
    let mut plane = steering(&scene);
    assert_eq!(said(scene.client.tcp("10.1.0.2:30000").unwrap()), "own 10.1.0.1");
    assert_eq!(said(scene.client.tcp("[fd01::2]:30001").unwrap()), "own fd01::1");
    // That one has IPv6 alone (IPV6_V6ONLY).
    assert_eq!(said(scene.client.tcp("10.1.0.2:30001").unwrap()), "floor 10.1.0.1");
    // Ports steered later are looked at, too.
    let udp = wide(Proto::Udp, "0.0.0.0");
    let more = steered([udp.clone()]);
    plane.change(&EbpfPlan::default(), &more).unwrap();
    let floor: UdpSocket = of_relay(&scene.host, Type::DGRAM, "0.0.0.0:20000").into();
    plane.set_floor(&udp, &[floor.as_fd()]).unwrap();
    answer(floor, "floor");
    let asking = scene.client.udp_bind("10.1.0.1:0").unwrap();
    assert_eq!(exchange(&asking, "10.1.0.2:30002").unwrap().0, "own 10.1.0.1");
    assert_eq!(exchange(&asking, "10.1.0.2:30003").unwrap().0, "floor 10.1.0.1");
    drop(held);
}

#[test]
fn connections_that_leave_from_the_range_are_theirs() {
    let Some(scene) = scene("outgoing") else { return };
    let _plane = steering(&scene);
    scene.host.sysctl("net/ipv4/ip_local_port_range", "40000 40999").unwrap();
    serve(scene.client.tcp_listen("10.1.0.1:80").unwrap(), "client");
    for source in ["0.0.0.0:0", "10.1.0.2:0"] {
        let stream = scene.host.tcp_from(source, "10.1.0.1:80").unwrap();
        let own = stream.local_addr().unwrap().port();
        assert!((40_000..41_000).contains(&own));
        // The same port is steered for everyone else meanwhile.
        let at = format!("10.1.0.2:{own}");
        assert_eq!(said(scene.client.tcp(&at).unwrap()), "floor 10.1.0.1");
        assert_eq!(said(stream), "client 10.1.0.2");
    }
}

#[test]
fn datagrams_of_the_range_come_to_one_socket() {
    let Some(scene) = scene("udp floor") else { return };
    let _plane = udp_steering(&scene);
    for port in [20_000, 20_001, 45_000, 59_999] {
        // The floor answers from its own port, as no relay would; so no connected client here.
        let socket = scene.client.udp_bind("0.0.0.0:0").unwrap();
        let (text, _) = exchange(&socket, &format!("10.1.0.2:{port}")).unwrap();
        assert_eq!(text, "floor 10.1.0.1", "{port}");
    }
}

#[test]
fn clients_that_only_send_get_their_answers() {
    let Some(scene) = scene("udp clients") else { return };
    let _plane = udp_steering(&scene);
    scene.host.sysctl("net/ipv4/ip_local_port_range", "40000 40999").unwrap();
    answer(scene.client.udp_bind("10.1.0.1:53").unwrap(), "dns");
    for (bound, domain, to) in [
        (None, Domain::IPV4, "10.1.0.1:53"),
        (Some("0.0.0.0:0"), Domain::IPV4, "10.1.0.1:53"),
        (Some("10.1.0.2:0"), Domain::IPV4, "10.1.0.1:53"),
        (None, Domain::IPV6, "[::ffff:10.1.0.1]:53"),
        (Some("[::]:0"), Domain::IPV6, "[::ffff:10.1.0.1]:53"),
    ] {
        let make = || {
            let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap();
            if let Some(at) = bound {
                let at: SocketAddr = at.parse().unwrap();
                socket.bind(&at.into()).unwrap();
            }
            UdpSocket::from(socket)
        };
        let socket = scene.host.run(make).unwrap();
        socket.set_read_timeout(Some(ANSWER)).unwrap();
        let (text, from) = exchange(&socket, to).unwrap();
        assert_eq!((text.as_str(), from.to_string().as_str()), ("dns 10.1.0.2", to));
        let port = socket.local_addr().unwrap().port();
        assert!((40_000..41_000).contains(&port));
        // Once it has gone, or has a peer, the port is steered again.
        let there = format!("10.1.0.2:{port}");
        socket.connect(to.parse::<SocketAddr>().unwrap()).unwrap();
        let asking = scene.client.udp_bind("10.1.0.1:0").unwrap();
        assert_eq!(exchange(&asking, &there).unwrap().0, "floor 10.1.0.1");
        socket.send(b"who?").unwrap();
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"dns 10.1.0.2");
        drop(socket);
        assert_eq!(exchange(&asking, &there).unwrap().0, "floor 10.1.0.1");
    }
}

#[test]
fn one_flow_may_have_a_socket_of_its_own() {
    let Some(scene) = scene("udp flow") else { return };
    let _plane = udp_steering(&scene);
    let flow: UdpSocket = of_relay(&scene.host, Type::DGRAM, "10.1.0.2:45000").into();
    let asking = scene.client.udp("10.1.0.2:45000").unwrap();
    flow.connect(asking.local_addr().unwrap()).unwrap();
    flow.set_read_timeout(Some(ANSWER)).unwrap();
    asking.send(b"who?").unwrap();
    let mut bytes = [0; 64];
    assert_eq!(flow.recv(&mut bytes).unwrap(), 4);
    flow.send(b"flow").unwrap();
    assert_eq!(asking.recv(&mut bytes).unwrap(), 4);
    assert_eq!(&bytes[..4], b"flow");
    // Nobody else's datagrams come to it.
    let other = scene.client.udp_bind("10.1.0.1:0").unwrap();
    assert_eq!(exchange(&other, "10.1.0.2:45000").unwrap().0, "floor 10.1.0.1");
}

#[test]
fn hooks_and_steering_serve_one_publication_together() {
    let Some(scene) = scene("together") else { return };
    serve(scene.web.tcp_listen("0.0.0.0:80").unwrap(), "web");
    let mut wanted = plan([connect(30_000, "10.77.0.2:80")]);
    let wide = wide(Proto::Tcp, "0.0.0.0");
    wanted.steers.insert(wide.clone());
    let mut plane = scene.plane();
    plane.apply(&wanted).unwrap();
    let floor = tcp_floor(&scene.host, "0.0.0.0:20000");
    plane.set_floor(&wide, &[floor.as_fd()]).unwrap();
    serve(floor, "floor");
    assert_eq!(scene.ask("127.0.0.1:30000").0, "web 10.77.0.1");
    assert_eq!(scene.ask("10.1.0.2:30000").0, "web 10.77.0.1");
    assert_eq!(said(scene.client.tcp("10.1.0.2:30000").unwrap()), "floor 10.1.0.1");
    assert_eq!(plane.observe().unwrap(), wanted);
}

#[test]
fn ports_that_are_not_steered_any_more_are_everyones() {
    let Some(scene) = scene("no more") else { return };
    let mut plane = steering(&scene);
    assert!(scene.client.can_connect("10.1.0.2:30000"));
    plane.apply(&EbpfPlan::default()).unwrap();
    assert!(!scene.client.can_connect("10.1.0.2:30000"));
    let refused = plane.set_floor(&wide(Proto::Tcp, "0.0.0.0"), &[]).unwrap_err();
    assert!(refused.to_string().contains("not in the plan"), "{refused}");
    serve(scene.host.tcp_listen("0.0.0.0:30000").unwrap(), "own");
    assert_eq!(said(scene.client.tcp("10.1.0.2:30000").unwrap()), "own 10.1.0.1");
}

#[test]
fn open_connections_go_on_without_the_floor() {
    let Some(scene) = scene("floor gone") else { return };
    let mut plane = scene.plane();
    let wide = wide(Proto::Tcp, "0.0.0.0");
    plane.apply(&steered([wide.clone()])).unwrap();
    let floor = tcp_floor(&scene.host, "0.0.0.0:20000");
    plane.set_floor(&wide, &[floor.as_fd()]).unwrap();
    let mut stream = scene.client.tcp("10.1.0.2:40000").unwrap();
    let mut accepted = floor.accept().unwrap().0;
    drop(floor);
    assert!(!scene.client.can_connect("10.1.0.2:40000"), "a closed socket serves nobody");
    plane.apply(&EbpfPlan::default()).unwrap();
    round_trip(&mut stream, &mut accepted);
}

fn round_trip(one: &mut TcpStream, other: &mut TcpStream) {
    use std::io::{Read, Write};
    let mut byte = [0];
    one.write_all(b"x").unwrap();
    other.read_exact(&mut byte).unwrap();
    other.write_all(b"y").unwrap();
    one.set_read_timeout(Some(ANSWER)).unwrap();
    one.read_exact(&mut byte).unwrap();
}
