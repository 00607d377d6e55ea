//! How long to leave something alone that keeps being changed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Whoever changes something changes several things.
const SHORT: Duration = Duration::from_millis(20);
/// Somebody who changes things against us is not met more often than this.
const LONG: Duration = Duration::from_secs(30);
/// So many repairs within this time make a fight.
const FIGHT: usize = 10;
const MEMORY: Duration = Duration::from_secs(10);

/// The pauses between repairs of one thing.
#[derive(Debug)]
pub(super) struct Pauses {
    repairs: VecDeque<Instant>,
    next: Duration,
}

// === impl Pauses ===

impl Pauses {
    pub(super) fn new() -> Self {
        Self { repairs: VecDeque::new(), next: SHORT }
    }

    /// How long to wait before the next look.
    pub(super) fn next(&self) -> Duration {
        self.next
    }

    /// Takes note of a repair at `now`. Answers whether this is where a fight begins.
    pub(super) fn repaired(&mut self, now: Instant) -> bool {
        let fought = self.next > SHORT;
        self.forget(now);
        self.repairs.push_back(now);
        if self.repairs.len() < FIGHT {
            return false;
        }
        self.next = (self.next * 2).clamp(SHORT * 10, LONG);
        !fought
    }

    /// Takes note that there was nothing to repair at `now`.
    pub(super) fn rested(&mut self, now: Instant) {
        self.forget(now);
        if self.repairs.is_empty() {
            self.next = SHORT;
        }
    }

    fn forget(&mut self, now: Instant) {
        // Repairs are rarer the longer the pauses, so they are remembered for longer.
        let memory = MEMORY.max(self.next * 4);
        while self.repairs.front().is_some_and(|at| now.duration_since(*at) > memory) {
            self.repairs.pop_front();
        }
        while self.repairs.len() > FIGHT {
            self.repairs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_told_once_and_ends() {
        let mut pauses = Pauses::new();
        let mut now = Instant::now();
        let mut told = 0;
        for _ in 0..40 {
            told += usize::from(pauses.repaired(now));
            now += pauses.next();
        }
        assert_eq!(told, 1);
        assert_eq!(pauses.next(), LONG);
        for _ in 0..40 {
            now += LONG;
            pauses.rested(now);
        }
        assert_eq!(pauses.next(), SHORT);
    }

    #[test]
    fn repairs_now_and_then_are_no_fight() {
        let mut pauses = Pauses::new();
        let mut now = Instant::now();
        for _ in 0..100 {
            assert!(!pauses.repaired(now));
            now += Duration::from_secs(3);
        }
        assert_eq!(pauses.next(), SHORT);
    }
}
