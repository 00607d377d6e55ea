//! Firewalls of others: what they do to what is published.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wharf_plan::firewall::{Family, Incoming, Obstacle, exposure, input_obstacle};
use wharf_plan::{HostFacts, Path, PathPlan, Plane};
use wharf_spec::Publication;

use crate::daemon::Daemon;
use crate::error::Result;
use crate::planes::TABLE;

/// How long a firewall may take to make its rules anew until what is there counts as meant. firewalld
/// takes half a second, on an overloaded machine six.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// Since when a firewall is making its rules anew, if one is.
#[derive(Debug, Default)]
pub(crate) struct Reload(Mutex<Option<Instant>>);

// === impl Reload ===

impl Reload {
    /// Whether to wait for its end, given whether one is seen `now`.
    fn is_awaited(&self, seen: bool, now: Instant) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = seen.then(|| since.unwrap_or(now));
        since.is_some_and(|since| now.duration_since(since) < RELOAD_LIMIT)
    }
}

// === impl Daemon ===

impl Daemon {
    /// Reads others' rules again and, if they have changed, makes what is published fit them.
    /// Answers whether they have.
    pub(crate) fn look_at_firewalls(&self) -> Result<bool> {
        let found = wharf_nft::foreign::read(TABLE);
        for unread in &found.unread {
            tracing::debug!(unread, "rules of others that cannot be read");
        }
        // Nobody new gets in meanwhile, on no plane. To change over to the relay and back would only
        // have clients meet rules that are half made.
        if self.reload.is_awaited(found.ruleset.is_being_reloaded(), Instant::now()) {
            return Ok(false);
        }
        if *self.planes.facts().firewall == found.ruleset {
            return Ok(false);
        }
        self.planes.note_facts(|facts| facts.firewall = Arc::new(found.ruleset));
        self.reconcile()?;
        Ok(true)
    }

    /// What people should know who publish beside somebody's firewall: that it is walked past, or
    /// that it blocks the port. A line for each of `publications` at most.
    pub(crate) fn firewall_notes(&self, publications: &[Publication]) -> Vec<String> {
        let facts = self.planes.facts();
        let notes = publications.iter().filter_map(|publication| {
            let (served, _) = self.planes.served(&publication.id);
            served?.paths.iter().find_map(|path| note(&facts, publication, path))
        });
        notes.collect()
    }
}

/// What others' INPUT rules mean for one path to a publication.
fn note(facts: &HostFacts, publication: &Publication, path: &PathPlan) -> Option<String> {
    let family = match path.path {
        Path::ExternalV4 => Family::V4,
        Path::ExternalV6 => Family::V6,
        _ => return None,
    };
    let asked = incoming(publication, family)?;
    let obstacle = input_obstacle(&facts.firewall, asked)?;
    match path.plane {
        Plane::Nft => Some(exposure(&obstacle, publication.proto, publication.host.ports)),
        Plane::Relay => Some(blocked(&obstacle, asked)),
        Plane::Ebpf | Plane::Routed => None,
    }
}

/// What other hosts send to a publication. Nobody's INPUT rules are asked about one address of
/// several.
fn incoming(publication: &Publication, family: Family) -> Option<Incoming<'static>> {
    let v4 = family == Family::V4;
    let mut addresses = publication.host.addresses.iter().filter(|a| a.is_ipv4() == v4);
    let address = addresses.find(|address| !address.is_loopback())?;
    Some(Incoming {
        family,
        proto: publication.proto,
        ports: publication.host.ports,
        address: (!address.is_unspecified()).then_some(*address),
        arrives_by: None,
        client: None,
    })
}

fn blocked(obstacle: &Obstacle, asked: Incoming<'_>) -> String {
    let (ports, proto, remedy) = (asked.ports, asked.proto, asked.remedy(obstacle));
    format!("other hosts cannot reach {ports}/{proto}: {obstacle}; `{remedy}` lets them in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_awaited_but_not_for_ever() {
        let (reload, began) = (Reload::default(), Instant::now());
        assert!(!reload.is_awaited(false, began));
        assert!(reload.is_awaited(true, began));
        assert!(reload.is_awaited(true, began + RELOAD_LIMIT / 2));
        assert!(!reload.is_awaited(true, began + RELOAD_LIMIT));
        assert!(!reload.is_awaited(false, began + RELOAD_LIMIT));
        assert!(reload.is_awaited(true, began + RELOAD_LIMIT), "another one");
    }
}
