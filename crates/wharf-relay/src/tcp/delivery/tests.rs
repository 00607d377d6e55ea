use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, poll};

use crate::poller::Ready;
use crate::tcp::Tcp;
use crate::tcp::connection::reset_on_close;
use crate::tcp::tests::{carried, context, shared};
use crate::worker::tokens::Side;

fn event(tcp: &mut Tcp, slot: u32, side: Side, flags: EventFlags) {
    tcp.event(slot, side, Ready { token: 0, flags }, Instant::now());
}

/// Waits until this can be seen of the target; its end always can.
fn wait(tcp: &Tcp, slot: u32, what: PollFlags) {
    let leg = tcp.connections.get(slot).unwrap().target();
    let mut waits = [PollFd::from_borrowed_fd(leg, what)];
    let limit = Duration::from_secs(5).try_into().unwrap();
    assert_eq!(poll(&mut waits, Some(&limit)).unwrap(), 1);
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
    wait(&tcp, slot, PollFlags::IN);
    tcp.gather(true);
    event(&mut tcp, slot, Side::Target, EventFlags::IN);
    assert!(!tcp.copier.outbox.is_empty(), "it waits for the others of this turn");
    reset_on_close(&ends.target);
    drop(ends.target);
    wait(&tcp, slot, PollFlags::empty());
    event(&mut tcp, slot, Side::Target, EventFlags::IN | EventFlags::ERR | EventFlags::HUP);
    let mut heard = [0; 7];
    ends.client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"goodbye");
    let error = ends.client.read(&mut heard).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!((context.seats[0].busy(), context.budget.used()), (0, 0));
}
