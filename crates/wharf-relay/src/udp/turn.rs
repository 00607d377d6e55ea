//! How much is taken from a socket at a time.
//!
//! Who sends a question and waits for the answer is served fastest one datagram at a time, with
//! no call to find out that there is no other; who streams, in trains. A socket that is reported
//! again at once, though a datagram was taken from it, streams, or is asked by many.

use wharf_host::datagram::Received;

/// What is taken from one socket before the others get their turn: about 0.3 ms of work, be it
/// in single datagrams or in trains.
const MOST_CALLS: usize = 64;
const MOST_BYTES: usize = 512 << 10;

/// What is remembered of a socket between two turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habit {
    /// Whether there was one datagram, and no more, the last time.
    single: bool,
    /// The round of the loop in which that was.
    round: u64,
}

/// What one socket gives before the others get their turn.
#[derive(Debug)]
pub(super) struct Turn {
    calls: usize,
    most_calls: usize,
    bytes: usize,
    datagrams: usize,
}

// === impl Habit ===

impl Default for Habit {
    fn default() -> Self {
        // Whoever begins is likely to ask something.
        Self { single: true, round: 0 }
    }
}

impl Habit {
    /// Begins a turn in a round of the loop.
    pub(super) fn begin(&mut self, round: u64) -> Turn {
        let again = round == self.round + 1;
        self.round = round;
        let most_calls = if self.single && !again { 1 } else { MOST_CALLS };
        Turn { calls: 0, most_calls, bytes: 0, datagrams: 0 }
    }

    /// Learns from a turn.
    pub(super) fn end(&mut self, turn: &Turn) {
        self.single = turn.datagrams <= 1;
    }
}

// === impl Turn ===

impl Turn {
    /// Whether one more call is due.
    pub(super) fn goes_on(&mut self) -> bool {
        self.calls += 1;
        self.calls <= self.most_calls && self.bytes < MOST_BYTES
    }

    /// Whether more than one call is likely to bring something.
    pub(super) fn takes_many(&self) -> bool {
        self.most_calls > 1
    }

    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    pub(super) fn note(&mut self, received: Received) {
        self.bytes += received.length;
        self.datagrams += received.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Received = Received { length: 9, truncated: false, segment: None };
    const TRAIN: Received = Received { length: 65_000, truncated: false, segment: Some(1000) };

    /// Takes as much as there may be of `received`, `waiting` times; the number of calls.
    fn calls(habit: &mut Habit, round: u64, received: Received, waiting: usize) -> usize {
        let mut turn = habit.begin(round);
        let mut calls = 0;
        while turn.goes_on() {
            calls += 1;
            if calls > waiting {
                break;
            }
            turn.note(received);
        }
        habit.end(&turn);
        calls
    }

    #[test]
    fn a_question_at_a_time_takes_one_call() {
        let mut habit = Habit::default();
        for round in [2, 4, 9, 11] {
            assert_eq!(calls(&mut habit, round, ALONE, 1), 1);
        }
    }

    #[test]
    fn a_stream_is_noticed_and_so_is_its_end() {
        let mut habit = Habit::default();
        assert_eq!(calls(&mut habit, 5, ALONE, 1000), 1);
        assert_eq!(calls(&mut habit, 6, ALONE, 1000), 64);
        assert_eq!(calls(&mut habit, 9, ALONE, 3), 4);
        assert_eq!(calls(&mut habit, 20, ALONE, 1), 2);
        assert_eq!(calls(&mut habit, 30, ALONE, 1), 1);
        assert_eq!(calls(&mut habit, 40, TRAIN, 1), 1);
        assert_eq!(calls(&mut habit, 50, TRAIN, 1000), 9);
    }
}
