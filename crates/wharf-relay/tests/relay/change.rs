//! Routes that are led elsewhere, or get other options, while they serve.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_host::netns::Netns;
use wharf_host::reserve::Transport;
use wharf_relay::{Error, Limits, Phase, Refusal, Route, ensure, upgrade};
use wharf_spec::{PortRange, ProxyProtocol};

use super::bench::*;
use super::process::program;
use super::tcp::{answer, is_turned_away};

/// The route with another target of the same family.
pub(super) fn led_to(route: &Route, target: SocketAddr) -> Route {
    let ports = PortRange::new(target.port(), target.port()).unwrap();
    let (target_v4, target_v6) = match target {
        SocketAddr::V4(v4) => (Some(*v4.ip()), None),
        SocketAddr::V6(v6) => (None, Some(*v6.ip())),
    };
    Route { target_v4, target_v6, target_ports: ports, ..route.clone() }
}

fn only_for(route: &Route, net: &str) -> Route {
    Route { allow: vec![net.parse().unwrap()], ..route.clone() }
}

/// A server that says `name` and closes.
fn named(name: &'static str) -> SocketAddr {
    let serve: fn(TcpStream) = match name {
        "one" => |mut stream| drop(stream.write_all(b"one")),
        _ => |mut stream| drop(stream.write_all(b"two")),
    };
    tcp_target("127.0.0.1:0", serve)
}

fn heard(asked: &str) -> String {
    std::io::read_to_string(connect(asked)).unwrap()
}

/// Connects again and again until `stop`; answers how often each server answered.
fn hammer(stop: &AtomicBool, tries: &AtomicUsize) -> [usize; 2] {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut counts = [0; 2];
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        match heard("127.0.0.1:8080").as_str() {
            "one" => counts[0] += 1,
            "two" => counts[1] += 1,
            other => unreachable!("neither of the two said {other:?}"),
        }
        tries.fetch_add(1, Ordering::Relaxed);
    }
    counts
}

#[test]
fn no_connection_fails_while_a_route_is_led_to_and_fro() {
    with_relay(Limits::default(), |bench| {
        let targets = [named("one"), named("two")];
        bench.publish_8080(Transport::Tcp, targets[0]);
        let route = bench.listed().route;
        let (stop, tries) = (AtomicBool::new(false), AtomicUsize::new(0));
        let here = Netns::current().unwrap();
        let mut counts = [0; 2];
        std::thread::scope(|scope| {
            let hammers: Vec<_> =
                (0..2).map(|_| scope.spawn(|| here.run(|| hammer(&stop, &tries)))).collect();
            for round in 1..=500 {
                let target = targets[round % 2];
                bench.client.change(vec![led_to(&route, target)], &[]).unwrap();
                // At once, and not a moment later.
                assert_eq!(heard("127.0.0.1:8080"), ["one", "two"][round % 2]);
            }
            stop.store(true, Ordering::Relaxed);
            for hammer in hammers {
                let counted = hammer.join().unwrap().unwrap();
                counts = [counts[0] + counted[0], counts[1] + counted[1]];
            }
        });
        let all = tries.load(Ordering::Relaxed);
        println!("{all} connections during 500 changes: {counts:?}");
        assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == all);
        let all = u64::try_from(all + 500).unwrap();
        bench.until(|stats| (stats.connections_total, stats.connections_open) == (all, 0));
        let stats = bench.listed().stats;
        assert_eq!((stats.errors, stats.target_refused, stats.bytes_out), (0, 0, 3 * all));
    });
}

#[test]
fn open_connections_go_on_unless_their_clients_are_shut_out() {
    with_relay(Limits::default(), |bench| {
        bench.publish_8080(Transport::Tcp, tcp_target("127.0.0.1:0", echo));
        let route = bench.listed().route;
        let (near, far) = (connect("127.0.0.1:8080"), connect("192.0.2.1:8080"));
        answer(&near, b"near");
        answer(&far, b"far");
        let elsewhere = led_to(&route, named("two"));
        bench.client.change(vec![elsewhere.clone()], &[]).unwrap();
        answer(&near, b"still at the first");
        answer(&far, b"still at the first");
        assert_eq!(heard("127.0.0.1:8080"), "two");
        bench.client.change(vec![only_for(&elsewhere, "127.0.0.0/8")], &[]).unwrap();
        let shut_out = (&far).read(&mut [0]).unwrap_err();
        assert_eq!(shut_out.kind(), ErrorKind::ConnectionReset);
        is_turned_away("192.0.2.1:8080");
        answer(&near, b"allowed");
        let stats = bench.listed().stats;
        assert_eq!((stats.connections_total, stats.refused_not_allowed), (3, 2));
        assert_eq!(bench.listed().route, only_for(&elsewhere, "127.0.0.0/8"));
        bench.client.change(vec![route], &[]).unwrap();
        answer(&connect("192.0.2.1:8080"), b"in again");
        drop(near);
        bench.until(|stats| stats.connections_open == 0);
    });
}

