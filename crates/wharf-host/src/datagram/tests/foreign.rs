use std::net::UdpSocket;
use std::time::Duration;

use super::*;

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

fn from_source(pair: &Pair, target: &UdpSocket, source: SocketAddr) -> OwnedFd {
    let target = target.local_addr().unwrap();
    pair.host.run(|| flow_socket(target, Some(source)).unwrap()).unwrap()
}

#[test]
fn the_target_sees_the_client_and_answers_find_their_flow() {
    let Some(pair) = relay_and_targets() else { return };
    let mut buffer = [0; 64];
    for (own, foreign) in CLIENT.into_iter().zip(FOREIGN) {
        let source = at(foreign, 4321);
        let targets = [80, 81, 82].map(|port| target(&pair, own, port));
        let flows = targets.each_ref().map(|target| from_source(&pair, target, source));
        for (flow, text) in flows.iter().zip(["a", "b", "c"]) {
            send_connected(flow, text.as_bytes(), None).unwrap();
        }
        for (target, text) in targets.iter().zip(["a", "b", "c"]) {
            assert_eq!(target.recv_from(&mut buffer).unwrap(), (1, source));
            assert_eq!(&buffer[..1], text.as_bytes());
            target.send_to(text.to_uppercase().as_bytes(), source).unwrap();
        }
        for (flow, text) in flows.iter().zip([b"A", b"B", b"C"]) {
            assert_eq!(answer(flow, &mut buffer).length, 1);
            assert_eq!(&buffer[..1], text);
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
        let source = at(foreign, 4321);
        let flow = from_source(&pair, &target, source);
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
        let source = at(foreign, 4321);
        let [asked, stranger] = [80, 81].map(|port| target(&pair, own, port));
        let first = from_source(&pair, &asked, source);
        let kind = Type::DGRAM.nonblocking().cloexec();
        let domain = Domain::for_address(source);
        let early = pair.host.run(|| Socket::new_raw(domain, kind, None).unwrap()).unwrap();
        flow::bind_foreign(&early, source).unwrap();
        // The connected socket keeps its own; the new one catches what belongs to nobody.
        for from in [&asked, &stranger] {
            from.send_to(b"x", source).unwrap();
        }
        assert_eq!(answer(&first, &mut [0; 9]).length, 1);
        assert!(readable(&early));
        early.connect(&asked.local_addr().unwrap().into()).unwrap();
        flow::drop_strays(&early).unwrap();
        let error = receive_connected(&early, &mut [0; 9]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn a_source_without_a_port_gets_one_of_its_own() {
    let Some(pair) = relay_and_targets() else { return };
    for (own, foreign) in CLIENT.into_iter().zip(FOREIGN) {
        let asked = target(&pair, own, 80);
        let mut ports = Vec::new();
        let mut flows = Vec::new();
        for _ in 0..20 {
            let flow = from_source(&pair, &asked, at(foreign, 0));
            send_connected(&flow, b"x", None).unwrap();
            let from = asked.recv_from(&mut [0; 9]).unwrap().1;
            assert_eq!(from.ip().to_string(), foreign);
            ports.push(from.port());
            flows.push(flow);
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
        let taken = at(foreign, ports[0]);
        let target = asked.local_addr().unwrap();
        let again = pair.host.run(|| flow_socket(target, Some(taken))).unwrap();
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
