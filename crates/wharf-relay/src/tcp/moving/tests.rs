use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::*;
use crate::context::Context;
use crate::poller::Events;
use crate::route::Shared;
use crate::tcp::connection::Stage;
use crate::tcp::tests::{Ends, carried, context, shared};

/// Two loops that do not run, of which the first carries connections.
struct Two {
    context: Arc<Context>,
    shared: Arc<Shared>,
    loops: [Tcp; 2],
    /// Processors of this test.
    processors: [usize; 2],
    now: Instant,
}

/// `None` where there is one processor.
fn two() -> Option<Two> {
    let allowed = sched_getaffinity(None).unwrap();
    let mut processors = (0..CpuSet::MAX_CPU).filter(|nth| allowed.is_set(*nth));
    let Some(processors) = processors.next().zip(processors.next()) else {
        println!("skipped: there is one processor");
        return None;
    };
    let context = context(2);
    let loops = [0, 1].map(|seat| Tcp::new(Arc::clone(&context), seat));
    let (shared, processors, now) = (shared(), processors.into(), Instant::now());
    Some(Two { context, shared, loops, processors, now })
}

/// Has `stream` send a message from a processor.
fn send(mut stream: &std::net::TcpStream, processor: usize) {
    let before = sched_getaffinity(None).unwrap();
    let mut own = CpuSet::new();
    own.set(processor);
    sched_setaffinity(None, &own).unwrap();
    stream.write_all(b"ping").unwrap();
    sched_setaffinity(None, &before).unwrap();
}

fn served(slot: u32) -> Ready {
    Ready { token: Subject::Leg { slot, side: Side::Client }.into(), flags: EventFlags::IN }
}

impl Two {
    fn carry(&mut self) -> (u32, Ends) {
        let carried = carried(&mut self.loops[0], &self.context, &self.shared);
        self.now = Instant::now();
        carried
    }

    /// A connection whose ends are both on the second processor.
    fn misplaced(&mut self) -> (u32, Ends) {
        let (slot, ends) = self.carry();
        send(&ends.client, self.processors[1]);
        send(&ends.target, self.processors[1]);
        self.hear(slot);
        (slot, ends)
    }

    /// Waits until both legs have something to be read.
    fn hear(&mut self, slot: u32) {
        let connection = self.loops[0].connections.get(slot).unwrap();
        for leg in [connection.client(), connection.target()] {
            let mut waits = [PollFd::from_borrowed_fd(leg, PollFlags::IN)];
            let limit = Duration::from_secs(5).try_into().unwrap();
            assert_eq!(poll(&mut waits, Some(&limit)).unwrap(), 1);
        }
    }

    /// Looks where connections belong, in so many periods; what was sent to the second loop.
    fn look(&mut self, slots: &[u32], times: usize) -> Vec<Moved> {
        let served: Vec<Ready> = slots.iter().copied().map(served).collect();
        let mut home = Home::among(&self.processors);
        for _ in 0..times {
            self.now += PERIOD;
            self.loops[0].look(&served, &mut home, self.now);
            self.loops[0].depart();
        }
        let heard = self.context.seats[1].heard().into_iter();
        let moved = heard.flat_map(|command| match command {
            Command::Move(moved) => moved,
            _ => Vec::new(),
        });
        moved.collect()
    }

    fn carried(&self) -> [usize; 2] {
        [0, 1].map(|seat| self.context.seats[seat].busy())
    }

    /// Tells the loop at `seat` what its poller has to say; how much that was.
    fn serve(&mut self, seat: usize) -> usize {
        let mut events = Events::new();
        self.context.seats[seat].poller.wait(&mut events, Some(Duration::from_millis(20)));
        let ready = events.take();
        for event in &ready {
            let Subject::Leg { slot, side } = event.token.into() else { continue };
            self.loops[seat].event(slot, side, *event, Instant::now());
        }
        ready.len()
    }
}

#[test]
fn a_connection_goes_on_at_another_loop_with_what_came_meanwhile() {
    let Some(mut two) = two() else { return };
    let (slot, Ends { mut client, mut target }) = two.misplaced();
    assert!(two.look(&[slot], 1).is_empty(), "it is looked at twice");
    let moved = two.look(&[slot], 1);
    assert_eq!((moved.len(), two.carried()), (1, [0, 1]));
    assert_eq!(two.context.totals.connections_moved.get(), 1);
    assert_eq!(two.serve(0), 0, "the first loop hears of it no more");
    assert!(two.loops[1].next_look().is_none());
    two.loops[1].take_over(moved, Instant::now());
    assert!(two.loops[1].next_look().is_some(), "it is looked after there");
    let counters = &Arc::clone(&two.shared).counters;
    let begun = Instant::now();
    while counters.bytes_in.get() + counters.bytes_out.get() < 8 {
        assert!(begun.elapsed() < Duration::from_secs(5), "nothing is carried: {counters:?}");
        two.serve(1);
    }
    for end in [&mut client, &mut target] {
        let mut heard = [0; 4];
        end.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"ping");
    }
}

