use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use wharf_host::reserve::{Transport, reserve};
use wharf_relay::Limits;
use wharf_spec::ProxyProtocol;

use super::bench::*;

pub(super) fn is_reset(mut stream: &TcpStream) {
    let got = stream.read(&mut [0; 16]);
    assert_eq!(got.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Connects and is reset, at once or a moment later.
pub(super) fn is_turned_away(asked: &str) {
    match TcpStream::connect_timeout(&asked.parse().unwrap(), PATIENCE) {
        Ok(stream) => is_reset(&stream),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

pub(super) fn answer(mut stream: &TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
}

#[test]
fn bytes_go_both_ways_and_are_counted() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        bench.publish_8080(Transport::Tcp, target);
        let stream = connect("127.0.0.1:8080");
        answer(&stream, b"hello");
        let stats = bench.listed().stats;
        assert_eq!((stats.connections_total, stats.connections_open), (1, 1));
        assert_eq!((stats.bytes_in, stats.bytes_out), (5, 5));
        drop(stream);
        bench.until(|stats| stats.connections_open == 0);
        eventually(|| bench.client.stats().unwrap().descriptors_used == 1);
        assert_eq!(bench.listed().stats.errors, 0);
    });
}

#[test]
fn a_client_that_is_done_sending_still_gets_its_answer() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", |mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            all.reverse();
            stream.write_all(&all).unwrap();
        });
        bench.publish_8080(Transport::Tcp, target);
        let mut stream = connect("127.0.0.1:8080");
        stream.write_all(b"stressed").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        assert_eq!(all, "desserts");
        bench.until(|stats| stats.connections_open == 0 && stats.errors == 0);
    });
}

#[test]
fn a_target_that_is_done_sending_still_hears_the_client() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", |mut stream| {
            stream.shutdown(Shutdown::Write).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"a word after the end");
        });
        bench.publish_8080(Transport::Tcp, target);
        let mut stream = connect("127.0.0.1:8080");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        stream.write_all(b"a word after the end").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        bench.until(|stats| stats.connections_open == 0 && stats.bytes_in == 20);
        assert_eq!(bench.listed().stats.errors, 0);
    });
}

#[test]
fn large_transfers_arrive_unchanged_in_both_directions_at_once() {
    const LENGTH: usize = 32 << 20;
    let word = |i: usize| u8::try_from((i * 31 + i / 251) % 256).unwrap();
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        bench.publish_8080(Transport::Tcp, target);
        let sender = connect("127.0.0.1:8080");
        let mut receiver = sender.try_clone().unwrap();
        let sent: Vec<u8> = (0..LENGTH).map(word).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (&sender).write_all(&sent).unwrap();
                sender.shutdown(Shutdown::Write).unwrap();
            });
            let mut got = Vec::with_capacity(LENGTH);
            receiver.read_to_end(&mut got).unwrap();
            assert!(got == sent);
        });
        let length = u64::try_from(LENGTH).unwrap();
        bench.until(|stats| (stats.bytes_in, stats.bytes_out) == (length, length));
    });
}

#[test]
fn a_refused_target_resets_the_client() {
    with_relay(Limits::default(), |bench| {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        bench.publish_8080(Transport::Tcp, nobody);
        is_turned_away("127.0.0.1:8080");
        assert_eq!(bench.listed().stats.target_refused, 1);
    });
}

#[test]
fn a_silent_target_resets_the_client_in_time() {
    with_relay(Limits::default(), |bench| {
        // Behind its drop filter this one never answers a SYN.
        let _hole = reserve(Transport::Tcp, &[V4], (9000, 9000)).unwrap();
        let target = "127.0.0.1:9000".parse().unwrap();
        let (mut route, held) = route(Transport::Tcp, &[V4], (8080, 8080), target);
        route.connect_timeout_ms = Some(200);
        bench.publish((route, held));
        let start = Instant::now();
        is_turned_away("127.0.0.1:8080");
        assert!(start.elapsed() > Duration::from_millis(190));
        assert_eq!(bench.listed().stats.target_timeouts, 1);
    });
}

