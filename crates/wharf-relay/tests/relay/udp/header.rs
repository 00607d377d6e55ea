//! The PROXY protocol, version 2, ahead of each datagram.

use std::net::{SocketAddr, UdpSocket};

use wharf_host::datagram::{Segmentation, Train, flow_socket, send_train};
use wharf_host::reserve::Transport;
use wharf_relay::{Limits, RelayClient};
use wharf_spec::ProxyProtocol;

use super::super::bench::*;

/// Publishes `target` with the header.
fn publish(bench: &mut Bench, target: SocketAddr) {
    let (mut route, held) = route(Transport::Udp, &[V4, V6], (8080, 8080), target);
    route.proxy_protocol = Some(ProxyProtocol::V2);
    bench.publish((route, held));
}

fn header_v4(client: SocketAddr) -> Vec<u8> {
    let ends = [[127, 0, 0, 1], [127, 0, 0, 9]].concat();
    let ports = [client.port().to_be_bytes(), 8080u16.to_be_bytes()].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c".as_slice(), &ends, &ports].concat()
}

#[test]
fn it_names_the_client_and_the_address_that_was_asked() {
    with_relay(Limits::default(), |bench| {
        let target = udp_client("127.0.0.1:0");
        publish(bench, target.local_addr().unwrap());
        let mut buffer = [0; 2000];
        let client = udp_client("127.0.0.1:0");
        for payload in [b"".as_slice(), b"payload"] {
            client.send_to(payload, "127.0.0.9:8080").unwrap();
            let (length, from) = target.recv_from(&mut buffer).unwrap();
            let wanted = [&header_v4(client.local_addr().unwrap()), payload].concat();
            assert_eq!(buffer[..length], wanted);
            // Answers come without.
            target.send_to(b"answer", from).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), 6);
        }
        let client = udp_client("[2001:db8::1]:0");
        client.send_to(b"six", "[2001:db8::2]:8080").unwrap();
        let length = target.recv(&mut buffer).unwrap();
        assert_eq!((length, &buffer[12..16]), (55, [0x21, 0x22, 0, 36].as_slice()));
        assert_eq!(&buffer[52..55], b"six");
        bench.until(|stats| (stats.datagrams_in, stats.bytes_in, stats.bytes_out) == (3, 10, 12));
    });
}

#[test]
fn each_datagram_of_a_train_has_its_own() {
    with_relay(Limits::default(), |bench| {
        let target = udp_client("127.0.0.1:0");
        publish(bench, target.local_addr().unwrap());
        let client = flow_socket("127.0.0.9:8080".parse().unwrap(), None).unwrap();
        let from = rustix::net::getsockname(&client).unwrap().try_into().unwrap();
        let train = Train::new(&[7; 2500], Some(1000));
        send_train(&client, train, None, &mut Segmentation::default());
        let mut buffer = [0; 2000];
        for length in [1000, 1000, 500] {
            let got = target.recv(&mut buffer).unwrap();
            let header = SocketAddr::V4(from_v4(from));
            assert_eq!(buffer[..got], [header_v4(header), vec![7; length]].concat());
        }
        bench.until(|stats| (stats.datagrams_in, stats.bytes_in) == (3, 2500));
    });
}

fn from_v4(address: SocketAddr) -> std::net::SocketAddrV4 {
    match address {
        SocketAddr::V4(v4) => std::net::SocketAddrV4::new([127, 0, 0, 1].into(), v4.port()),
        SocketAddr::V6(_) => panic!("{address} is none of IPv4"),
    }
}

#[test]
fn what_becomes_too_long_is_dropped_and_counted() {
    with_relay(Limits::default(), |bench| {
        let target = udp_client("127.0.0.1:0");
        publish(bench, target.local_addr().unwrap());
        let client: UdpSocket = udp_client("127.0.0.1:0");
        let header = header_v4(client.local_addr().unwrap()).len();
        for longer in [1, 0] {
            client.send_to(&vec![7; 65_507 - header + longer], "127.0.0.9:8080").unwrap();
        }
        assert_eq!(target.recv(&mut vec![0; 1 << 16]).unwrap(), 65_507);
        bench.until(|stats| (stats.datagrams_in, stats.datagrams_dropped) == (1, 1));
    });
}

#[test]
fn version_1_is_refused_for_it_knows_no_datagrams() {
    with_relay(Limits::default(), |bench| {
        let target = "127.0.0.1:9".parse().unwrap();
        let (mut route, held) = route(Transport::Udp, &[V4], (8080, 8080), target);
        route.proxy_protocol = Some(ProxyProtocol::V1);
        let sockets: Vec<_> =
            held.sockets.iter().map(|bound| std::os::fd::AsFd::as_fd(&bound.socket)).collect();
        let client: &mut RelayClient = &mut bench.client;
        let error = client.add(vec![route], &sockets).unwrap_err().to_string();
        assert!(error.contains("use v2"), "{error}");
    });
}
