use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SendFlags;
use socket2::SockRef;

use super::*;
use crate::context::Context;
use crate::poller::{Events, Ready};
use crate::route::Shared;
use crate::tcp::tests::{Ends, carried, context, shared};

/// Two loops that do not run; clients of the first are on the processor of the second.
struct Two {
    context: Arc<Context>,
    shared: Arc<Shared>,
    loops: [Tcp; 2],
    /// Stands still: where ends were seen is believed for a moment only.
    now: Instant,
    /// Whose messages keep others company.
    companions: Vec<Ends>,
}

/// `None` without io_uring.
fn two() -> Option<Two> {
    let context = context(2);
    let loops = [0, 1].map(|seat| Tcp::new(Arc::clone(&context), seat));
    if !loops.iter().all(Tcp::may_help) {
        println!("skipped: no io_uring here, messages do not wait");
        return None;
    }
    context.seats[1].stays.store(true, Ordering::Relaxed);
    let now = Instant::now();
    Some(Two { context, shared: shared(), loops, now, companions: Vec::new() })
}

impl Two {
    fn carry(&mut self) -> (u32, Ends) {
        let (slot, ends) = carried(&mut self.loops[0], &self.context, &self.shared);
        let connection = self.loops[0].connections.get_mut(slot).unwrap();
        (connection.looked.at, connection.looked.seats) = (self.now, [Some(1), Some(0)]);
        (slot, ends)
    }

    /// The first loop serves what has come from a target, and that of another connection.
    fn serve(&mut self, slot: u32, more: EventFlags) {
        let (companion, mut ends) = self.carry();
        ends.target.write_all(b"also").unwrap();
        self.companions.push(ends);
        self.wait(companion);
        self.loops[0].gather(true);
        for (slot, more) in [(companion, EventFlags::empty()), (slot, more)] {
            let ready = Ready { token: 0, flags: EventFlags::IN | more };
            self.loops[0].event(slot, Side::Target, ready, self.now);
        }
        self.loops[0].gather(false);
        self.loops[0].hand_on(self.now);
        self.loops[0].deliver();
    }

    /// Waits until something has come from the target.
    fn wait(&mut self, slot: u32) {
        let leg = self.loops[0].connections.get(slot).unwrap().target();
        let mut waits = [PollFd::from_borrowed_fd(leg, PollFlags::IN)];
        let limit = Duration::from_secs(5).try_into().unwrap();
        assert_eq!(poll(&mut waits, Some(&limit)).unwrap(), 1);
    }

    /// A connection whose target has said something that was left to the second loop.
    fn handed_on(&mut self) -> (u32, Ends) {
        let (slot, mut ends) = self.carry();
        ends.target.write_all(b"ping").unwrap();
        self.wait(slot);
        self.serve(slot, EventFlags::empty());
        (slot, ends)
    }

    fn is_away(&self, slot: u32) -> bool {
        self.loops[0].connections.get(slot).unwrap().is_away()
    }

    /// The second loop does what it was left, and the first goes on.
    fn run(&mut self) {
        self.loops[1].run_errands();
        self.loops[0].run_errands();
        self.loops[0].go_on(Instant::now());
    }

    fn handed_on_so_far(&self) -> u64 {
        self.context.totals.messages_handed_on.get()
    }
}

fn reset(end: std::net::TcpStream) {
    SockRef::from(&end).set_linger(Some(Duration::ZERO)).unwrap();
}

