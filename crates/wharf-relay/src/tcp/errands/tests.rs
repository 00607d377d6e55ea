use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use socket2::SockRef;

use super::*;
use crate::context::Context;
use crate::poller::{Events, Ready};
use crate::route::Shared;
use crate::tcp::example::{Ends, carried, context, shared};

/// Two loops that do not run; clients of the first are on the processor of the second.
struct Two {
    context: Arc<Context>,
    shared: Arc<Shared>,
    loops: [Tcp; 2],
}

/// `None` without io_uring.
fn two() -> Option<Two> {
    let context = context(2);
    let loops = [0, 1].map(|seat| Tcp::new(Arc::clone(&context), seat));
    if !loops.iter().all(Tcp::has_ring) {
        println!("skipped: no io_uring here, messages do not wait");
        return None;
    }
    context.seats[1].stays.store(true, Ordering::Relaxed);
    Some(Two { context, shared: shared(), loops })
}

impl Two {
    fn carry(&mut self) -> (u32, Ends) {
        let (slot, ends) = carried(&mut self.loops[0], &self.context, &self.shared);
        let connection = self.loops[0].connections.get_mut(slot).unwrap();
        connection.looked.seats = [Some(1), Some(0)];
        (slot, ends)
    }

    /// The first loop serves what has come from a target.
    fn serve(&mut self, slot: u32, more: EventFlags) {
        let ready = Ready { token: 0, flags: EventFlags::IN | more };
        self.loops[0].gather(true);
        self.loops[0].event(slot, Side::Target, ready, Instant::now());
        self.loops[0].gather(false);
        self.loops[0].deliver();
    }

    /// A connection whose target has said something that was left to the second loop.
    fn handed_on(&mut self) -> (u32, Ends) {
        let (slot, mut ends) = self.carry();
        ends.target.write_all(b"ping").unwrap();
        self.serve(slot, EventFlags::empty());
        (slot, ends)
    }

    /// What a loop was left.
    fn heard(&self, seat: usize) -> Vec<Errands> {
        let heard = self.context.seats[seat].heard().into_iter();
        let errands = heard.filter_map(|command| match command {
            Command::Send(errands) | Command::Sent(errands) => Some(errands),
            _ => None,
        });
        errands.collect()
    }

    /// The second loop does what it was left, and the first goes on.
    fn run(&mut self) {
        self.heard(1).into_iter().for_each(|errands| self.loops[1].run(errands));
        self.heard(0).iter().for_each(|errands| self.loops[0].take_back(errands));
        self.loops[0].go_on(Instant::now());
    }
}

fn hear(end: &mut std::net::TcpStream, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    end.read_exact(&mut heard).unwrap();
    heard
}

#[test]
fn the_loop_where_a_receiver_is_sends_for_the_other() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    assert!(two.loops[0].connections.get(slot).unwrap().is_posted());
    ends.client.set_nonblocking(true).unwrap();
    assert_eq!(ends.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    ends.client.set_nonblocking(false).unwrap();
    // What is said meanwhile waits.
    ends.target.write_all(b"pong").unwrap();
    two.serve(slot, EventFlags::empty());
    two.run();
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    assert_eq!(hear(&mut ends.client, 4), b"pong");
    assert!(!two.loops[0].connections.get(slot).unwrap().is_posted());
    assert_eq!(two.context.totals.messages_handed_on.get(), 1);
    assert_eq!(two.shared.counters.bytes_out.get(), 8);
}

#[test]
fn a_connection_that_is_to_leave_does_when_its_message_has_arrived() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    let looked = &mut two.loops[0].connections.get_mut(slot).unwrap().looked;
    (looked.seats, looked.leaves) = ([Some(1); 2], true);
    two.loops[0].leaving.push(slot);
    two.loops[0].depart();
    assert_eq!(two.context.totals.connections_moved.get(), 0, "something is on the way");
    two.run();
    two.loops[0].depart();
    assert_eq!(two.context.totals.connections_moved.get(), 1);
    assert_eq!(hear(&mut ends.client, 4), b"ping");
}

#[test]
fn nothing_is_left_to_a_loop_that_is_not_there() {
    let Some(mut two) = two() else { return };
    two.context.seats[1].stays.store(false, Ordering::Relaxed);
    let (_, mut ends) = two.handed_on();
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    assert!(two.heard(1).is_empty());
}

#[test]
fn what_a_receiver_has_no_room_for_comes_back() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.carry();
    let leg = Arc::clone(two.loops[0].connections.get(slot).unwrap().leg(Side::Client));
    let mut filled = 0;
    while let Ok(sent) =
        rustix::net::send(leg.as_fd(), &[7; 4096], rustix::net::SendFlags::DONTWAIT)
    {
        filled += sent;
    }
    drop(leg);
    ends.target.write_all(b"ping").unwrap();
    two.serve(slot, EventFlags::empty());
    two.run();
    let connection = two.loops[0].connections.get(slot).unwrap();
    assert!(!connection.is_posted() && connection.is_ready(), "it waits for room");
    assert!(hear(&mut ends.client, filled).iter().all(|byte| *byte == 7));
    let begun = Instant::now();
    while two.loops[0].connections.get(slot).unwrap().is_ready() {
        assert!(begun.elapsed() < Duration::from_secs(5), "nothing is sent any more");
        let ready = Ready { token: 0, flags: EventFlags::OUT };
        two.loops[0].event(slot, Side::Client, ready, Instant::now());
    }
    assert_eq!(hear(&mut ends.client, 4), b"ping");
}

#[test]
fn a_message_precedes_the_reset_of_its_connection_whose_number_is_free() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    SockRef::from(&ends.target).set_linger(Some(Duration::ZERO)).unwrap();
    drop(ends.target);
    two.serve(slot, EventFlags::ERR | EventFlags::HUP);
    two.loops[0].go_on(Instant::now());
    assert_eq!((two.context.seats[0].busy(), two.context.budget.used()), (0, 0));
    let mut events = Events::new();
    two.context.seats[0].poller.wait(&mut events, Some(Duration::ZERO));
    assert_eq!(events.len(), 0, "the first loop hears of it no more");
    let (next, mut others) = two.handed_on();
    assert_eq!(next, slot);
    for (errands, is_posted) in two.heard(1).into_iter().zip([true, false]) {
        two.loops[1].run(errands);
        two.heard(0).iter().for_each(|errands| two.loops[0].take_back(errands));
        assert_eq!(two.loops[0].connections.get(slot).unwrap().is_posted(), is_posted);
    }
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    let error = ends.client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(hear(&mut others.client, 4), b"ping");
}
