//! The desired state: in memory for reading, in the store before anyone is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use wharf_network::Network;
use wharf_spec::PublicationId;

use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Owner, PublicationRecord};
use crate::store::{Change, Kind, Store};

/// The ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Store,
    state: Mutex<State>,
    version: AtomicU64,
}

/// What the ledger says.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Containers by id.
    pub containers: BTreeMap<String, ContainerRecord>,
    /// Networks by name.
    pub networks: BTreeMap<String, Network>,
    /// Publications by id.
    pub publications: BTreeMap<PublicationId, PublicationRecord>,
}

/// Changes being put together; they count only when all of them are durable.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    state: &'a State,
    containers: BTreeMap<String, Option<ContainerRecord>>,
    networks: BTreeMap<String, Option<Network>>,
    publications: BTreeMap<PublicationId, Option<PublicationRecord>>,
}

// === impl Ledger ===

impl Ledger {
    /// Reads the ledger from `store`.
    pub(crate) fn open(store: Store) -> Result<Self> {
        let containers: Vec<ContainerRecord> = store.all(Kind::Container)?;
        let networks: Vec<Network> = store.all(Kind::Network)?;
        let publications: Vec<PublicationRecord> = store.all(Kind::Publication)?;
        let state = State {
            containers: containers.into_iter().map(|c| (c.id.clone(), c)).collect(),
            networks: networks.into_iter().map(|n| (n.name.clone(), n)).collect(),
            publications: publications.into_iter().map(|p| (p.publication.id.clone(), p)).collect(),
        };
        Ok(Self { store, state: Mutex::new(state), version: AtomicU64::new(0) })
    }

    /// Looks something up.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// A number that is another one whenever containers or networks have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Carries out `change`: all of it becomes durable, then visible; or none of it.
    pub(crate) fn transact<T>(
        &self,
        change: impl FnOnce(&mut Draft<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        let mut draft = Draft {
            state: &state,
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            publications: BTreeMap::new(),
        };
        let result = change(&mut draft)?;
        let Draft { containers, networks, publications, .. } = draft;
        let mut changes = Vec::new();
        note(&mut changes, Kind::Container, &containers, String::as_str)?;
        note(&mut changes, Kind::Network, &networks, String::as_str)?;
        note(&mut changes, Kind::Publication, &publications, |id| &id.0)?;
        if !changes.is_empty() {
            self.store.commit(&changes)?;
        }
        if !(containers.is_empty() && networks.is_empty()) {
            self.version.fetch_add(1, Ordering::Release);
        }
        merge(&mut state.containers, containers);
        merge(&mut state.networks, networks);
        merge(&mut state.publications, publications);
        Ok(result)
    }

    /// A container by id.
    pub(crate) fn container(&self, id: &str) -> Result<ContainerRecord> {
        self.read(|state| state.containers.get(id).cloned())
            .ok_or_else(|| Error::NotFound { kind: "container", name: id.to_owned() })
    }

    /// Changes one container.
    pub(crate) fn update_container(
        &self,
        id: &str,
        change: impl FnOnce(&mut ContainerRecord),
    ) -> Result<ContainerRecord> {
        self.transact(|draft| {
            let mut record = draft.container(id)?;
            change(&mut record);
            draft.put_container(record.clone());
            Ok(record)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only replaced whole, after the store took it, so a panic elsewhere cannot
        // have left it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note<K, T: Serialize>(
    changes: &mut Vec<Change>,
    kind: Kind,
    drafted: &BTreeMap<K, Option<T>>,
    key: impl Fn(&K) -> &str,
) -> Result<()> {
    for (name, value) in drafted {
        changes.push(match value {
            Some(value) => Change::put(kind, key(name), value)?,
            None => Change::delete(kind, key(name)),
        });
    }
    Ok(())
}

fn merge<K: Ord, T>(into: &mut BTreeMap<K, T>, changes: BTreeMap<K, Option<T>>) {
    for (key, value) in changes {
        match value {
            Some(value) => {
                into.insert(key, value);
            }
            None => {
                into.remove(&key);
            }
        }
    }
}

// === impl State ===

impl State {
    /// The id of the container that `name` means: a name, an id, or the beginning of one id.
    pub(crate) fn find_container(&self, name: &str) -> Result<&ContainerRecord> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let known = || self.containers.values();
        if let Some(exact) = known().find(|c| c.name == bare || c.id == bare) {
            return Ok(exact);
        }
        unique("container", name, known().filter(|c| !bare.is_empty() && c.id.starts_with(bare)))
    }

    /// The publications of `owner`.
    pub(crate) fn published_by<'a>(
        &'a self,
        owner: &'a Owner,
    ) -> impl Iterator<Item = &'a PublicationRecord> {
        self.publications.values().filter(move |record| record.owner == *owner)
    }

    /// The network that `name` means: a name, an id, or the beginning of one id.
    pub(crate) fn find_network(&self, name: &str) -> Result<&Network> {
        if let Some(exact) = self.networks.get(name) {
            return Ok(exact);
        }
        let starts = |n: &&Network| !name.is_empty() && n.id.starts_with(name);
        unique("network", name, self.networks.values().filter(starts))
    }
}

fn unique<T>(kind: &'static str, name: &str, mut found: impl Iterator<Item = T>) -> Result<T> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Error::Ambiguous { kind, name: name.to_owned() }),
        (None, _) => Err(Error::NotFound { kind, name: name.to_owned() }),
    }
}

