use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::sysctl;

/// An address that neither namespace has; the host takes packets for it in.
const FOREIGN: [&str; 2] = ["192.0.2.7", "2001:db8:7::7"];

/// The host as a relay with targets in the other namespace.
fn relay_and_targets() -> Option<Pair> {
    let pair = Pair::new(1500)?;
    let mut client = Links::open_in(&pair.client).unwrap();
    let mut host = Links::open_in(&pair.host).unwrap();
    let out = client.index("c").unwrap();
    let lo = host.index("lo").unwrap();
    for (foreign, relay) in FOREIGN.into_iter().zip(HOST) {
        let destination: IpNet = IpNet::from(foreign.parse::<IpAddr>().unwrap());
        let (gateway, link, table) = (None, Some(lo), MAIN_TABLE);
        let route = Route { destination, gateway, link, table, kind: RouteKind::Local };
        host.apply(&[Change::Route(route)]).unwrap();
        let back = Route::default_via(relay.parse().unwrap(), out);
        client.apply(&[Change::Route(back)]).unwrap();
    }
    for own in CLIENT {
        // IPv6 asks for a neighbour on behalf of a foreign address only from its link-local one,
        // which is not usable in its first second; on behalf of an own address from that.
        let target = target(&pair, own, 9);
        let to = target.local_addr().unwrap();
        let own = pair.host.run(|| flow_socket(to, None).unwrap()).unwrap();
        send_connected(&own, b"x", None).unwrap();
        target.recv_from(&mut [0; 9]).unwrap();
    }
    Some(pair)
}

/// A server in the other namespace.
fn target(pair: &Pair, address: &str, port: u16) -> UdpSocket {
    let socket = pair.client.run(|| UdpSocket::bind(at(address, port)).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

fn from_source(pair: &Pair, target: &UdpSocket, source: &str) -> OwnedFd {
    let target = target.local_addr().unwrap();
    let source = source.parse().unwrap();
    pair.host.run(|| flow_socket(target, Some(source)).unwrap()).unwrap()
}

fn bound_to(socket: impl AsFd) -> SocketAddr {
    socket2::SockRef::from(&socket).local_addr().unwrap().as_socket().unwrap()
}

#[test]
fn the_target_sees_the_client_and_answers_find_their_flow() {
    let Some(pair) = relay_and_targets() else { return };
    let mut buffer = [0; 64];
    for (own, foreign) in CLIENT.into_iter().zip(FOREIGN) {
        // Twice the same: as for a client that asks two published ports of one server.
        let target = target(&pair, own, 80);
        let flows = ["a", "b"].map(|text| (from_source(&pair, &target, foreign), text));
        for (flow, text) in &flows {
            send_connected(flow, text.as_bytes(), None).unwrap();
        }
        for (flow, text) in &flows {
            let source = bound_to(flow);
            assert_eq!(source.ip().to_string(), foreign);
            assert_eq!(target.recv_from(&mut buffer).unwrap(), (1, source));
            assert_eq!(&buffer[..1], text.as_bytes());
            target.send_to(text.to_uppercase().as_bytes(), source).unwrap();
        }
        for (flow, text) in &flows {
            assert_eq!(answer(flow, &mut buffer).length, 1);
            assert_eq!(&buffer[..1], text.to_uppercase().as_bytes());
        }
    }
}

#[test]
fn trains_leave_from_a_foreign_address_and_come_back() {
    let Some(pair) = relay_and_targets() else { return };
    let mut buffer = vec![0; BUFFER];
    for (own, foreign) in CLIENT.into_iter().zip(FOREIGN) {
        let target = target(&pair, own, 80);
        assert!(enable_gro(&target));
        let flow = from_source(&pair, &target, foreign);
        let source = bound_to(&flow);
        let sent = pattern(14_007);
        let train = Train::new(&sent, Some(1400));
        assert_eq!(send_train(&flow, train, None, &mut Segmentation::default()).datagrams, 11);
        let got = arrival(&target, &mut buffer);
        assert_eq!((got.length, got.segment, got.from), (14_007, Some(1400), source));
        let path = Path { to: source, from: None, dual: false };
        send_train(&target, train, Some(&path), &mut Segmentation::default());
        let got = answer(&flow, &mut buffer);
        assert_eq!((got.length, got.segment), (14_007, Some(1400)));
    }
}

#[test]
fn what_others_sent_before_the_connect_is_not_taken_for_an_answer() {
    let Some(pair) = relay_and_targets() else { return };
    for (own, foreign) in CLIENT.into_iter().zip(FOREIGN) {
        let [asked, stranger] = [80, 81].map(|port| target(&pair, own, port));
        let source: IpAddr = foreign.parse().unwrap();
        let kind = Type::DGRAM.nonblocking().cloexec();
        let domain = Domain::for_address(at(foreign, 0));
        let early = pair.host.run(|| Socket::new_raw(domain, kind, None).unwrap()).unwrap();
        flow::bind_foreign(&early, source).unwrap();
        for from in [&asked, &stranger] {
            from.send_to(b"x", bound_to(&early)).unwrap();
        }
        assert!(readable(&early));
        early.connect(&asked.local_addr().unwrap().into()).unwrap();
        flow::drop_strays(&early).unwrap();
        let error = receive_connected(&early, &mut [0; 9]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn no_port_that_the_host_uses_is_taken() {
    let Some(pair) = relay_and_targets() else { return };
    for (own, foreign) in CLIENT.into_iter().zip(FOREIGN) {
        let asked = target(&pair, own, 80);
        let any = if own.contains(':') { "::" } else { "0.0.0.0" };
        let narrow = || sysctl::set("net/ipv4/ip_local_port_range", "40000 40039").unwrap();
        pair.host.run(narrow).unwrap();
        let taken: Vec<UdpSocket> = (40_000..40_020)
            .map(|port| pair.host.run(|| UdpSocket::bind(at(any, port)).unwrap()).unwrap())
            .collect();
        let flows: Vec<OwnedFd> = (0..20).map(|_| from_source(&pair, &asked, foreign)).collect();
        let mut ports: Vec<u16> = flows.iter().map(|flow| bound_to(flow).port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, (40_020..40_040).collect::<Vec<u16>>());
        let (target, source) = (asked.local_addr().unwrap(), foreign.parse().unwrap());
        let more = pair.host.run(|| flow_socket(target, Some(source))).unwrap();
        assert_eq!(more.unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(taken);
    }
}
