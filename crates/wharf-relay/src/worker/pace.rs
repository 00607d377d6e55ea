//! When to sleep and when to look again.
//!
//! Waking a thread costs several microseconds, many more when its processor has gone to sleep,
//! and a small message is answered in less. So a loop whose events come fast looks for the next
//! one a little longer before it sleeps. It does so only while that pays: an idle loop sleeps at
//! once, and one that is always busy finds its events without waiting. And only while nobody else
//! wants the processor: a loop that was interrupted while it looked leaves it alone for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::poller::{Events, Poller};

/// So many short waits in a row make looking worth while; more are not remembered.
const CONFIDENT: i16 = 4;
const MOST: i16 = 8;
/// More events than this at a time are no conversation.
const FEW: usize = 2;
/// One look takes a fraction of a microsecond. If it took this long, somebody else was on the
/// processor meanwhile.
const INTERRUPTED: Duration = Duration::from_micros(30);
/// So many short waits are slept through before looking is tried again.
const PENALTY: i16 = 64;

/// How fast events come.
#[derive(Debug)]
pub(crate) struct Pace {
    spin: Duration,
    /// Short waits lately, less those that were long.
    confidence: i16,
}

/// The loops that look at this moment: half of the processors at most, so that there is always
/// one for whoever is looked for.
#[derive(Debug)]
pub(crate) struct Lookers {
    now: AtomicUsize,
    most: usize,
}

// === impl Lookers ===

impl Lookers {
    pub(crate) fn new(processors: usize) -> Self {
        Self { now: AtomicUsize::new(0), most: processors / 2 }
    }

    fn enter(&self) -> bool {
        let one_more = |now: usize| (now < self.most).then_some(now + 1);
        self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Pace ===

impl Pace {
    pub(crate) fn new(spin: Duration) -> Self {
        Self { spin, confidence: 0 }
    }

    /// Waits for events, at most `limit`. Answers whether somebody called [`Poller::wake`].
    pub(crate) fn wait(
        &mut self,
        poller: &Poller,
        events: &mut Events,
        limit: Option<Duration>,
        lookers: &Lookers,
    ) -> bool {
        if limit == Some(Duration::ZERO) || self.spin.is_zero() {
            return poller.wait(events, limit);
        }
        let began = Instant::now();
        if self.confidence >= CONFIDENT && lookers.enter() {
            let most = limit.map_or(self.spin, |limit| limit.min(self.spin));
            let woken = self.look(poller, events, began, most);
            lookers.leave();
            if woken || events.len() > 0 {
                return woken;
            }
        }
        let woken = poller.wait(events, limit);
        self.note(began.elapsed() < self.spin, events.len());
        woken
    }

    /// Looks for events without sleeping, for `most` at most.
    fn look(
        &mut self,
        poller: &Poller,
        events: &mut Events,
        began: Instant,
        most: Duration,
    ) -> bool {
        let mut last = began;
        loop {
            let woken = poller.wait(events, Some(Duration::ZERO));
            let now = Instant::now();
            if woken || events.len() > 0 {
                self.note(true, events.len());
                return woken;
            }
            if now - last > INTERRUPTED {
                self.confidence = -PENALTY;
                return false;
            }
            if now - began >= most {
                return false;
            }
            last = now;
        }
    }

    /// Takes note of a wait. Where several wait to be served, the processor is better left to
    /// them than spent on looking.
    fn note(&mut self, short: bool, found: usize) {
        self.confidence = match short {
            true if found <= FEW => (self.confidence + 1).min(MOST),
            true => self.confidence.min(0),
            false if self.confidence > 0 => self.confidence - 2,
            false => self.confidence,
        };
    }
}
