//! Routes that are removed: what of them goes on, and for how long.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_host::reserve::Transport;
use wharf_relay::{Limits, Listed, Phase, RelayClient, ensure, upgrade};

use super::bench::*;
use super::process::program;
use super::tcp::answer;

fn is_cut(mut stream: &TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn phases(client: &mut RelayClient) -> Vec<(String, Phase)> {
    let listed = client.list().unwrap().into_iter();
    listed.map(|listed| (listed.route.id, listed.phase)).collect()
}

fn leaving(client: &mut RelayClient) -> Option<Listed> {
    client.list().unwrap().into_iter().find(|listed| listed.phase == Phase::Leaving)
}

#[test]
fn a_port_is_published_anew_while_the_first_publication_drains() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let id = bench.publish_8080(Transport::Tcp, target);
        let lasting = connect("127.0.0.1:8080");
        answer(&lasting, b"before");
        let ids = std::slice::from_ref(&id);
        assert!(bench.client.remove(ids, Some(3600)).unwrap().is_empty());
        assert!(TcpStream::connect("127.0.0.1:8080").is_err());
        assert!(bench.client.open_routes().unwrap().is_empty());
        let listed = leaving(&mut bench.client).unwrap();
        assert_eq!((listed.stats.connections_open, listed.stats.bytes_in), (1, 6));
        assert!(matches!(listed.ends_in_seconds, Some(3590..=3600)), "{listed:?}");
        // The same name, address and port, as long as the first one still carries.
        assert_eq!(bench.publish_8080(Transport::Tcp, target), id);
        answer(&lasting, b"of the first");
        answer(&connect("127.0.0.1:8080"), b"of the second");
        let both = [(id.clone(), Phase::Open), (id.clone(), Phase::Leaving)];
        assert_eq!(phases(&mut bench.client), both);
        let adopted = bench.client.list_with_sockets().unwrap();
        assert_eq!(adopted.iter().map(|(_, sockets)| sockets.len()).collect::<Vec<_>>(), [1, 0]);
        drop(adopted);
        drop(lasting);
        eventually(|| leaving(&mut bench.client).is_none());
        assert_eq!(phases(&mut bench.client), [(id, Phase::Open)]);
        bench.until(|stats| stats.connections_open == 0);
        assert_eq!(bench.listed().stats.connections_total, 1);
    });
}

#[test]
fn what_drains_is_cut_when_its_time_is_over_or_when_told() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let short = bench.publish(route(Transport::Tcp, &[V4], (8080, 8080), target));
        let long = bench.publish(route(Transport::Tcp, &[V4], (8081, 8081), target));
        let (first, second) = (connect("127.0.0.1:8080"), connect("127.0.0.1:8081"));
        answer(&first, b"first");
        answer(&second, b"second");
        let began = Instant::now();
        bench.client.remove(std::slice::from_ref(&short), Some(1)).unwrap();
        bench.client.remove(std::slice::from_ref(&long), Some(3600)).unwrap();
        is_cut(&first);
        let lasted = began.elapsed();
        // The relay counts in milliseconds.
        let expected = Duration::from_millis(999)..Duration::from_secs(6);
        assert!(expected.contains(&lasted), "{lasted:?}");
        answer(&second, b"goes on");
        // Longer than decided is not possible, earlier is.
        let ids = [long.clone(), "other".to_owned()];
        assert_eq!(bench.client.remove(&ids, Some(7200)).unwrap(), ["other"]);
        let left = leaving(&mut bench.client).unwrap().ends_in_seconds.unwrap();
        assert!(left <= 3600, "{left}");
        assert!(bench.client.remove(std::slice::from_ref(&long), None).unwrap().is_empty());
        is_cut(&second);
        eventually(|| bench.client.list().unwrap().is_empty());
        assert_eq!(bench.client.remove(std::slice::from_ref(&long), None).unwrap(), [long]);
        eventually(|| bench.client.stats().unwrap().descriptors_used == 0);
    });
}

