//! How often, and after which pauses, something is asked for again.

use std::time::Duration;

/// As Docker: five times without any progress, and it is given up.
const TRIES: u32 = 5;
/// For questions somebody waits for at a terminal.
const SHORT_TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A registry that is started anew is back by then.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Longer than this nobody waits at a terminal.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Counts tries that came to nothing.
#[derive(Debug)]
pub(super) struct Tries {
    failed: u32,
    limit: u32,
}

// === impl Tries ===

impl Tries {
    /// For bytes of which some have come already.
    pub(super) fn patient() -> Self {
        Self { failed: 0, limit: TRIES }
    }

    /// For an answer that is wanted now.
    pub(super) fn short() -> Self {
        Self { failed: 0, limit: SHORT_TRIES }
    }

    /// Something came of the last one.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next; `None` when it was the last.
    pub(super) fn failed(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= self.limit || asked.is_some_and(|asked| asked > LONGEST_ASKED) {
            return None;
        }
        let own = FIRST_PAUSE.saturating_mul(1 << (2 * (self.failed - 1)));
        Some(asked.unwrap_or(own.min(LONGEST_PAUSE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut tries = Tries::patient();
        let pauses: Vec<_> = std::iter::from_fn(|| tries.failed(None)).collect();
        let seconds: Vec<_> = pauses.iter().map(Duration::as_secs_f32).collect();
        assert_eq!(seconds, [0.5, 2.0, 8.0, 15.0]);
    }

    #[test]
    fn progress_begins_anew_and_a_server_may_ask_for_its_own_pause() {
        let mut tries = Tries::patient();
        assert_eq!(tries.failed(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(tries.failed(Some(Duration::from_secs(700))), None);
        tries.progressed();
        assert_eq!(tries.failed(None), Some(FIRST_PAUSE));
    }
}