#[test]
fn a_reset_by_the_target_reaches_the_client() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", |mut stream| {
            stream.read_exact(&mut [0; 4]).unwrap();
            reset(stream);
        });
        bench.publish_8080(Transport::Tcp, target);
        let mut stream = connect("127.0.0.1:8080");
        stream.write_all(b"bang").unwrap();
        is_reset(&stream);
        bench.until(|stats| stats.errors == 1 && stats.connections_open == 0);
    });
}

#[test]
fn a_reset_by_the_client_reaches_the_target_even_after_half_closes() {
    with_relay(Limits::default(), |bench| {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        bench.publish_8080(Transport::Tcp, target.local_addr().unwrap());
        for half_closed in [false, true] {
            let client = connect("127.0.0.1:8080");
            let (mut at_target, _) = target.accept().unwrap();
            at_target.set_read_timeout(Some(PATIENCE)).unwrap();
            if half_closed {
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(at_target.read(&mut [0]).unwrap(), 0);
            }
            reset(client);
            // ECONNRESET, or EPIPE where the end of the stream was read before.
            at_target.set_nonblocking(true).unwrap();
            eventually(|| match at_target.read(&mut [0]) {
                Ok(_) => at_target.take_error().unwrap().is_some(),
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            });
        }
        bench.until(|stats| stats.errors == 2 && stats.connections_open == 0);
    });
}

#[test]
fn strangers_are_reset() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let (mut route, held) = route(Transport::Tcp, &[V4, V6], (8080, 8080), target);
        route.allow = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        bench.publish((route, held));
        for stranger in ["127.0.0.1:8080", "[::1]:8080"] {
            is_turned_away(stranger);
        }
        for friend in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            answer(&connect(friend), b"friend");
        }
        let stats = bench.listed().stats;
        assert_eq!((stats.refused_not_allowed, stats.connections_total), (2, 2));
    });
}

#[test]
fn families_are_crossed_where_the_target_has_only_one() {
    with_relay(Limits::default(), |bench| {
        for target in ["127.0.0.1:0", "[::1]:0"] {
            let target = tcp_target(target, |stream| {
                let peer = stream.peer_addr().unwrap().to_string();
                (&stream).write_all(peer.as_bytes()).unwrap();
            });
            let id = bench.publish_8080(Transport::Tcp, target);
            for client in ["127.0.0.1:8080", "[::1]:8080"] {
                let mut seen = String::new();
                connect(client).read_to_string(&mut seen).unwrap();
                assert_eq!(seen.parse::<SocketAddr>().unwrap().is_ipv4(), target.is_ipv4());
            }
            bench.client.remove(&[id], None).unwrap();
        }
    });
}

#[test]
fn the_ports_of_a_range_lead_to_their_counterparts() {
    with_relay(Limits::default(), |bench| {
        for port in [9000, 9001] {
            let at = format!("127.0.0.1:{port}");
            tcp_target(&at, |stream| {
                let me = stream.local_addr().unwrap().port().to_string();
                (&stream).write_all(me.as_bytes()).unwrap();
            });
        }
        let places = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let target = "127.0.0.1:9000".parse().unwrap();
        bench.publish(route(Transport::Tcp, &places, (8000, 8001), target));
        for (asked, answers) in [("127.0.0.1:8000", "9000"), ("[::1]:8001", "9001")] {
            let mut seen = String::new();
            connect(asked).read_to_string(&mut seen).unwrap();
            assert_eq!(seen, answers);
        }
    });
}

#[test]
fn a_proxy_header_comes_ahead_of_the_bytes() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            let (mut route, held) = route(Transport::Tcp, &[V4, V6], (8080, 8080), target);
            route.proxy_protocol = Some(version);
            let id = bench.publish((route, held));
            for asked in ["192.0.2.1:8080", "[2001:db8::2]:8080"] {
                let mut stream = connect(asked);
                let (me, to) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
                let (ip, port, to) = (me.ip(), me.port(), to.ip());
                stream.write_all(b"payload").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                let header = got.strip_suffix(b"payload").unwrap();
                if version == ProxyProtocol::V1 {
                    let family = if ip.is_ipv4() { "TCP4" } else { "TCP6" };
                    let wanted = format!("PROXY {family} {ip} {to} {port} 8080\r\n");
                    assert_eq!(String::from_utf8_lossy(header), wanted);
                } else {
                    let (kind, length) = if ip.is_ipv4() { (0x11, 28) } else { (0x21, 52) };
                    assert_eq!((header[13], header.len()), (kind, length));
                    assert_eq!(header[length - 2..], 8080u16.to_be_bytes());
                    assert_eq!(header[length - 4..length - 2], port.to_be_bytes());
                }
            }
            bench.client.remove(&[id], None).unwrap();
        }
    });
}