#[test]
fn a_connection_that_may_be_over_soon_is_not_looked_at() {
    let Some(mut two) = two() else { return };
    let (slot, _ends) = two.misplaced();
    let mut home = Home::among(&two.processors);
    let begun = two.loops[0].connections.get(slot).unwrap().looked.at;
    let young = begun + PERIOD.saturating_sub(Duration::from_millis(1));
    (0..3).for_each(|_| two.loops[0].look(&[served(slot)], &mut home, young));
    assert_eq!(two.loops[0].connections.get(slot).unwrap().looked.at, begun);
    // One turn may have two events of it.
    let twice = [served(slot), served(slot)];
    two.loops[0].look(&twice, &mut home, begun + PERIOD);
    two.loops[0].depart();
    assert_eq!(two.carried(), [1, 0]);
    two.loops[0].look(&twice, &mut home, begun + 2 * PERIOD);
    two.loops[0].depart();
    assert_eq!(two.carried(), [0, 1]);
}

#[test]
fn a_connection_with_one_end_here_stays() {
    let Some(mut two) = two() else { return };
    let [first, second] = two.processors;
    for (client, target) in [(first, first), (first, second), (second, first)] {
        let (slot, ends) = two.carry();
        send(&ends.client, client);
        send(&ends.target, target);
        two.hear(slot);
        assert!(two.look(&[slot], 3).is_empty(), "{client} and {target}");
        two.loops[0].reset(slot);
    }
}

#[test]
fn a_connection_with_something_on_the_way_stays() {
    let Some(mut two) = two() else { return };
    let now = Instant::now();
    let dialing = Stage::Dialing { since: now, until: now, as_client: false };
    let unlike: [fn(&mut Connection, Stage); 3] = [
        |connection, _| connection.prefix(b"header".to_vec()),
        |connection, _| connection.queued = true,
        |connection, dialing| connection.stage = dialing,
    ];
    for change in unlike {
        let (slot, _ends) = two.misplaced();
        change(two.loops[0].connections.get_mut(slot).unwrap(), dialing);
        assert!(two.look(&[slot], 3).is_empty());
        two.loops[0].reset(slot);
    }
}

#[test]
fn no_loop_is_sent_more_than_half_as_many_again() {
    let Some(mut two) = two() else { return };
    let (slots, _ends): (Vec<_>, Vec<_>) = (0..10).map(|_| two.misplaced()).unzip();
    assert_eq!((two.look(&slots, 3).len(), two.carried()), (6, [4, 6]));
    let rooms = [(1, 0), (1, 1), (2, 2), (5, 5), (16, 16), (16, 24), (0, 7)];
    assert_eq!(rooms.map(|(own, other)| room(own, other)), [1, 0, 0, 1, 3, 0, 0]);
}

#[test]
fn connections_that_carry_nothing_make_no_room() {
    let Some(mut two) = two() else { return };
    let (slots, _ends): (Vec<_>, Vec<_>) = (0..10).map(|_| two.misplaced()).unzip();
    let later = Instant::now() + ROUND;
    two.loops[0].look_after_all(later);
    assert_eq!(two.carried(), [0, 0]);
    assert_eq!(two.look(&slots, 2).len(), 1, "one that wakes up");
}

#[test]
fn nothing_moves_past_what_all_loops_are_told() {
    let Some(mut two) = two() else { return };
    let (slot, _ends) = two.misplaced();
    two.context.tell_all(|| Command::Cut);
    assert!(two.look(&[slot], 3).is_empty(), "the first loop has not obeyed");
    drop(two.context.seats[0].heard());
    let context = Arc::clone(&two.context);
    let order = context.in_order(0);
    assert!(two.look(&[slot], 3).is_empty(), "somebody is telling");
    drop(order);
    assert_eq!(two.look(&[slot], 1).len(), 1);
}

#[test]
fn an_event_on_its_way_to_a_connection_that_has_left_finds_nobody() {
    let Some(mut two) = two() else { return };
    let (slot, _ends) = two.misplaced();
    assert_eq!(two.look(&[slot], 2).len(), 1);
    let (next, _others) = two.carry();
    assert_ne!(slot, next, "its number rests");
    let late = Ready { flags: EventFlags::ERR, ..served(slot) };
    two.loops[0].event(slot, Side::Client, late, Instant::now());
    assert_eq!(two.carried(), [1, 1]);
}
