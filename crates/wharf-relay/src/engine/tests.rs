use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use wharf_host::fdpass::{recv_frame, send_frame};
use wharf_host::netns::Netns;
use wharf_spec::PortRange;

use super::*;
use crate::protocol::{MAX_REQUEST, Place, Response, Route, VERSION, example};
use crate::stats::RouteStats;
use crate::worker::tokens::Subject;

fn at_8000() -> Route {
    Route {
        listeners: vec![Place { address: Ipv4Addr::LOCALHOST.into(), dual: false }],
        host_ports: PortRange::single(8000),
        target_ports: PortRange::single(80),
        ..example()
    }
}

/// Every loop watches the sockets already, which makes the next attempt fail.
fn watch_all(engine: &Engine) {
    let (_, served) = engine.table.list().remove(0);
    for (token, socket) in served.sockets() {
        for seat in &engine.context.seats {
            seat.poller.share(socket, Subject::Listener(token).into()).unwrap();
        }
    }
}

fn is_open(listener: &TcpListener) -> bool {
    let limit = Duration::from_millis(300);
    TcpStream::connect_timeout(&listener.local_addr().unwrap(), limit).is_ok()
}

#[test]
fn what_fails_beside_another_relay_shuts_no_socket() {
    let test = || {
        let engine = Engine::start(Limits::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:8000").unwrap();
        let route = at_8000();
        let ids = [route.id.clone()];
        let socket = listener.try_clone().unwrap().into();
        engine.table.add(vec![route], vec![socket], NOBODY).unwrap();
        watch_all(&engine);
        engine.table.join(&ids).unwrap_err();
        assert!(is_open(&listener), "the other relay's clients are kept out");
        watch_all(&engine);
        engine.table.open(&ids, None).unwrap_err();
        assert!(!is_open(&listener), "it is nobody else's, and would queue clients for nobody");
        engine.stop();
    };
    Netns::create().unwrap().run(test).unwrap();
}

/// A relay that hands over one route, which has carried something, and is killed before it has let
/// go.
fn short_lived(relay: &UnixListener, namespace: u64, stats: RouteStats) {
    let (stream, _) = relay.accept().unwrap();
    let say = |response: &Response, descriptors: &[OwnedFd]| {
        recv_frame(&stream, MAX_REQUEST).unwrap();
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        send_frame(&stream, &serde_json::to_vec(response).unwrap(), &descriptors).unwrap();
    };
    let (version, release) = (VERSION, String::new());
    say(&Response::Hello { version, pid: 1, namespace, release }, &[]);
    let served = TcpListener::bind("127.0.0.1:8000").unwrap();
    let lock = tempfile::tempfile().unwrap();
    let descriptors = [served.into(), relay.try_clone().unwrap().into(), lock.into()];
    let (route, phase) = (at_8000(), Phase::Open);
    let listed = Listed { route, phase, stats, leased: false, ends_in_seconds: None };
    say(&Response::HandedOver { routes: vec![listed] }, &descriptors);
    recv_frame(&stream, MAX_REQUEST).unwrap();
}

#[test]
fn what_a_relay_had_counted_is_known_though_it_is_killed_before_it_has_left() {
    let test = || {
        let dir = tempfile::TempDir::new().unwrap();
        let socket = dir.path().join("relay.sock");
        let relay = UnixListener::bind(&socket).unwrap();
        let namespace = Netns::current().unwrap().identity().unwrap();
        let open = RouteStats { connections_total: 3, connections_open: 1, ..Default::default() };
        std::thread::scope(|scope| {
            scope.spawn(|| short_lived(&relay, namespace, open));
            let (predecessor, estate) = Predecessor::succeed(&socket).unwrap();
            let engine = Engine::start(Limits::default()).unwrap();
            engine.succeed(&Arc::new(predecessor), estate.routes, 60).unwrap();
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while engine.table.is_busy() && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            let (listed, _) = engine.table.list().remove(0);
            assert_eq!((listed.phase, listed.stats.connections_total), (Phase::Open, 3));
            assert_eq!(listed.stats.connections_open, 0, "none is open in a relay that is gone");
            engine.stop();
        });
    };
    Netns::create().unwrap().run(test).unwrap();
}
