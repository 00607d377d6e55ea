use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::limits::Budget;
use crate::protocol::example;
use crate::route::Shared;

const MINUTE: Duration = Duration::from_secs(60);

/// A table, and what its flows need.
struct Bench {
    flows: Flows,
    served: Arc<Served>,
    budget: Arc<Budget>,
    now: Instant,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let shared = Shared::new(0, example(), None, Arc::default());
        Self {
            flows: Flows::new(&limits, 1),
            served: Arc::new(Served::new(Arc::new(shared), Vec::new())),
            budget: Arc::new(Budget::new(1 << 16)),
            // Flows may be older than the host's clock.
            now: Instant::now() + 60 * MINUTE,
        }
    }

    /// Takes over a flow of the client with this port that has been quiet for a while.
    fn take_over(&mut self, port: u16, quiet: Duration, streams: bool) -> u64 {
        let last = self.now - quiet;
        let from = FlowInTransit {
            client: SocketAddr::from(([192, 0, 2, 1], port)),
            port: 0,
            asked: None,
            begun: last,
            last,
            answered: streams,
            streams,
            socket: UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        };
        let token = Token { route: 0, socket: 0 };
        let share = self.budget.take(1).unwrap();
        let key = Key::in_transit(token, &from, &self.served);
        let flow = Flow::take_over(key, Arc::clone(&self.served), from, share);
        let id = self.flows.next_id();
        self.flows.insert(flow);
        id
    }

    fn ports(flows: &[Flow]) -> Vec<u16> {
        flows.iter().map(|flow| flow.key.client.port()).collect()
    }
}

#[test]
fn a_quiet_stream_goes_on_under_another_relay() {
    let mut bench = Bench::new(Limits::default());
    let now = bench.now;
    bench.take_over(1, MINUTE, true);
    bench.take_over(2, MINUTE, false);
    bench.take_over(3, 4 * MINUTE, true);
    assert_eq!(Bench::ports(&bench.flows.expired(now)), [3, 2]);
    assert_eq!(bench.flows.next_check(), Some(now + 2 * MINUTE));
    let passed = bench.flows.take_all().pop().unwrap().pass_on().1;
    assert!(passed.streams && passed.last == now - MINUTE);
}

#[test]
fn a_client_brings_no_more_streams_than_it_may_have() {
    let mut bench = Bench::new(Limits { streams_per_client: 2, ..Limits::default() });
    for port in 1..=3 {
        bench.take_over(port, MINUTE, true);
    }
    let now = bench.now;
    assert_eq!(Bench::ports(&bench.flows.expired(now)), [3]);
    // The place of one that ends can be had.
    bench.flows.expired(now + 10 * MINUTE);
    bench.take_over(4, MINUTE, true);
    assert!(bench.flows.expired(now).is_empty());
}