#[test]
fn whoever_waits_for_a_target_is_led_to_the_next_one() {
    with_relay(Limits { connect: Duration::from_secs(60), ..Limits::default() }, |bench| {
        // Its queue is full, so that it answers nobody.
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&deaf, 0).unwrap();
        let at = deaf.local_addr().unwrap();
        let _queue: Vec<_> =
            (0..2).map(|_| TcpStream::connect_timeout(&at, Duration::from_millis(100))).collect();
        bench.publish_8080(Transport::Tcp, at);
        let mut waiting = connect("127.0.0.1:8080");
        waiting.write_all(b"anyone?").unwrap();
        bench.until(|stats| stats.connections_open == 1);
        std::thread::sleep(Duration::from_millis(100));
        let route = bench.listed().route;
        // What is the same for it changes nothing for it.
        let patient = Route { idle_timeout_seconds: Some(900), ..route.clone() };
        bench.client.change(vec![patient], &[]).unwrap();
        let next = led_to(&route, tcp_target("127.0.0.1:0", echo));
        let with_header = Route { proxy_protocol: Some(ProxyProtocol::V1), ..next };
        bench.client.change(vec![with_header], &[]).unwrap();
        let mut heard = vec![0; 64];
        let length = waiting.read(&mut heard).unwrap();
        let heard = String::from_utf8_lossy(&heard[..length]).into_owned();
        assert!(heard.starts_with("PROXY TCP4 127.0.0.1"), "{heard}");
        let stats = bench.listed().stats;
        assert_eq!((stats.connections_total, stats.source_fallbacks), (1, 0));
    });
}

#[test]
fn changes_are_all_or_none_and_refused_with_a_reason() {
    with_relay(Limits::default(), |bench| {
        let (one, two) = (named("one"), named("two"));
        bench.publish_8080(Transport::Tcp, one);
        let good = led_to(&bench.listed().route, two);
        let (held, reserved) = route(Transport::Tcp, &[V4], (8081, 8081), one);
        let mut second = bench.connect();
        add(&mut second, &held, &reserved);
        let mut refused = |routes: Vec<Route>| match bench.client.change(routes, &[]).unwrap_err() {
            Error::Refused(refusal) => refusal.to_string(),
            other => unreachable!("{other}"),
        };
        let other = Route { id: "other".into(), ..good.clone() };
        let ports = PortRange::new(9090, 9090).unwrap();
        for (bad, reason) in [
            (other, "there is no route other"),
            (held, "it does not serve yet"),
            (Route { host_ports: ports, ..good.clone() }, "host ports cannot be changed in place"),
            (Route { inside: true, ..good.clone() }, "0 sockets came where the routes need 2"),
            (Route { target_v4: None, ..good.clone() }, "its target has no address"),
        ] {
            let routes = if bad.id == good.id { vec![bad] } else { vec![good.clone(), bad] };
            let told = refused(routes);
            assert!(told.contains(reason), "{told}");
        }
        let twice = refused(vec![good.clone(), good.clone()]);
        assert!(twice.ends_with("exists already"), "{twice}");
        assert_eq!(heard("127.0.0.1:8080"), "one");
        bench.client.change(vec![good], &[]).unwrap();
        assert_eq!(heard("127.0.0.1:8080"), "two");
        bench.client.change(Vec::new(), &[]).unwrap();
        let too_many =
            bench.client.change(Vec::new(), &[std::os::fd::AsFd::as_fd(&std::io::stdin())]);
        let wanted = Refusal::Sockets { got: 1, needed: 0 };
        assert!(matches!(too_many.unwrap_err(), Error::Refused(refusal) if refusal == wanted));
    });
}

#[test]
fn a_successor_has_the_changed_route_and_changes_what_the_first_one_carries() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        let (route, held) =
            route(Transport::Tcp, &[V4, V6], (8080, 8080), tcp_target("127.0.0.1:0", echo));
        add(&mut client, &route, &held);
        client.open(std::slice::from_ref(&route.id)).unwrap();
        let (near, far) = (connect("127.0.0.1:8080"), connect("192.0.2.1:8080"));
        answer(&near, b"before");
        answer(&far, b"before");
        let changed = led_to(&route, named("two"));
        client.change(vec![changed.clone()], &[]).unwrap();
        let mut next = upgrade(dir.path(), Some(&dir.path().join("wharf")), 60).unwrap();
        assert_ne!(next.pid(), client.pid());
        assert_eq!(next.list().unwrap()[0].route, changed);
        assert_eq!(heard("127.0.0.1:8080"), "two");
        // A route that the first relay does not know.
        let (more, held) = super::bench::route(Transport::Tcp, &[V4], (8081, 8081), named("one"));
        add(&mut next, &more, &held);
        next.open(std::slice::from_ref(&more.id)).unwrap();
        let back = only_for(&led_to(&changed, named("one")), "127.0.0.0/8");
        next.change(vec![more, back], &[]).unwrap();
        let shut_out = (&far).read(&mut [0]).unwrap_err();
        assert_eq!(shut_out.kind(), ErrorKind::ConnectionReset);
        answer(&near, b"after");
        assert_eq!(heard("127.0.0.1:8080"), "one");
        let listed = next.list().unwrap();
        assert!(listed.iter().all(|listed| listed.phase == Phase::Open));
        next.shutdown().unwrap();
    });
}
