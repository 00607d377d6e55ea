use std::io::{ErrorKind, Read, Write};

use rustix::event::epoll::EventFlags;

use super::*;
use crate::context::Context;
use crate::poller::{Events, Ready};
use crate::tcp::example::{Ends, carried, context, shared};
use crate::worker::tokens::Subject;

/// Tells the loop of what its poller has to say now.
fn serve(tcp: &mut Tcp, context: &Context) {
    let mut events = Events::new();
    let seat = context.seats.get(tcp.seat).unwrap();
    seat.poller.wait(&mut events, Some(std::time::Duration::from_millis(200)));
    for event in events.take() {
        let Subject::Leg { slot, side } = event.token.into() else { continue };
        tcp.event(slot, side, event, Instant::now());
    }
}

/// What the loop at `seat` was sent.
fn sent_to(context: &Context, seat: usize) -> Vec<Moved> {
    let heard = context.seats.get(seat).unwrap().heard().into_iter();
    let moved = heard.filter_map(|command| match command {
        Command::Move(moved) => Some(*moved),
        _ => None,
    });
    moved.collect()
}

fn elsewhere(_processor: usize) -> Option<usize> {
    Some(1)
}

#[test]
fn a_connection_goes_on_at_another_loop_with_what_came_meanwhile() {
    let (context, shared) = (context(2), shared(&[]));
    let mut tcp = [0, 1].map(|seat| Tcp::new(Arc::clone(&context), seat));
    let (_, Ends { mut client, mut target }) = carried(&mut tcp[0], &context, &shared);
    // Whoever has never sent anything is nowhere.
    client.write_all(b"ping").unwrap();
    target.write_all(b"pong").unwrap();
    tcp[0].send_home(elsewhere);
    let mut moved = sent_to(&context, 1);
    assert_eq!((moved.len(), context.carried(0), context.carried(1)), (1, 0, 1));
    assert_eq!(context.totals.connections_moved.get(), 1);
    tcp[1].take_over(None, moved.remove(0), Instant::now());
    serve(&mut tcp[1], &context);
    let mut heard = [0; 4];
    target.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
    assert_eq!((shared.counters.bytes_in.get(), shared.counters.bytes_out.get()), (4, 4));
}

#[test]
fn what_is_on_its_way_stays_and_so_does_what_belongs_nowhere_else() {
    let (context, shared) = (context(2), shared(&[]));
    let mut tcp = Tcp::new(Arc::clone(&context), 0);
    let (slot, mut ends) = carried(&mut tcp, &context, &shared);
    ends.client.write_all(b"ping").unwrap();
    ends.target.write_all(b"pong").unwrap();
    tcp.send_home(|_| Some(0));
    tcp.send_home(|_| None);
    // One end each: as far from the one as from the other.
    let asked = std::cell::Cell::new(0);
    tcp.send_home(|_| Some(asked.replace(asked.get() + 1) % 2));
    tcp.connections.get_mut(slot).unwrap().prefix(b"header".to_vec());
    tcp.send_home(elsewhere);
    assert_eq!(sent_to(&context, 1).len(), 0);
    assert_eq!((context.carried(0), context.carried(1)), (1, 0));
}

#[test]
fn no_loop_is_sent_more_than_twice_as_many() {
    let (context, shared) = (context(2), shared(&[]));
    let mut tcp = Tcp::new(Arc::clone(&context), 0);
    let mut ends: Vec<_> = (0..9).map(|_| carried(&mut tcp, &context, &shared).1).collect();
    for Ends { client, target } in &mut ends {
        client.write_all(b"ping").unwrap();
        target.write_all(b"pong").unwrap();
    }
    tcp.send_home(elsewhere);
    assert_eq!((context.carried(0), context.carried(1)), (3, 6));
}

#[test]
fn a_client_shut_out_on_the_way_is_reset() {
    let (context, before) = (context(2), shared(&[]));
    let mut tcp = [0, 1].map(|seat| Tcp::new(Arc::clone(&context), seat));
    let (slot, mut ends) = carried(&mut tcp[0], &context, &before);
    tcp[0].move_to(1, slot);
    let moved = sent_to(&context, 1).remove(0);
    let after = shared(&["192.0.2.0/24"]);
    tcp[1].take_over(Some(&after), moved, Instant::now());
    let error = ends.client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!((context.carried(1), context.budget.used()), (0, 0));
    assert_eq!(after.counters.refused_not_allowed.get(), 1);
}

#[test]
fn an_event_on_its_way_to_a_connection_that_has_left_finds_nobody() {
    let (context, shared) = (context(2), shared(&[]));
    let mut tcp = Tcp::new(Arc::clone(&context), 0);
    let (slot, _ends) = carried(&mut tcp, &context, &shared);
    tcp.move_to(1, slot);
    let (next, _others) = carried(&mut tcp, &context, &shared);
    assert_ne!(slot, next, "its number rests");
    let late =
        Ready { token: Subject::Leg { slot, side: Side::Client }.into(), flags: EventFlags::ERR };
    tcp.event(slot, Side::Client, late, Instant::now());
    assert_eq!(context.carried(0), 1);
}
