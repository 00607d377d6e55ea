//! One request at a time, and nobody waits for his turn beyond his limit.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::wire::READY;

#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    last: u32,
}

/// The right to ask; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    number: u32,
}

// === impl Turns ===

impl Turns {
    /// Numbers begin anywhere: while one process takes another's place both have the connection,
    /// and neither must take an answer to the other for one to itself.
    pub(super) fn new() -> Self {
        let [a, b, c, d, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
        let state = State { taken: false, last: u32::from_le_bytes([a, b, c, d]) };
        Self { state: Mutex::new(state), free: Condvar::new() }
    }

    /// Waits for a turn; `None` when `deadline` comes first.
    pub(super) fn take(&self, deadline: Instant) -> Option<Turn<'_>> {
        let mut state = self.state();
        while state.taken {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.free.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.taken = true;
        // The announcement's number is nobody's, also after 2^32 requests.
        let next = state.last.wrapping_add(1);
        state.last = if next == READY { next.wrapping_add(1) } else { next };
        Some(Turn { turns: self, number: state.last })
    }

    /// The state is whole at every moment, whatever happened to another thread.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// The number of the request that may be made.
    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.state().taken = false;
        self.turns.free.notify_one();
    }
}
