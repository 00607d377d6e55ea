//! Publications of other engines' containers, kept in line with what becomes of those.

use std::collections::BTreeSet;
use std::sync::Arc;

use wharf_engine::Error as EngineError;
use wharf_spec::{Engine, Publication, Target};

use crate::clock;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::flows;
use crate::record::PublicationRecord;

// === impl Daemon ===

impl Daemon {
    /// Whether something of `engine`'s containers is published.
    pub(crate) fn publishes_for(&self, engine: Engine) -> bool {
        self.ledger.read(|state| {
            state.publications.values().any(|record| container_of(record, engine).is_some())
        })
    }

    /// Looks at the container `id` of `engine`, or at all that have something published, and has
    /// their publications follow. What goes wrong with one is told and does not concern the others.
    pub(crate) fn refresh_foreign(self: &Arc<Self>, engine: Engine, id: Option<&str>) {
        let published: BTreeSet<String> = self.ledger.read(|state| {
            let records = state.publications.values();
            let ids = records.filter_map(|record| container_of(record, engine));
            ids.map(str::to_owned).collect()
        });
        let concerned = published.iter().filter(|known| id.is_none_or(|id| id == **known));
        for container in concerned {
            let turn = format!("{engine}:{container}");
            if let Err(error) = self.in_turn(&turn, || self.refresh_one(engine, container)) {
                tracing::warn!(%error, %engine, container, "following a container");
            }
        }
    }

    fn refresh_one(&self, engine: Engine, id: &str) -> Result<()> {
        let records: Vec<PublicationRecord> = self.ledger.read(|state| {
            let records = state.publications.values();
            records.filter(|r| container_of(r, engine) == Some(id)).cloned().collect()
        });
        match self.find_foreign(engine, id) {
            Ok(target) => records.iter().try_for_each(|record| self.lead_to(record, &target)),
            Err(Error::Engine(EngineError::NoContainer { .. })) => self.end_with_target(&records),
            // It runs no more, or cannot be reached as it is now.
            Err(error @ (Error::Conflict(_) | Error::Invalid(_))) => {
                let reason = error.to_string();
                records.iter().try_for_each(|record| self.suspend(record, &reason))
            }
            // The engine is busy or away: what is published goes on as it is.
            Err(error) => Err(error),
        }
    }

    /// Has a publication lead to its target as that is now.
    fn lead_to(&self, record: &PublicationRecord, target: &Target) -> Result<()> {
        if record.suspended.is_none() && record.publication.target == *target {
            return Ok(());
        }
        let publication = Publication { target: target.clone(), ..record.publication.clone() };
        let since = match record.suspended {
            Some(_) => clock::now(),
            None => record.since.clone(),
        };
        let after = PublicationRecord {
            publication: publication.clone(),
            since,
            suspended: None,
            ..record.clone()
        };
        if !self.swap_publication(record, Some(after))? {
            return Ok(());
        }
        if record.suspended.is_some() {
            self.planes.resume(self)?;
        } else {
            self.planes.change(self, &publication.id, &self.metrics)?;
        }
        let both = [record.publication.clone(), publication];
        self.flows.forget(&both, flows::Which::All)?;
        self.planes.cut(std::slice::from_ref(&record.publication.id));
        self.tell_of(record, "follow", &format!("leads to {}", addresses(target)));
        Ok(())
    }

    fn suspend(&self, record: &PublicationRecord, reason: &str) -> Result<()> {
        if record.suspended.is_some() {
            return Ok(());
        }
        let after = PublicationRecord { suspended: Some(reason.to_owned()), ..record.clone() };
        if !self.swap_publication(record, Some(after))? {
            return Ok(());
        }
        self.tell_of(record, "suspend", reason);
        self.take_down_publications(std::slice::from_ref(record), None)
    }

    fn end_with_target(&self, records: &[PublicationRecord]) -> Result<()> {
        let mut gone = Vec::new();
        for record in records {
            if self.swap_publication(record, None)? {
                self.tell_of(record, "unpublish", "its container was removed");
                gone.push(record.clone());
            }
        }
        self.take_down_publications(&gone, None)
    }

    fn tell_of(&self, record: &PublicationRecord, action: &str, detail: &str) {
        let name = self.ledger.read(|state| crate::describe::name_of(state, &record.owner));
        let id = &record.publication.id.0;
        self.events.tell_more("publication", action, id, Some(&name), Some(detail));
    }
}

/// The id of the container a publication leads to, if it is one of `engine`'s.
fn container_of(record: &PublicationRecord, engine: Engine) -> Option<&str> {
    match &record.publication.target {
        Target::Foreign { engine: whose, id, .. } if *whose == engine => Some(id),
        _ => None,
    }
}

fn addresses(target: &Target) -> String {
    let v4 = target.ipv4().map(|address| address.to_string());
    let v6 = target.ipv6().map(|address| address.to_string());
    let known: Vec<String> = v4.into_iter().chain(v6).collect();
    match (known.is_empty(), target.inside()) {
        (true, Some(path)) => path.display().to_string(),
        _ => known.join(", "),
    }
}
