use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use crate::poller::Ready;
use crate::tcp::Tcp;
use crate::tcp::connection::reset_on_close;
use crate::tcp::tests::{carried, context, shared};
use crate::worker::tokens::Side;

fn event(tcp: &mut Tcp, slot: u32, side: Side, flags: EventFlags) {
    tcp.event(slot, side, Ready { token: 0, flags }, Instant::now());
}

#[test]
fn a_message_that_waits_goes_ahead_of_the_reset_that_follows_in_the_same_turn() {
    let (context, shared) = (context(1), shared());
    let mut tcp = Tcp::new(Arc::clone(&context), 0);
    if !tcp.copier.outbox.has_ring() {
        return println!("skipped: no io_uring here, messages do not wait");
    }
    let (slot, mut ends) = carried(&mut tcp, &context, &shared);
    ends.target.write_all(b"goodbye").unwrap();
    tcp.gather(true);
    event(&mut tcp, slot, Side::Target, EventFlags::IN);
    assert!(!tcp.copier.outbox.is_empty(), "it waits for the others of this turn");
    reset_on_close(&ends.target);
    drop(ends.target);
    event(&mut tcp, slot, Side::Target, EventFlags::IN | EventFlags::ERR | EventFlags::HUP);
    let mut heard = [0; 7];
    ends.client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"goodbye");
    let error = ends.client.read(&mut heard).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!((context.seats[0].busy(), context.budget.used()), (0, 0));
}
