//! What the relay allows itself, and the descriptors it has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Descriptors that no connection may take: control connections, logs, epoll, and copies of
/// listeners on their way to a daemon.
const KEPT_FREE: usize = 256;
/// How long a tenant whose connection was ended by a hand-over may take to come back.
pub(crate) const ORPHAN_LIMIT: Duration = Duration::from_secs(10);

/// Time limits and caps; the defaults are meant for use, the rest for tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a target may take to accept: shorter than the 10 s after which a typical client
    /// gives up, so that the client learns the reason.
    pub connect: Duration,
    /// How long a UDP flow lives without traffic: conntrack's value for unreplied flows.
    pub flow_idle: Duration,
    /// How long a streaming UDP flow lives without traffic: longer than conntrack's 120 s, so
    /// that kernel and relay never disagree to the client's cost.
    pub stream_idle: Duration,
    /// A flow counts as streaming when it has been answered and is at least this old: conntrack's
    /// value; a DNS question is answered at once and needs no long life.
    pub stream_after: Duration,
    /// UDP flows in total; each holds a descriptor and about 3 KiB of kernel memory.
    pub flows: usize,
    /// Streaming flows one client address may hold; more stay short-lived, and make room sooner.
    pub streams_per_client: usize,
    /// How long accepting pauses when descriptors or memory ran out.
    pub accept_pause: Duration,
    /// How long to wait for an answer to a connection made from the client's address before
    /// trying it from the gateway's: whoever answers at all on the same host does so at once, and
    /// a way back that someone has taken away must not cost clients their patience. Longer than the
    /// second after which a first packet is repeated.
    pub transparent: Duration,
    /// How long a TCP connection may carry nothing, unless its route says otherwise.
    pub idle: Option<Duration>,
    /// Bytes that may wait in all for receivers slower than their senders; beyond it each
    /// connection keeps no more than 4 KiB.
    pub waiting_bytes: usize,
    /// Pipes in all, each for 1 MiB at most: three quarters of what the kernel grants a user.
    /// Streams that get none are copied.
    pub pipes: usize,
    /// How long a loop looks for the next event before it sleeps, while events come faster than
    /// this: waking a sleeping thread takes longer than answering a small message.
    pub spin: Duration,
    /// Event loops; `None` for one for each core.
    pub loops: Option<usize>,
}

/// An amount of something, taken in shares: descriptors, so that a flood of connections cannot
/// starve the control socket; bytes that wait; pipes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// A part of a [`Budget`], given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    count: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            flow_idle: Duration::from_secs(30),
            stream_idle: Duration::from_secs(180),
            stream_after: Duration::from_secs(2),
            flows: 8192,
            streams_per_client: 1024,
            accept_pause: Duration::from_millis(100),
            transparent: Duration::from_millis(1500),
            idle: None,
            waiting_bytes: 64 << 20,
            pipes: 48,
            spin: Duration::from_micros(200),
            loops: None,
        }
    }
}

// === impl Budget ===

impl Budget {
    /// A budget of `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// A budget within a limit of `descriptors` open files.
    pub(crate) fn of_descriptors(descriptors: u64) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        Self::new(descriptors.saturating_sub(KEPT_FREE))
    }

    /// Takes `count`; `None` when less is left.
    pub(crate) fn take(self: &Arc<Self>, count: usize) -> Option<Share> {
        let more = |used: usize| used.checked_add(count).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Share { budget: Arc::clone(self), count })
    }

    /// How many may be used.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many are used.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many connections one port may have: two descriptors each, and no port may take more
    /// than half of all descriptors, so that a flood on one leaves the others alive.
    pub(crate) fn connections_per_port(&self) -> usize {
        (self.limit / 4).max(1)
    }
}

// === impl Share ===

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_given_back() {
        let budget = Arc::new(Budget::of_descriptors(266));
        assert_eq!(budget.limit(), 10);
        let share = budget.take(9).unwrap();
        assert!(budget.take(2).is_none());
        assert_eq!(budget.used(), 9);
        drop(share);
        assert_eq!(budget.used(), 0);
        assert!(budget.take(10).is_some());
    }
}
