use std::io::ErrorKind;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use wharf_lab::Host;
use wharf_spec::Proto;

use crate::scene::{ports, scene, steer, steered};
use crate::steering::of_relay;

/// What comes of binding a socket to `at`.
fn bind(host: &Host, kind: Type, at: &str) -> Result<Socket, ErrorKind> {
    let at: SocketAddr = at.parse().unwrap();
    let make = || {
        let socket = Socket::new(Domain::for_address(at), kind, None).unwrap();
        socket.bind(&at.into()).map(|()| socket)
    };
    host.run(make).unwrap().map_err(|error| error.kind())
}

fn refused(host: &Host, kind: Type, at: &str) -> bool {
    bind(host, kind, at).is_err_and(|kind| kind == ErrorKind::AddrInUse)
}

#[test]
fn a_covered_port_is_in_use_to_everybody_else() {
    let Some(scene) = scene("covered") else { return };
    let mut plane = scene.plane();
    let range = ports(20_000, 29_999);
    plane.apply(&steered([steer(Proto::Tcp, "0.0.0.0", range)])).unwrap();
    for at in ["0.0.0.0:20000", "127.0.0.1:25000", "10.1.0.2:29999", "[::]:25000"] {
        assert!(refused(&scene.host, Type::STREAM, at), "{at}");
    }
    for at in ["0.0.0.0:19999", "127.0.0.1:30000", "[::1]:25000", "127.0.0.1:0"] {
        assert!(bind(&scene.host, Type::STREAM, at).is_ok(), "{at}");
    }
    assert!(bind(&scene.host, Type::DGRAM, "0.0.0.0:25000").is_ok(), "UDP is another port");
    assert!(bind(&scene.web, Type::STREAM, "0.0.0.0:25000").is_ok(), "another namespace");
    // What the kernel would say of it in any case, it says.
    let nowhere = bind(&scene.host, Type::STREAM, "192.0.2.1:25000").unwrap_err();
    assert_eq!(nowhere, ErrorKind::AddrNotAvailable);
    drop(of_relay(&scene.host, Type::STREAM, "0.0.0.0:25000"));
}

#[test]
fn a_real_socket_would_have_said_the_same() {
    let Some(scene) = scene("as real") else { return };
    let mut plane = scene.plane();
    let all = ["0.0.0.0", "10.1.0.2", "127.0.0.1", "::", "fd01::2", "::1"];
    let text = |host: &str, port: u16| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    for (kind, proto) in [(Type::STREAM, Proto::Tcp), (Type::DGRAM, Proto::Udp)] {
        for held in all {
            let real = of_relay(&scene.host, kind, &text(held, 15_000));
            let there = all.map(|asked| refused(&scene.host, kind, &text(asked, 15_000)));
            drop(real);
            plane.apply(&steered([steer(proto, held, ports(15_000, 15_009))])).unwrap();
            let guarded = all.map(|asked| refused(&scene.host, kind, &text(asked, 15_000)));
            assert_eq!(guarded, there, "{proto} {held} against {all:?}");
            plane.apply(&steered([])).unwrap();
        }
    }
}

#[test]
fn a_socket_that_is_bound_already_is_told_so() {
    let Some(scene) = scene("twice") else { return };
    let mut plane = scene.plane();
    plane.apply(&steered([steer(Proto::Tcp, "0.0.0.0", ports(20_000, 29_999))])).unwrap();
    let socket = bind(&scene.host, Type::STREAM, "127.0.0.1:19000").unwrap();
    let again = socket.bind(&"127.0.0.1:25000".parse::<SocketAddr>().unwrap().into());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn servers_that_share_a_port_of_the_range_may() {
    let Some(scene) = scene("shared") else { return };
    let mut plane = scene.plane();
    for (kind, proto) in [(Type::STREAM, Proto::Tcp), (Type::DGRAM, Proto::Udp)] {
        plane.apply(&steered([steer(proto, "0.0.0.0", ports(32_768, 60_999))])).unwrap();
        let shared = |at: SocketAddr| {
            let make = || {
                let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
                socket.set_reuse_port(true).unwrap();
                socket.bind(&at.into()).map(|()| socket)
            };
            scene.host.run(make).unwrap()
        };
        let first = shared("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = first.local_addr().unwrap().as_socket().unwrap();
        assert!(at.port() >= 32_768);
        let second = shared(at).unwrap();
        assert!(refused(&scene.host, kind, &at.to_string()), "who does not share is refused");
        drop((first, second));
        assert!(shared(at).is_err(), "the port is steered again");
    }
}
