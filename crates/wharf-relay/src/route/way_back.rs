//! Whether answers to a client's address come back from a target: what a TCP connection has
//! learned holds for every route to the same target, for UDP has no other sign of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::protocol::Route;
use crate::route::inside::Inside;

/// What is left of removed routes is dropped when there is twice as much as there was, and this.
const LEAST: usize = 64;

/// The way back from one target.
#[derive(Debug, Default)]
pub(crate) struct WayBack {
    /// Until when the client's address is not tried, in milliseconds of the relay's life.
    distrusted: AtomicU64,
    /// When a connection from a client's address was last answered, in the same milliseconds.
    answered: AtomicU64,
}

/// The ways back from all targets.
#[derive(Debug, Default)]
pub(crate) struct WaysBack {
    of: HashMap<Target, Weak<WayBack>>,
    most: usize,
}

/// An address means another target in another network namespace.
type Target = (Option<Ipv4Addr>, Option<Ipv6Addr>, Option<(u64, u64)>);

// === impl WayBack ===

impl WayBack {
    /// Notes that connections from a client's address get no answer.
    pub(super) fn distrust_until(&self, milliseconds: u64) {
        self.distrusted.store(milliseconds, Ordering::Relaxed);
    }

    /// Notes that a connection from a client's address was answered.
    pub(super) fn is_open_at(&self, milliseconds: u64) {
        self.answered.fetch_max(milliseconds, Ordering::Relaxed);
    }

    /// Whether such a connection was answered since then.
    pub(super) fn was_open_since(&self, milliseconds: u64) -> bool {
        self.answered.load(Ordering::Relaxed) >= milliseconds.max(1)
    }

    /// Whether the client's address is worth trying.
    pub(super) fn is_trusted(&self, milliseconds: u64) -> bool {
        self.distrusted.load(Ordering::Relaxed) <= milliseconds
    }
}

// === impl WaysBack ===

impl WaysBack {
    /// The way back from the target of `route`.
    pub(crate) fn of(&mut self, route: &Route, inside: Option<&Inside>) -> Arc<WayBack> {
        let target = (route.target_v4, route.target_v6, inside.map(Inside::identity));
        if let Some(known) = self.of.get(&target).and_then(Weak::upgrade) {
            return known;
        }
        if self.of.len() >= self.most {
            self.of.retain(|_, known| known.strong_count() > 0);
            self.most = 2 * self.of.len() + LEAST;
        }
        let new = Arc::default();
        self.of.insert(target, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(target: u32) -> Route {
        let route = serde_json::json!({
            "id": target.to_string(),
            "proto": "udp",
            "listeners": [],
            "target_v4": Ipv4Addr::from(target),
            "target_v6": null,
            "host_ports": [80, 80],
            "target_ports": [80, 80],
        });
        serde_json::from_value(route).unwrap()
    }

    #[test]
    fn routes_to_one_target_learn_together() {
        let mut ways = WaysBack::default();
        let mut of = |target: u32| ways.of(&route(target), None);
        let (one, same, other) = (of(1), of(1), of(2));
        one.distrust_until(10);
        assert!(!same.is_trusted(9) && same.is_trusted(10) && other.is_trusted(9));
    }

    #[test]
    fn removed_targets_do_not_pile_up() {
        let mut ways = WaysBack::default();
        let kept = ways.of(&route(0), None);
        kept.distrust_until(10);
        for target in 1..10_000 {
            ways.of(&route(target), None);
        }
        assert!(ways.of.len() <= LEAST + 2);
        assert!(!ways.of(&route(0), None).is_trusted(9));
    }
}
