//! What tests of a loop that does not run have in common: a connection with real sockets.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Tcp;
use super::connection::{Admitted, Connection, Stage};
use crate::context::Context;
use crate::limits::Limits;
use crate::protocol::example;
use crate::route::Shared;
use crate::worker::tokens::Side;

/// What the two ends of a connection hold.
pub(super) struct Ends {
    pub(super) client: TcpStream,
    pub(super) target: TcpStream,
}

pub(super) fn context(loops: usize) -> Arc<Context> {
    let limits = Limits { loops: Some(loops), ..Limits::default() };
    Arc::new(Context::new(limits, 10_000).unwrap())
}

pub(super) fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(0, example(), None, Arc::default()))
}

/// Has `tcp` carry a connection that stands; its slot.
pub(super) fn carried(tcp: &mut Tcp, context: &Arc<Context>, shared: &Arc<Shared>) -> (u32, Ends) {
    let (client, near) = pair();
    let (target, far) = pair();
    let share = context.budget.take(2).unwrap();
    shared.enter(0, 10).unwrap();
    let admitted = Admitted::new(Arc::clone(context), Arc::clone(shared), 0, share);
    let peer = client.local_addr().unwrap();
    let legs = (near.into(), far.into());
    let connection = Connection::new(admitted, peer, legs.0, legs.1, Stage::Open, Instant::now());
    context.carry(tcp.seat, true);
    let slot = tcp.connections.insert(connection).unwrap();
    assert!(tcp.follow(slot, Side::Client) && tcp.follow(slot, Side::Target));
    (slot, Ends { client, target })
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    outside.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (inside, _) = listener.accept().unwrap();
    inside.set_nonblocking(true).unwrap();
    (outside, inside)
}
