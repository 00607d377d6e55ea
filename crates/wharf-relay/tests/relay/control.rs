use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use wharf_host::reserve::{Transport, reserve};
use wharf_relay::{Error, Limits, Phase, Refusal, Relay, RelayConfig, Response, socket_path};

use super::bench::*;

fn greet(port: u16) -> String {
    let mut stream = connect(("127.0.0.1", port));
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn uncommitted_routes_vanish_with_their_connection() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let mut second = bench.connect();
        let (route, held) = route(Transport::Tcp, &[V4, V6], (8080, 8089), target);
        add(&mut second, &route, &held);
        drop(held);
        assert_eq!(bench.listed().phase, Phase::Held);
        assert_eq!(bench.client.stats().unwrap().sockets, 10);
        drop(second);
        eventually(|| bench.client.list().unwrap().is_empty());
        eventually(|| bench.client.stats().unwrap().descriptors_used == 0);
        reserve(Transport::Tcp, &[V4, V6], (8080, 8089)).unwrap();
    });
}

#[test]
fn opened_routes_outlive_the_connection_that_added_them() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let mut second = bench.connect();
        let (route, held) = route(Transport::Tcp, &[V4, V6], (8080, 8080), target);
        add(&mut second, &route, &held);
        let ids = [route.id.clone()];
        second.open(&ids).unwrap();
        second.open(&ids).unwrap();
        drop(second);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(bench.client.open_routes().unwrap(), ids);
        assert_eq!(greet(8080), "hello");
    });
}

#[test]
fn removal_frees_the_ports_and_names_what_was_not_there() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        for transport in [Transport::Tcp, Transport::Udp] {
            let id = bench.publish_8080(transport, target);
            let unknown = bench.client.remove(&[id, "other".into()], None).unwrap();
            assert_eq!(unknown, ["other"]);
            reserve(transport, &[V4, V6], (8080, 8080)).unwrap();
        }
    });
}

#[test]
fn a_new_daemon_adopts_sockets_and_can_hand_them_back() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let id = bench.publish_8080(Transport::Tcp, target);
        let mut second = bench.connect();
        let (listed, sockets) = second.list_with_sockets().unwrap().remove(0);
        assert_eq!((listed.route.id.as_str(), sockets.len()), (id.as_str(), 1));
        second.remove(&[id], None).unwrap();
        // The port is held by our copies, so a client that comes now waits for us.
        let mut waiting = connect("127.0.0.1:8080");
        waiting.write_all(b"early").unwrap();
        let mut route = listed.route;
        route.id = "adopted".into();
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        second.add(vec![route], &borrowed).unwrap();
        second.open(&["adopted".into()]).unwrap();
        let mut answer = [0; 5];
        waiting.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"early");
        assert_eq!(greet(8080), "hello");
    });
}

#[test]
fn a_second_relay_refuses_to_run() {
    with_relay(Limits::default(), |bench| {
        let error = Relay::start(RelayConfig::new(bench.path())).unwrap_err();
        assert!(matches!(error, Error::AlreadyRunning(_)), "{error}");
        bench.client.stats().unwrap();
    });
}

#[test]
fn a_stale_socket_is_replaced() {
    in_netns(|| {
        let dir = tempfile::TempDir::new().unwrap();
        drop(std::os::unix::net::UnixListener::bind(socket_path(dir.path())).unwrap());
        let relay = Relay::start(RelayConfig::new(dir.path())).unwrap();
        wharf_relay::RelayClient::connect(&socket_path(dir.path())).unwrap();
        relay.stop();
    });
}

#[test]
fn refusals_change_nothing() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let (route, held) = route(Transport::Tcp, &[V4], (8080, 8081), target);
        let sockets: Vec<_> = held.sockets.iter().map(|bound| bound.socket.as_fd()).collect();
        let refusal = |result: wharf_relay::Result<()>| match result.unwrap_err() {
            Error::Refused(refusal) => refusal,
            other => unreachable!("{other}"),
        };
        let client = &mut bench.client;
        let too_few = refusal(client.add(vec![route.clone()], &sockets[..1]));
        assert_eq!(too_few, Refusal::Sockets { got: 1, needed: 2 });
        let swapped = refusal(client.add(vec![route.clone()], &[sockets[1], sockets[0]]));
        assert!(swapped.to_string().contains("is bound to 0.0.0.0:8081"), "{swapped}");
        let twice = refusal(client.add(vec![route.clone(), route.clone()], &[]));
        assert!(matches!(twice, Refusal::Duplicate { .. }));
        assert!(client.list().unwrap().is_empty());
        client.add(vec![route.clone()], &sockets).unwrap();
        let known = refusal(client.add(vec![route.clone()], &sockets));
        assert!(matches!(known, Refusal::Duplicate { .. }));
        let ids = [route.id.clone(), "other".to_owned()];
        assert_eq!(refusal(client.open(&ids)), Refusal::Unknown { id: "other".into() });
        assert_eq!(client.list().unwrap()[0].phase, Phase::Held);
        assert_eq!(client.stats().unwrap().descriptors_used, 2);
    });
}

#[test]
fn nonsense_is_refused_and_does_no_harm() {
    with_relay(Limits::default(), |bench| {
        let stream = UnixStream::connect(socket_path(bench.path())).unwrap();
        wharf_host::fdpass::send_frame(&stream, b"{\"request\":\"dance\"}", &[]).unwrap();
        let (payload, _) = wharf_host::fdpass::recv_frame(&stream, 1 << 16).unwrap().unwrap();
        let response: Response = serde_json::from_slice(&payload).unwrap();
        assert!(matches!(response, Response::Refused(Refusal::Request { .. })));
        (&stream).write_all(&[0xff; 64]).unwrap();
        assert_eq!((&stream).read(&mut [0]).unwrap_or(0), 0);
        bench.client.stats().unwrap();
    });
}

#[test]
fn timed_ten_thousand_ports_are_quick_and_small() {
    with_relay(Limits::default(), |bench| {
        let places = ["127.0.0.1".parse().unwrap()];
        for port in ["127.0.0.9:20000", "127.0.0.9:29999"] {
            tcp_target(port, echo);
        }
        let before = resident();
        let mut ids = Vec::new();
        // In halves: this process holds both sides' descriptors while it hands them over.
        for first in [20_000, 25_000] {
            let target = std::net::SocketAddr::new("127.0.0.9".parse().unwrap(), first);
            let reserved = route(Transport::Tcp, &places, (first, first + 4_999), target);
            let start = Instant::now();
            ids.push(bench.publish(reserved));
            println!("5,000 ports opened in {:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(2));
        }
        println!("memory grew by {} KiB", resident().saturating_sub(before));
        assert!(resident() < 40_000, "{} KiB", resident());
        assert_eq!((greet(20_000), greet(29_999)), ("hello".into(), "hello".into()));
        let start = Instant::now();
        bench.client.remove(&ids, None).unwrap();
        println!("10,000 ports removed in {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(2));
        for range in [(20_000, 24_999), (25_000, 29_999)] {
            reserve(Transport::Tcp, &places, range).unwrap();
        }
    });
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
