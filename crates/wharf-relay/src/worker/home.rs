//! Which processor a loop runs on.
//!
//! The scheduler moves a thread that is woken towards whoever wakes it, and those it wakes towards it.
//! With many clients in conversation, loops and ends chase each other over the processors, and each
//! wake across two of them is an interrupt, which costs a virtual machine more than the message does.
//! So a loop that is crowded stays where it is, and the ends gather around it. Any other goes where
//! there is room: a single conversation wants an idle processor.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How often it is decided.
const PERIOD: Duration = Duration::from_millis(100);
/// Events found at a time that make a crowd.
const CROWD: usize = 3;
/// So many crowds in a period make a loop stay, and fewer than these let it go again. A busy loop can
/// serve a thousand or two in that time.
const STAY: u32 = 100;
const GO: u32 = 10;

/// Where a loop is at home.
#[derive(Debug)]
pub(super) struct Home {
    /// None where it makes no difference: there is one processor, or they could not be told.
    places: Option<Places>,
    stays: bool,
    crowds: u32,
    decides: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Places {
    all: CpuSet,
    own: CpuSet,
}

// === impl Home ===

impl Home {
    /// For the loop at `seat`, called by its thread.
    pub(super) fn new(seat: usize, now: Instant) -> Self {
        let places = sched_getaffinity(None).ok().and_then(|all| Places::new(all, seat));
        Self { places, stays: false, crowds: 0, decides: now + PERIOD }
    }

    /// Takes note of the events of one turn.
    pub(super) fn note(&mut self, events: usize, now: Instant) {
        if now >= self.decides + PERIOD {
            // Nothing has happened since; what was then says nothing of now.
            self.crowds = 0;
        }
        self.crowds += u32::from(events >= CROWD);
        if now < self.decides {
            return;
        }
        let stays = self.crowds >= if self.stays { GO } else { STAY };
        (self.crowds, self.decides) = (0, now + PERIOD);
        if let Some(places) = self.places.filter(|_| stays != self.stays) {
            self.stays = stays;
            let place = if stays { places.own } else { places.all };
            // It fails when the processor has been taken from us since; then it runs elsewhere.
            let _moved = sched_setaffinity(None, &place);
        }
    }
}

// === impl Places ===

impl Places {
    fn new(all: CpuSet, seat: usize) -> Option<Self> {
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|nth| all.is_set(*nth)).collect();
        if processors.len() < 2 {
            return None;
        }
        let mut own = CpuSet::new();
        own.set(*processors.get(seat % processors.len())?);
        Some(Self { all, own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(home: &mut Home, crowds: u32) -> CpuSet {
        (0..crowds).for_each(|_| home.note(CROWD, home.decides - PERIOD));
        home.note(0, home.decides);
        sched_getaffinity(None).unwrap()
    }

    #[test]
    fn a_crowded_loop_stays_until_the_crowd_has_gone() {
        let all = sched_getaffinity(None).unwrap();
        let mut home = Home::new(1, Instant::now());
        let Some(places) = home.places else { return eprintln!("skipped: one processor") };
        assert_eq!(places.own.count(), 1);
        assert_eq!(period(&mut home, STAY - 1), all);
        assert_eq!(period(&mut home, STAY), places.own);
        assert_eq!(period(&mut home, GO), places.own);
        assert_eq!(period(&mut home, GO - 1), all);
        assert_eq!(period(&mut home, STAY), places.own);
        (0..STAY).for_each(|_| home.note(CROWD, home.decides - PERIOD));
        home.note(0, home.decides + PERIOD);
        assert_eq!(sched_getaffinity(None).unwrap(), all, "it was long ago");
    }

    #[test]
    fn seats_are_spread_over_what_is_allowed() {
        let mut all = CpuSet::new();
        [3, 5].into_iter().for_each(|nth| all.set(nth));
        let own = |seat| Places::new(all, seat).unwrap().own;
        assert!(own(0).is_set(3) && own(1).is_set(5) && own(2).is_set(3));
        all.unset(5);
        assert!(Places::new(all, 0).is_none());
    }
}
