//! Which flow makes room for a new one.
//!
//! Those that nobody has answered go first, the oldest ahead, so that a flood of strangers does not
//! end a conversation. But an eighth of the table is theirs: were they fewer, then in a table full of
//! answered flows, such as questions of DNS that are over, a newcomer would make room for the next
//! one before it could be answered. So where they are that few, the oldest answered flow goes, and
//! where all others stream, the one that was quiet for longest.
//!
//! Everything here takes a time that grows with the logarithm of the number of flows, and there is
//! exactly one entry for each.

use std::collections::BTreeSet;
use std::time::Instant;

/// The part of the flows that may be unanswered before one of these makes room.
const PART: usize = 8;

/// What a flow has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The target has said nothing.
    Unanswered,
    /// It has, but the flow may be over.
    Answered,
    /// It lasts. Traffic after `seen` is not known here.
    Streams { seen: Instant },
}

/// All flows of a table by number, a greater one for a younger flow.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    unanswered: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    streams: BTreeSet<(Instant, u64)>,
}

// === impl Ranks ===

impl Ranks {
    pub(super) fn enter(&mut self, id: u64, standing: Standing) {
        match standing {
            Standing::Unanswered => self.unanswered.insert(id),
            Standing::Answered => self.answered.insert(id),
            Standing::Streams { seen } => self.streams.insert((seen, id)),
        };
    }

    pub(super) fn leave(&mut self, id: u64, standing: Standing) {
        match standing {
            Standing::Unanswered => self.unanswered.remove(&id),
            Standing::Answered => self.answered.remove(&id),
            Standing::Streams { seen } => self.streams.remove(&(seen, id)),
        };
    }

    /// The flow that makes room, as far as is known here; `None` if there is none.
    pub(super) fn next(&self) -> Option<u64> {
        let unanswered = self.unanswered.first().copied();
        if self.unanswered.len() > (self.len() / PART).max(1) {
            return unanswered;
        }
        let stream = || self.streams.first().map(|(_, id)| *id);
        self.answered.first().copied().or_else(stream).or(unanswered)
    }

    fn len(&self) -> usize {
        self.unanswered.len() + self.answered.len() + self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Takes out flows until there are none; their numbers in that order.
    fn order(mut ranks: Ranks, of: impl Fn(u64) -> Standing) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(id) = ranks.next() {
            ranks.leave(id, of(id));
            order.push(id);
        }
        order
    }

    #[test]
    fn strangers_go_before_conversations_and_conversations_before_the_last_stranger() {
        let now = Instant::now();
        let of = |id| match id {
            0 | 1 => Standing::Streams { seen: now - Duration::from_secs(id) },
            2 | 5 => Standing::Answered,
            _ => Standing::Unanswered,
        };
        let mut ranks = Ranks::default();
        (0..8).for_each(|id| ranks.enter(id, of(id)));
        assert_eq!(order(ranks, of), [3, 4, 6, 2, 5, 1, 0, 7]);
    }

    #[test]
    fn a_flood_takes_an_eighth_of_a_table_full_of_conversations() {
        let mut ranks = Ranks::default();
        (0..64).for_each(|id| ranks.enter(id, Standing::Answered));
        let mut gone = Vec::new();
        for id in 64..1000 {
            let next = ranks.next().unwrap();
            let standing = if next < 64 { Standing::Answered } else { Standing::Unanswered };
            ranks.leave(next, standing);
            ranks.enter(id, Standing::Unanswered);
            gone.push(next);
        }
        // One more than is theirs is there when the first of them goes.
        assert!(gone.iter().take(9).copied().eq(0..9));
        assert!(gone.iter().skip(9).copied().eq(64..64 + 927));
    }
}
