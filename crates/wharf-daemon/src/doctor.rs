//! `wharf doctor`: what this host can do, what gets in the way of published ports, and the
//! remedies.
//!
//! Every check looks at the live system and changes nothing. A note is worth knowing; a problem
//! keeps something that is promised from being held.

mod engines;
mod firewall;
mod kernel;
mod own;
mod settings;

use wharf_api::Check;
use wharf_host::link::{Link, Links};
use wharf_plan::HostFacts;

use crate::daemon::Daemon;
use crate::ledger::State;
use crate::record::PublicationRecord;

/// What checks look at, besides the kernel.
struct Patient<'a> {
    daemon: &'a Daemon,
    facts: HostFacts,
    records: Vec<PublicationRecord>,
    /// The bridges of our networks that are up.
    bridges: Vec<String>,
    links: Vec<Link>,
}

// === impl Daemon ===

impl Daemon {
    /// Looks at everything that published ports depend on.
    pub fn examine(&self) -> Vec<Check> {
        let (records, bridges) = self.ledger.read(|state| (records(state), bridges(self, state)));
        let links = Links::open().and_then(|mut links| links.list()).unwrap_or_default();
        self.planes.look_for_local();
        let facts = self.planes.facts();
        let patient = Patient { daemon: self, facts, records, bridges, links };
        let rooms: [fn(&Patient<'_>) -> Vec<Check>; 5] =
            [kernel::checks, settings::checks, firewall::checks, engines::checks, own::checks];
        rooms.iter().flat_map(|room| room(&patient)).collect()
    }
}

fn records(state: &State) -> Vec<PublicationRecord> {
    state.publications.values().cloned().collect()
}

fn bridges(daemon: &Daemon, state: &State) -> Vec<String> {
    let up = state.networks.values().filter(|network| daemon.planes.is_up(&network.name));
    up.map(|network| network.bridge.clone()).collect()
}

fn ok(check: &str, text: impl Into<String>) -> Check {
    Check {
        check: check.to_owned(),
        status: "ok".to_owned(),
        text: text.into(),
        effect: None,
        remedy: Vec::new(),
    }
}

fn note(check: &str, text: impl Into<String>, effect: &str, remedy: &[&str]) -> Check {
    let remedy = remedy.iter().map(ToString::to_string).collect();
    Check { status: "note".to_owned(), effect: Some(effect.to_owned()), remedy, ..ok(check, text) }
}

fn problem(check: &str, text: impl Into<String>, effect: &str, remedy: &[&str]) -> Check {
    Check { status: "problem".to_owned(), ..note(check, text, effect, remedy) }
}