// === impl Draft ===

impl Draft<'_> {
    /// The state before this draft.
    pub(crate) fn before(&self) -> &State {
        self.state
    }

    /// A container as this draft has it.
    pub(crate) fn container(&self, id: &str) -> Result<ContainerRecord> {
        let found = match self.containers.get(id) {
            Some(changed) => changed.clone(),
            None => self.state.containers.get(id).cloned(),
        };
        found.ok_or_else(|| Error::NotFound { kind: "container", name: id.to_owned() })
    }

    /// A network as this draft has it, by name.
    pub(crate) fn network(&self, name: &str) -> Result<Network> {
        let found = match self.networks.get(name) {
            Some(changed) => changed.clone(),
            None => self.state.networks.get(name).cloned(),
        };
        found.ok_or_else(|| Error::NotFound { kind: "network", name: name.to_owned() })
    }

    /// Writes a container.
    pub(crate) fn put_container(&mut self, record: ContainerRecord) {
        self.containers.insert(record.id.clone(), Some(record));
    }

    /// Removes a container.
    pub(crate) fn delete_container(&mut self, id: &str) {
        self.containers.insert(id.to_owned(), None);
    }

    /// Writes a network.
    pub(crate) fn put_network(&mut self, network: Network) {
        self.networks.insert(network.name.clone(), Some(network));
    }

    /// Removes a network by name.
    pub(crate) fn delete_network(&mut self, name: &str) {
        self.networks.insert(name.to_owned(), None);
    }

    /// Writes a publication.
    pub(crate) fn put_publication(&mut self, record: PublicationRecord) {
        self.publications.insert(record.publication.id.clone(), Some(record));
    }

    /// Removes a publication.
    pub(crate) fn delete_publication(&mut self, id: &PublicationId) {
        self.publications.insert(id.clone(), None);
    }

    /// Removes every publication of `owner` and gives them.
    pub(crate) fn delete_publications_of(&mut self, owner: &Owner) -> Vec<PublicationRecord> {
        let gone: Vec<PublicationRecord> = self.state.published_by(owner).cloned().collect();
        gone.iter().for_each(|record| self.delete_publication(&record.publication.id));
        gone
    }

    /// Takes every publication of `owner` out of force, and gives those that were; lasting ones are
    /// kept.
    pub(crate) fn rest_publications_of(
        &mut self,
        owner: &Owner,
        reason: &str,
    ) -> Vec<PublicationRecord> {
        let in_force = self.state.published_by(owner).filter(|record| record.suspended.is_none());
        let resting: Vec<PublicationRecord> = in_force.cloned().collect();
        for record in &resting {
            match record.lasting {
                true => self.put_publication(PublicationRecord {
                    suspended: Some(reason.to_owned()),
                    ..record.clone()
                }),
                false => self.delete_publication(&record.publication.id),
            }
        }
        resting
    }
}