#[test]
fn removal_resets_connections_at_once_or_after_the_drain() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", echo);
        let id = bench.publish_8080(Transport::Tcp, target);
        let stream = connect("127.0.0.1:8080");
        answer(&stream, b"one");
        bench.client.remove(&[id], None).unwrap();
        is_reset(&stream);

        let id = bench.publish_8080(Transport::Tcp, target);
        let stream = connect("127.0.0.1:8080");
        answer(&stream, b"two");
        let began = Instant::now();
        bench.client.remove(&[id], Some(3)).unwrap();
        answer(&stream, b"still there");
        assert!(TcpStream::connect("127.0.0.1:8080").is_err());
        is_reset(&stream);
        // The relay counts in milliseconds.
        assert!(began.elapsed() >= Duration::from_millis(2999));
        eventually(|| bench.client.stats().unwrap().connections_open == 0);
    });
}

#[test]
fn what_was_sent_before_a_reset_arrives() {
    with_relay(Limits::default(), |bench| {
        // Answers and leaves with unread bytes, which the kernel turns into a reset.
        let target = tcp_target("127.0.0.1:0", |mut stream| {
            stream.write_all(b"413 too large").unwrap();
            std::thread::sleep(Duration::from_millis(20));
        });
        bench.publish_8080(Transport::Tcp, target);
        for _ in 0..50 {
            let mut stream = connect("127.0.0.1:8080");
            drop(stream.write_all(&[b'x'; 100]));
            let mut answer = [0; 13];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"413 too large");
        }
    });
}

#[test]
fn what_was_sent_before_a_reset_arrives_at_a_client_that_never_stops() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", |mut stream| {
            stream.read_exact(&mut [0; 4096]).unwrap();
            stream.write_all(b"413 too large").unwrap();
        });
        bench.publish_8080(Transport::Tcp, target);
        for _ in 0..200 {
            let mut stream = connect("127.0.0.1:8080");
            let mut uploading = stream.try_clone().unwrap();
            let upload =
                std::thread::spawn(move || while uploading.write_all(&[b'x'; 16384]).is_ok() {});
            let mut answer = [0; 13];
            let read = stream.read_exact(&mut answer);
            upload.join().unwrap();
            read.unwrap();
            assert_eq!(&answer, b"413 too large");
        }
    });
}

#[test]
fn urgent_bytes_stop_no_stream() {
    const SIZE: usize = 16 << 20;
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", |mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all.len().to_le_bytes()).unwrap();
        });
        bench.publish_8080(Transport::Tcp, target);
        let mut stream = connect("127.0.0.1:8080");
        let piece = vec![7; 1 << 20];
        for turn in 0..SIZE >> 20 {
            stream.write_all(&piece).unwrap();
            if turn % 4 == 1 {
                rustix::net::send(&stream, b"!", rustix::net::SendFlags::OOB).unwrap();
            }
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut length = [0; 8];
        stream.read_exact(&mut length).unwrap();
        // The target reads urgent bytes out of line, so the last one may be missing from its count.
        let seen = usize::from_le_bytes(length);
        assert!((SIZE..=SIZE + 4).contains(&seen), "{seen}");
    });
}

#[test]
fn a_target_that_speaks_first_is_heard() {
    with_relay(Limits::default(), |bench| {
        let target = tcp_target("127.0.0.1:0", |mut stream| {
            stream.write_all(b"220 ready").unwrap();
            drop(stream.read(&mut [0]));
        });
        bench.publish_8080(Transport::Tcp, target);
        for _ in 0..20 {
            let mut greeting = [0; 9];
            connect("127.0.0.1:8080").read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, b"220 ready");
        }
    });
}
