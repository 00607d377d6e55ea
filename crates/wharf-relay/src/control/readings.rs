//! Whether a successor has read what this relay counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often everything that is counted has been asked for, and was told.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    begun: AtomicU64,
    done: AtomicU64,
    /// Nobody will ask any more.
    over: AtomicBool,
}

// === impl Readings ===

impl Readings {
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// Told, or not to be told to somebody who is gone.
    pub(super) fn end(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end_all(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// The first reading that has everything that is counted by now. There is one who asks, for one
    /// thing at a time.
    pub(crate) fn next(&self) -> u64 {
        self.begun.load(Ordering::SeqCst) + 1
    }

    /// Whether there was that reading, or there will be none.
    pub(crate) fn has_been(&self, reading: u64) -> bool {
        self.done.load(Ordering::SeqCst) >= reading || self.over.load(Ordering::SeqCst)
    }
}
