//! What is counted of questions and answers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers since the server was made.
#[derive(Debug, Default)]
pub struct Counters {
    answered: AtomicU64,
    forwarded: AtomicU64,
    unanswered: AtomicU64,
    refused: AtomicU64,
}

/// What has become of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered from the directory.
    Answered,
    /// Answered by another resolver.
    Forwarded,
    /// No other resolver answered.
    Unanswered,
    /// Turned away: too many at a time, or a way out that is closed.
    Refused,
}

// === impl Counters ===

impl Counters {
    pub(crate) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Answered => &self.answered,
            Outcome::Forwarded => &self.forwarded,
            Outcome::Unanswered => &self.unanswered,
            Outcome::Refused => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Every count by what it is of, for metrics.
    pub fn all(&self) -> [(&'static str, u64); 4] {
        [
            ("answered", self.answered.load(Ordering::Relaxed)),
            ("forwarded", self.forwarded.load(Ordering::Relaxed)),
            ("unanswered", self.unanswered.load(Ordering::Relaxed)),
            ("refused", self.refused.load(Ordering::Relaxed)),
        ]
    }
}