fn is_reset(end: &mut std::net::TcpStream) {
    assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
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
    assert!(two.is_away(slot));
    ends.client.set_nonblocking(true).unwrap();
    assert_eq!(ends.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    ends.client.set_nonblocking(false).unwrap();
    // What is said meanwhile waits.
    ends.target.write_all(b"pong").unwrap();
    two.wait(slot);
    two.serve(slot, EventFlags::empty());
    assert_eq!(two.handed_on_so_far(), 2, "one alone is sent across");
    two.run();
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    assert_eq!(hear(&mut ends.client, 4), b"pong");
    assert!(!two.is_away(slot));
    assert_eq!(two.shared.counters.bytes_out.get(), 8 + 2 * 4);
    assert_eq!(two.context.seats[1].burden.load(Ordering::Relaxed), 0);
}

#[test]
fn nothing_is_left_to_a_loop_that_is_not_there_or_has_much_to_do_or_for_whom_nobody_has_seen() {
    let Some(mut two) = two() else { return };
    let other = Arc::clone(&two.context);
    let seat = &other.seats[1];
    seat.stays.store(false, Ordering::Relaxed);
    let (_, mut ends) = two.handed_on();
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    seat.stays.store(true, Ordering::Relaxed);
    seat.burden.store(MOST, Ordering::Relaxed);
    let (_, mut ends) = two.handed_on();
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    assert_eq!(two.handed_on_so_far(), 0);
    let looked = two.loops[0].connections.get(0).unwrap().looked;
    let later = looked.at + Duration::from_millis(100);
    assert_eq!(
        (looked.seat(Side::Client, looked.at), looked.seat(Side::Client, later)),
        (Some(1), None)
    );
}

#[test]
fn messages_of_streams_are_sent_at_once() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.carry();
    two.loops[0].connections.get_mut(slot).unwrap().queued = true;
    ends.target.write_all(b"ping").unwrap();
    two.wait(slot);
    two.serve(slot, EventFlags::empty());
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    assert!(!two.is_away(slot));
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
fn what_a_receiver_has_no_room_for_comes_back() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    let leg = Arc::clone(two.loops[0].connections.get(slot).unwrap().leg(Side::Client));
    let mut filled = 0;
    while let Ok(sent) = rustix::net::send(leg.as_fd(), &[7; 4096], SendFlags::DONTWAIT) {
        filled += sent;
    }
    drop(leg);
    two.run();
    assert!(!two.is_away(slot));
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
fn last_words_follow_a_message_that_is_away() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    ends.target.write_all(b"last words").unwrap();
    two.wait(slot);
    reset(ends.target);
    two.serve(slot, EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP);
    assert!(two.is_away(slot), "it is not given up");
    two.run();
    assert_eq!(hear(&mut ends.client, 14), b"pinglast words");
    is_reset(&mut ends.client);
    assert!(two.loops[0].connections.get(slot).is_none());
}

#[test]
fn an_end_that_follows_a_message_that_is_away_is_one() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    ends.target.shutdown(std::net::Shutdown::Write).unwrap();
    two.wait(slot);
    two.serve(slot, EventFlags::RDHUP);
    two.run();
    let mut all = Vec::new();
    ends.client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"ping");
    assert!(two.loops[0].connections.get(slot).is_some(), "the client may go on");
}

/// Whoever sends to a socket that was reset takes the error off it.
#[test]
fn a_reset_that_another_loop_finds_is_no_end() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    let client = Arc::clone(two.loops[0].connections.get(slot).unwrap().leg(Side::Client));
    ends.client.write_all(b"bye").unwrap();
    reset(ends.client);
    let mut waits = [PollFd::new(&client, PollFlags::empty())];
    assert_eq!(poll(&mut waits, Some(&Duration::from_secs(5).try_into().unwrap())).unwrap(), 1);
    two.loops[1].run_errands();
    let without_error = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::OUT;
    let ready = Ready { token: 0, flags: without_error };
    two.loops[0].event(slot, Side::Client, ready, Instant::now());
    drop(client);
    two.run();
    assert_eq!(hear(&mut ends.target, 3), b"bye");
    is_reset(&mut ends.target);
}

#[test]
fn a_message_precedes_the_reset_of_its_connection_whose_number_is_free() {
    let Some(mut two) = two() else { return };
    let (slot, mut ends) = two.handed_on();
    two.loops[0].reset(slot);
    two.loops[0].go_on(Instant::now());
    ends.target.write_all(b"!").unwrap_or_default();
    let mut events = Events::new();
    two.context.seats[0].poller.wait(&mut events, Some(Duration::ZERO));
    let heard_of =
        |it: &Ready| matches!(it.token.into(), Subject::Leg { slot: of, .. } if of == slot);
    assert!(!events.take().iter().any(heard_of), "the first loop hears of it no more");
    let (next, mut others) = two.handed_on();
    assert_eq!(next, slot);
    two.run();
    assert!(!two.is_away(next));
    assert_eq!(hear(&mut ends.client, 4), b"ping");
    is_reset(&mut ends.client);
    assert_eq!(hear(&mut others.client, 4), b"ping");
}
