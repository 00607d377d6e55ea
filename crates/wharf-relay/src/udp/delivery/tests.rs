use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::context::Context;
use crate::limits::Limits;
use crate::protocol::{Place, Route, example};
use crate::route::{Served, Shared, Token};
use crate::stats::Counters;
use crate::table::succession::FlowInTransit;

const PATIENCE: Duration = Duration::from_secs(5);
const TOKEN: Token = Token { route: 0, socket: 0 };

/// A loop that does not run, and its only port.
struct Port {
    udp: Udp,
    served: Arc<Served>,
}

/// `None` without io_uring.
fn port(flows: usize) -> Option<Port> {
    let limits = Limits { loops: Some(1), flows, ..Limits::default() };
    let context = Arc::new(Context::new(limits, 10_000).unwrap());
    let udp = Udp::new(context, 0);
    if !udp.departures.outbox.has_ring() {
        println!("skipped: no io_uring here, datagrams do not wait");
        return None;
    }
    let place = Place { address: "127.0.0.1".parse().unwrap(), dual: false };
    let route = Route { listeners: vec![place], ..example() };
    let shared = Arc::new(Shared::new(0, route, None, Arc::default()));
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    Some(Port { udp, served: Arc::new(Served::new(shared, vec![listener.into()])) })
}

fn patient(at: impl std::net::ToSocketAddrs) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn heard(socket: &UdpSocket) -> Vec<u8> {
    let mut room = [0; 64];
    let length = socket.recv(&mut room).unwrap();
    room[..length].to_vec()
}

impl Port {
    /// A flow of `client` to `target`; its number.
    fn flow(&mut self, client: &UdpSocket, target: SocketAddr) -> u64 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(target).unwrap();
        let id = self.udp.flows.next_id();
        let flow = FlowInTransit {
            client: client.local_addr().unwrap(),
            port: 0,
            asked: None,
            begun: Instant::now(),
            last: Instant::now(),
            answered: false,
            streams: false,
            socket: socket.into(),
        };
        self.udp.take_over(&self.served, TOKEN, flow);
        id
    }

    fn post(&mut self, way: Way, datagram: &[u8]) -> bool {
        let Udp { departures, flows, .. } = &mut self.udp;
        departures.post(Train::new(datagram, None), way, true, flows)
    }

    fn counters(&self) -> &Counters {
        &self.served.shared.counters
    }

    fn waiting(&self) -> usize {
        self.udp.departures.outbox.len()
    }
}

#[test]
fn datagrams_of_many_flows_are_sent_together_and_counted() {
    let Some(mut port) = port(100) else { return };
    let (client, target) = (patient("127.0.0.1:0"), patient("127.0.0.1:0"));
    let others = [1, 2].map(|_| patient("127.0.0.1:0"));
    let at = target.local_addr().unwrap();
    let ids = [&client, &others[0], &others[1]].map(|client| port.flow(client, at));
    assert!(port.post(Way::In(ids[0]), b"one") && port.post(Way::In(ids[1]), b""));
    assert!(port.post(Way::Out(ids[0]), b"three"));
    assert_eq!((port.waiting(), port.counters().datagrams_in.get()), (3, 0));
    port.udp.deliver();
    assert_eq!((heard(&target), heard(&target)), (b"one".to_vec(), Vec::new()));
    assert_eq!(heard(&client), b"three");
    // What waits alone.
    assert!(port.post(Way::In(ids[2]), b"four"));
    port.udp.deliver();
    assert_eq!(heard(&target), b"four");
    let counters = port.counters();
    assert_eq!((counters.datagrams_in.get(), counters.bytes_in.get()), (3, 7));
    assert_eq!((counters.datagrams_out.get(), counters.bytes_out.get()), (1, 5));
}

#[test]
fn datagrams_that_come_one_at_a_time_do_not_wait() {
    let Some(mut port) = port(100) else { return };
    let (client, target) = (patient("127.0.0.1:0"), patient("127.0.0.1:0"));
    let id = port.flow(&client, target.local_addr().unwrap());
    let Udp { departures, flows, .. } = &mut port.udp;
    assert!(!departures.post(Train::new(b"alone", None), Way::In(id), false, flows));
    assert!(!departures.post(Train::new(b"train", Some(2)), Way::In(id), true, flows));
}

#[test]
fn a_flow_keeps_its_order_past_an_error_that_was_pending() {
    let Some(mut port) = port(100) else { return };
    let (client, other) = (patient("127.0.0.1:0"), patient("127.0.0.1:0"));
    let gone = patient("127.0.0.1:0");
    let at = gone.local_addr().unwrap();
    let (id, beside) = (port.flow(&client, at), port.flow(&other, other.local_addr().unwrap()));
    drop(gone);
    let socket = &port.udp.flows.get(id).unwrap().socket;
    rustix::net::send(socket, b"refused", rustix::net::SendFlags::empty()).unwrap();
    let mut waits = [PollFd::new(socket, PollFlags::empty())];
    assert_eq!(poll(&mut waits, Some(&PATIENCE.try_into().unwrap())).unwrap(), 1);
    let target = patient(at);
    for datagram in [b"1".as_slice(), b"22", b"333", b"4444"] {
        assert!(port.post(Way::In(id), datagram) && port.post(Way::In(beside), b"beside"));
    }
    port.udp.deliver();
    let order = [1, 2, 3, 4].map(|_| heard(&target).len());
    assert_eq!(order, [1, 2, 3, 4]);
    let counters = port.counters();
    assert_eq!((counters.target_refused.get(), counters.datagrams_in.get()), (1, 8));
    assert_eq!(counters.datagrams_dropped.get(), 0);
}

#[test]
fn a_flow_that_makes_room_for_another_leaves_nothing_behind() {
    let Some(mut port) = port(2) else { return };
    let (client, target) = (patient("127.0.0.1:0"), patient("127.0.0.1:0"));
    let others = [1, 2].map(|_| patient("127.0.0.1:0"));
    let at = target.local_addr().unwrap();
    let ids = [&client, &others[0]].map(|client| port.flow(client, at));
    assert!(ids.iter().all(|id| port.post(Way::In(*id), b"ping")));
    port.flow(&others[1], at);
    assert_eq!((port.waiting(), port.counters().flows_evicted.get()), (0, 1));
    assert_eq!((heard(&target), heard(&target)), (b"ping".to_vec(), b"ping".to_vec()));
    assert_eq!(port.counters().datagrams_in.get(), 2);
}

#[test]
fn where_the_ring_takes_no_answers_they_do_not_wait() {
    let Some(mut port) = port(100) else { return };
    let (client, target) = (patient("127.0.0.1:0"), patient("127.0.0.1:0"));
    let id = port.flow(&client, target.local_addr().unwrap());
    port.udp.departures.answers_wait = false;
    assert!(!port.post(Way::Out(id), b"answer") && port.post(Way::In(id), b"question"));
}