#[test]
fn flows_end_at_once_whatever_the_connections_are_granted() {
    with_relay(Limits::default(), |bench| {
        let id = bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let client = udp_client("127.0.0.1:0");
        client.send_to(b"hello", "127.0.0.1:8080").unwrap();
        assert_eq!(client.recv(&mut [0; 8]).unwrap(), 5);
        bench.client.remove(&[id], Some(3600)).unwrap();
        let stats = bench.client.stats().unwrap();
        assert_eq!((stats.flows_open, stats.descriptors_used), (0, 0));
        assert!(bench.client.list().unwrap().is_empty());
    });
}

#[test]
fn a_drained_route_is_listed_wherever_its_connections_are() {
    in_netns(|| {
        let dir = TempDir::new().unwrap();
        let mut client = ensure(dir.path(), &program(&dir)).unwrap();
        let target = tcp_target("127.0.0.1:0", echo);
        let publish = |client: &mut RelayClient, port| {
            let (route, held) = route(Transport::Tcp, &[V4], (port, port), target);
            add(client, &route, &held);
            client.open(std::slice::from_ref(&route.id)).unwrap();
            route.id
        };
        let before = publish(&mut client, 8080);
        let after = publish(&mut client, 8081);
        let (first, second) = (connect("127.0.0.1:8080"), connect("127.0.0.1:8081"));
        answer(&first, b"first");
        answer(&second, b"second");
        client.remove(std::slice::from_ref(&before), Some(3600)).unwrap();
        let mut next = upgrade(dir.path(), Some(&dir.path().join("wharf")), 60).unwrap();
        // Removed before the upgrade: the first relay carries it, and the second one says so.
        eventually(|| leaving(&mut next).is_some());
        assert_eq!(
            phases(&mut next),
            [(after.clone(), Phase::Open), (before.clone(), Phase::Leaving)]
        );
        // Removed after it: part is carried here, part there.
        let third = connect("127.0.0.1:8081");
        answer(&third, b"third");
        assert!(next.remove(std::slice::from_ref(&after), Some(3600)).unwrap().is_empty());
        let both = [(before.clone(), Phase::Leaving), (after.clone(), Phase::Leaving)];
        assert_eq!(phases(&mut next), both);
        let stats = next.list().unwrap()[1].stats;
        assert_eq!((stats.connections_open, stats.bytes_in), (2, 11));
        for stream in [&first, &second, &third] {
            answer(stream, b"go on");
        }
        let again = next.remove(&[before, "other".into()], None).unwrap();
        assert_eq!(again, ["other"]);
        is_cut(&first);
        drop((second, third));
        eventually(|| next.list().unwrap().is_empty());
        next.shutdown().unwrap();
    });
}

#[test]
fn a_route_removed_while_it_is_opened_leaves_nothing_behind() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let mut second = bench.connect();
        for _ in 0..100 {
            // Fails if the one before still listens.
            let (route, held) = route(Transport::Tcp, &[V4, V6], (8080, 8089), target);
            add(&mut bench.client, &route, &held);
            drop(held);
            let ids = [route.id];
            std::thread::scope(|scope| {
                scope.spawn(|| while second.remove(&ids, None).unwrap() == ids {});
                // Too late now and then.
                let _opened = bench.client.open(&ids);
            });
            assert!(bench.client.list().unwrap().is_empty());
        }
        assert_eq!(bench.client.stats().unwrap().descriptors_used, 0);
    });
}

#[test]
fn timed_a_thousand_routes_go_in_one_pass() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let mut ids = Vec::new();
        for port in 20_000..21_000 {
            ids.push(bench.publish(route(Transport::Tcp, &[V4], (port, port), target)));
        }
        let lasting: Vec<_> = (0..50).map(|nth| connect(("127.0.0.1", 20_000 + nth))).collect();
        lasting.iter().for_each(|stream| answer(stream, b"open"));
        let start = Instant::now();
        assert!(bench.client.remove(&ids, None).unwrap().is_empty());
        let took = start.elapsed();
        println!("1,000 routes removed in {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        lasting.iter().for_each(is_cut);
        eventually(|| bench.client.stats().unwrap().descriptors_used == 0);
    });
}
