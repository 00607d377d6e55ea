//! Putting right what others have changed: our table, policy rules, bridges, kernel settings.
//!
//! Each answers what was wrong, a few words for each thing, and nothing when nothing was.

use wharf_host::link::{Link, Links};
use wharf_host::probe;
use wharf_network::{Network, ensure_bridge, ensure_routes, lost_address, rejoin};

use crate::daemon::Daemon;
use crate::error::Result;
use crate::record::{ContainerRecord, Phase};

/// More differences than these are one sentence.
const TOLD: usize = 5;

// === impl Daemon ===

impl Daemon {
    /// Makes our table what it was.
    pub(crate) fn mend_table(&self) -> Result<Vec<String>> {
        let mut wrong = self.planes.repair()?;
        let more = wrong.len().saturating_sub(TOLD);
        wrong.truncate(TOLD);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        Ok(wrong)
    }

    /// Lays the way back for clients' addresses again where it is not.
    pub(crate) fn mend_way_back(&self) -> Result<Vec<String>> {
        let laid = self.planes.keep_way_back()?;
        Ok(if laid { vec!["the way back for clients' addresses was gone".into()] } else { vec![] })
    }

    /// Makes bridges anew, and puts containers on them again; then tries ports again whose address
    /// was not there.
    pub(crate) fn mend_links(&self) -> Result<Vec<String>> {
        self.planes.note_addresses();
        let links = Links::open()?.list()?;
        let networks = self.ledger.read(|state| state.networks.clone());
        let mut wrong = Vec::new();
        for network in networks.values().filter(|network| self.planes.is_up(&network.name)) {
            if let Some(what) = ailment(&links, network)? {
                self.mend_bridge(network)?;
                wrong.push(what);
            }
            wrong.extend(self.mend_routes(&links, network)?);
        }
        for record in self.running_records() {
            for endpoint in record.places().map(|place| place.endpoint) {
                let master = links.iter().find(|link| link.name == endpoint.bridge);
                let veth = links.iter().find(|link| link.name == endpoint.host_veth);
                let alone =
                    veth.is_some_and(|veth| veth.master != master.map(|it| it.index) || !veth.up);
                if alone && rejoin(endpoint)? {
                    wrong.push(format!("container {} was off its network", record.name));
                }
            }
        }
        wrong.extend(self.retry_lost());
        Ok(wrong)
    }

    fn mend_bridge(&self, network: &Network) -> Result<()> {
        // Nobody shall find half of it who is starting a container.
        let _alone = self.bringing_up.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ensure_bridge(network)?;
        Ok(())
    }

    fn mend_routes(&self, links: &[Link], network: &Network) -> Result<Vec<String>> {
        let bridge = &network.bridge;
        // Who takes the network down meanwhile shall find none of them made anew.
        let _alone = self.bringing_up.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let up = links.iter().find(|link| link.name == *bridge && link.up);
        let Some(link) = up.filter(|_| self.planes.is_up(&network.name)) else {
            return Ok(Vec::new());
        };
        let gone = ensure_routes(network, link.index)?;
        Ok(gone.iter().map(|net| format!("the route to {net} by {bridge} was gone")).collect())
    }

    /// Notices what nobody tells of: forwarding switched on or off, ports and namespaces that are
    /// there now and were not.
    pub(crate) fn mend_settings(&self) -> Result<Vec<String>> {
        let now = probe::forwarding();
        let facts = self.planes.facts();
        let mut wrong = Vec::new();
        if (facts.forwarding_v4, facts.forwarding_v6) != now {
            self.planes.note_facts(|facts| (facts.forwarding_v4, facts.forwarding_v6) = now);
            self.reconcile()?;
            wrong.push("forwarding was switched".to_owned());
        }
        wrong.extend(self.retry_lost());
        wrong.extend(self.planes.mend_inside(self)?);
        wrong.extend(self.planes.mend_routes(self)?);
        wrong.extend(self.planes.mend_local());
        Ok(wrong)
    }

    /// Tries again what could not be had. A port that is there again was wrong before.
    fn retry_lost(&self) -> Vec<String> {
        let found = self.planes.retry_lost(self);
        let told = found.iter().map(|id| {
            self.events.tell("publication", "restore", &id.0, None);
            format!("publication {id} was down")
        });
        told.collect()
    }

    fn running_records(&self) -> Vec<ContainerRecord> {
        let runs = |record: &&ContainerRecord| record.phase == Phase::Running;
        self.ledger.read(|state| state.containers.values().filter(runs).cloned().collect())
    }
}

fn ailment(links: &[Link], network: &Network) -> Result<Option<String>> {
    let bridge = &network.bridge;
    Ok(match links.iter().find(|link| link.name == *bridge) {
        None => Some(format!("bridge {bridge} was gone")),
        Some(link) if !link.up => Some(format!("bridge {bridge} was down")),
        Some(link) => lost_address(network, link.index)?
            .map(|address| format!("bridge {bridge} had lost its address {address}")),
    })
}
