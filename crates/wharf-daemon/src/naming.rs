//! What containers are called: by each other, and by people.
//!
//! The directory is made from the ledger whenever that has changed and somebody asks, so a name
//! follows starts, stops and renames at once and no step of theirs has to think of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use wharf_host::netns::Netns;
use wharf_names::{Asker, Directory, Entry, Inside, Scope, Server, Source};
use wharf_runtime::client::Shim;
use wharf_spec::ContainerName;

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::ledger::State;
use crate::record::{ContainerRecord, Phase};

mod check;

pub(crate) use check::{HOST_GATEWAY, check, check_alias, extra_host};

/// Answers for containers, and the directory as it was when somebody asked last.
#[derive(Debug)]
pub(crate) struct Names {
    server: Server,
    known: Mutex<Option<(u64, Arc<Directory>)>>,
}

// === impl Names ===

impl Names {
    /// Names that are no container's are sought where the file `resolv_conf` says.
    pub(crate) fn new(resolv_conf: std::path::PathBuf) -> Self {
        Self { server: Server::new(resolv_conf), known: Mutex::default() }
    }

    /// Answers a container no longer.
    pub(crate) fn stop(&self, id: &str) {
        self.server.stop(id);
    }

    /// Whether a container is answered.
    pub(crate) fn serves(&self, id: &str) -> bool {
        self.server.serves(id)
    }

    /// What has become of questions, by outcome.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 4] {
        self.server.counters().all()
    }
}

// === impl Daemon ===

impl Daemon {
    /// Begins to answer what a container asks for names. Those that share a network ask by its
    /// owner's; those on none have nobody to ask.
    pub(crate) fn serve_names(
        self: &Arc<Self>,
        record: &ContainerRecord,
        shim: &Shim,
    ) -> Result<()> {
        if record.places().next().is_none() {
            return Ok(());
        }
        let inside = Inside::open(Netns::of_process(shim.pid().pid)?)?;
        let source: Arc<dyn Source> = Arc::<Self>::clone(self);
        Ok(self.names.server.serve(&record.id, inside, source)?)
    }

    /// Gives a container another name.
    pub fn rename(&self, old: &str, new: &str) -> Result<()> {
        new.strip_prefix('/')
            .unwrap_or(new)
            .parse::<ContainerName>()
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let id = self.id_of(old)?;
        let (before, after) = self.in_turn(&id, || {
            self.ledger.transact(|draft| {
                let mut record = draft.container(&id)?;
                if matches!(record.phase, Phase::Creating | Phase::Removing) {
                    return Err(Error::Conflict(format!(
                        "container {:?} is being changed by somebody else; try again",
                        record.name
                    )));
                }
                let name = new.strip_prefix('/').unwrap_or(new);
                if record.name == name {
                    return Err(Error::Invalid(
                        "renaming a container with the same name as its current name".into(),
                    ));
                }
                let name = free_name(draft.before(), name)?;
                let before = std::mem::replace(&mut record.name, name);
                let after = record.name.clone();
                draft.put_container(record);
                Ok((before, after))
            })
        })?;
        let detail = format!("it was called {before}");
        self.events.tell_more("container", "rename", &id, Some(&after), Some(&detail));
        Ok(())
    }
}

impl Source for Daemon {
    fn directory(&self) -> Arc<Directory> {
        let mut known = self.names.known.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.ledger.version();
        if let Some((of, made)) = known.as_ref()
            && *of == version
        {
            return Arc::clone(made);
        }
        let made = Arc::new(self.ledger.read(directory));
        *known = Some((version, Arc::clone(&made)));
        made
    }
}

/// `name`, if no container has it.
pub(crate) fn free_name(state: &State, name: &str) -> Result<String> {
    let name = name.strip_prefix('/').unwrap_or(name);
    match state.containers.values().find(|container| container.name == name) {
        None => Ok(name.to_owned()),
        Some(other) => Err(Error::Conflict(format!(
            "the container name {name:?} is already in use by container {}: remove or rename \
             that container, or take another name",
            other.short_id()
        ))),
    }
}

/// What a container is called on a network where it has `aliases`: its name first, then the short
/// id, the aliases, and the host name if it was given one.
pub(crate) fn names(record: &ContainerRecord, aliases: &[String]) -> Vec<String> {
    let mut names = vec![record.name.clone(), record.short_id().to_owned()];
    let given = aliases.iter().chain(&record.request.hostname);
    for name in given {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn directory(state: &State) -> Directory {
    let scopes = state.networks.values();
    let scopes = scopes.map(|it| Scope { name: it.name.clone(), internal: it.internal });
    let live: Vec<&ContainerRecord> =
        state.containers.values().filter(|record| record.is_live()).collect();
    let entries = live.iter().flat_map(|record| {
        record.places().map(|place| Entry {
            network: place.network.to_owned(),
            names: names(record, place.aliases),
            addresses: place.endpoint.addresses().map(|net| net.addr()).collect(),
        })
    });
    let askers: BTreeMap<String, Asker> =
        live.iter().map(|record| (record.id.clone(), asker(record))).collect();
    Directory::new(scopes, entries, askers)
}

fn asker(record: &ContainerRecord) -> Asker {
    let given = record.request.names.dns.iter();
    let resolvers: Vec<IpAddr> = given.filter_map(|text| text.parse().ok()).collect();
    Asker { networks: record.places().map(|it| it.network.to_owned()).collect(), resolvers }
}
