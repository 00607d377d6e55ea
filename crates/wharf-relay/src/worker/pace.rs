//! When to sleep and when to look again.
//!
//! Waking a thread costs several microseconds, more on a virtual machine, and a small message is
//! answered in less. So a loop whose events come fast looks for the next one a little longer
//! before it sleeps. It does so only while that pays: an idle loop sleeps at once, and one that is
//! always busy finds its events without waiting.

use std::time::{Duration, Instant};

use crate::poller::{Events, Poller};

/// So many short waits in a row make looking worth while, and so many in vain end it.
const CONFIDENT: u8 = 4;
const MOST: u8 = 8;
/// More events than this at a time are no conversation.
const FEW: usize = 2;

/// How fast events come.
#[derive(Debug)]
pub(crate) struct Pace {
    spin: Duration,
    /// Short waits lately, less those that were long.
    confidence: u8,
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
    ) -> bool {
        if limit == Some(Duration::ZERO) || self.spin.is_zero() {
            return poller.wait(events, limit);
        }
        let began = Instant::now();
        if self.confidence >= CONFIDENT {
            let most = limit.map_or(self.spin, |limit| limit.min(self.spin));
            loop {
                let woken = poller.wait(events, Some(Duration::ZERO));
                if woken || events.len() > 0 {
                    self.note(true, events.len());
                    return woken;
                }
                if began.elapsed() >= most {
                    break;
                }
            }
        }
        let woken = poller.wait(events, limit);
        let short = began.elapsed() < self.spin;
        self.note(short, events.len());
        woken
    }

    /// Takes note of a wait. Where several wait to be served, the processor is better left to
    /// them than spent on looking.
    fn note(&mut self, short: bool, found: usize) {
        self.confidence = match short {
            true if found <= FEW => (self.confidence + 1).min(MOST),
            true => 0,
            false => self.confidence.saturating_sub(2),
        };
    }
}
