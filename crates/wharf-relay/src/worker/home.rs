//! Which processor a loop runs on.
//!
//! The scheduler moves a thread that is woken towards whoever wakes it. With many clients in conversation,
//! a loop is chased over the processors, and each wake across two of them may be an interrupt, which costs
//! a virtual machine more than the message does. So a loop that is crowded stays on one of its own. The
//! ends do not gather around it, for the scheduler leaves those alone whom a waker of many wakes
//! (`wake_wide`): connections and messages go where they are (`crate::tcp::moving`,
//! `crate::tcp::errands`). Any other loop goes where there is room: a single conversation wants an idle
//! processor.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How often it is decided.
pub(crate) const PERIOD: Duration = Duration::from_millis(20);
/// Events found at a time that make a crowd.
const CROWD: usize = 3;
/// So many crowds in a period make a loop stay, and fewer than these let it go again. A busy loop
/// serves a hundred or two in that time.
const STAY: u32 = 20;
const GO: u32 = 2;
/// So often in a period it may be asked where a connection belongs, which takes two system calls: a
/// thousandth of the time.
const LOOKS: u32 = 64;

/// Where a loop is at home.
#[derive(Debug)]
pub(crate) struct Home {
    seat: usize,
    /// Loops of this process.
    loops: usize,
    /// While it stays.
    place: Option<Place>,
    crowds: u32,
    looks: u32,
    decides: Instant,
}

/// What a loop may run on while it stays, and what it might before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    own: CpuSet,
    before: CpuSet,
}

// === impl Home ===

impl Home {
    /// For the loop at `seat` of so many.
    pub(super) fn new(seat: usize, loops: usize, now: Instant) -> Self {
        Self { seat, loops, place: None, crowds: 0, looks: 0, decides: now + PERIOD }
    }

    /// Takes note of the events of one turn; called by the loop's thread.
    pub(super) fn note(&mut self, events: usize, now: Instant) {
        if now >= self.decides + PERIOD {
            // Nothing has happened since; what was then says nothing of now.
            self.crowds = 0;
        }
        self.crowds += u32::from(events >= CROWD);
        if now < self.decides {
            return;
        }
        match self.place {
            None if self.crowds >= STAY => self.stay(),
            Some(place) if self.crowds < GO => self.go(place),
            _ => {}
        }
        (self.crowds, self.looks, self.decides) = (0, LOOKS, now + PERIOD);
    }

    /// Whether it stays.
    pub(super) fn stays(&self) -> bool {
        self.place.is_some()
    }

    /// Whether it may be asked where one more connection belongs.
    pub(crate) fn may_look(&mut self) -> bool {
        let left = self.looks;
        self.looks = left.saturating_sub(1);
        left > 0
    }

    /// The loop that is, or would be, on a processor when it stays.
    pub(crate) fn seat_at(&self, processor: usize) -> Option<usize> {
        self.place?.seat_at(processor)
    }

    /// Of the first of loops on these processors, which stays there.
    #[cfg(test)]
    pub(crate) fn among(processors: &[usize]) -> Self {
        let mut before = CpuSet::new();
        processors.iter().for_each(|nth| before.set(*nth));
        let place = Some(Place { own: before, before });
        let decides = Instant::now() + Duration::from_secs(3600);
        Self { seat: 0, loops: processors.len(), place, crowds: GO, looks: LOOKS, decides }
    }

    fn stay(&mut self) {
        let allowed = sched_getaffinity(None).ok();
        let place = allowed.and_then(|before| Place::new(before, self.seat, self.loops));
        self.place = place.filter(|place| sched_setaffinity(None, &place.own).is_ok());
    }

    /// Leaves it where it is when somebody else has decided about it meanwhile.
    fn go(&mut self, place: Place) {
        self.place = None;
        if sched_getaffinity(None).is_ok_and(|now| now == place.own) {
            // It fails when all of these have been taken from us since.
            let _free = sched_setaffinity(None, &place.before);
        }
    }
}

// === impl Place ===

impl Place {
    /// None unless there is a loop for each processor: loops of several processes would all choose the
    /// same few, however many others are idle.
    fn new(before: CpuSet, seat: usize, loops: usize) -> Option<Self> {
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|nth| before.is_set(*nth));
        if loops < 2 || usize::try_from(before.count()).ok() != Some(loops) {
            return None;
        }
        let mut own = CpuSet::new();
        own.set(allowed.nth(seat)?);
        Some(Self { own, before })
    }

    fn seat_at(&self, processor: usize) -> Option<usize> {
        let before = |nth: &usize| self.before.is_set(*nth);
        (processor < CpuSet::MAX_CPU && before(&processor))
            .then(|| (0..processor).filter(before).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(home: &mut Home, crowds: u32) {
        (0..crowds).for_each(|_| home.note(CROWD, home.decides - PERIOD));
    }

    fn period(home: &mut Home, crowds: u32) -> CpuSet {
        gather(home, crowds);
        home.note(0, home.decides);
        sched_getaffinity(None).unwrap()
    }

    #[test]
    fn a_crowded_loop_stays_until_the_crowd_has_gone() {
        let all = sched_getaffinity(None).unwrap();
        let loops = usize::try_from(all.count()).unwrap();
        let mut home = Home::new(loops - 1, loops, Instant::now());
        let Some(place) = Place::new(all, loops - 1, loops) else {
            return eprintln!("skipped: there is one processor");
        };
        assert_eq!(place.own.count(), 1);
        assert_eq!(period(&mut home, STAY - 1), all);
        assert_eq!(period(&mut home, STAY), place.own);
        assert_eq!(period(&mut home, GO), place.own);
        assert_eq!(period(&mut home, GO - 1), all);
        assert_eq!(period(&mut home, STAY), place.own);
        gather(&mut home, STAY);
        home.note(0, home.decides + PERIOD);
        assert_eq!(sched_getaffinity(None).unwrap(), all, "it was long ago");
    }

    #[test]
    fn looks_are_bounded_in_each_period() {
        let mut home = Home::among(&[3, 5]);
        home.note(0, home.decides);
        let looks = |home: &mut Home| (0..1000).filter(|_| home.may_look()).count();
        assert_eq!((looks(&mut home), looks(&mut home)), (64, 0));
        home.note(0, home.decides);
        assert_eq!(looks(&mut home), 64);
    }

    #[test]
    fn loops_share_out_what_is_allowed_if_there_is_one_for_each() {
        let mut all = CpuSet::new();
        [3, 5].into_iter().for_each(|nth| all.set(nth));
        let own = |seat| Place::new(all, seat, 2).unwrap().own;
        assert!(own(0).is_set(3) && own(1).is_set(5));
        let place = Place::new(all, 0, 2).unwrap();
        let seats = [2, 3, 4, 5, usize::MAX].map(|processor| place.seat_at(processor));
        assert_eq!(seats, [None, Some(0), None, Some(1), None]);
        assert_eq!(Place::new(all, 0, 1), None);
        assert_eq!(Place::new(all, 0, 3), None);
    }
}
