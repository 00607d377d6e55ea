//! What there is, as listings and `inspect` show it.

use std::collections::BTreeMap;

use wharf_api::port::{PathEntry, PortLine};
use wharf_api::{AddressesAndPorts, ContainerState, ContainerSummary, PortEntry, PublishedPort};
use wharf_plan::{PathPlan, PublicationPlan};
use wharf_runtime::client::Shim;
use wharf_spec::{Expose, PortRange, Proto, Publication, PublicationId, Target, render};

use crate::clock;
use crate::daemon::Daemon;
use crate::error::Result;
use crate::health::{Health, Status};
use crate::ledger::State;
use crate::planes::Traffic;
use crate::record::{ContainerRecord, Owner, PublicationRecord};

mod confinement;
mod inspect;
mod network;

pub(crate) use network::network;

// === impl Daemon ===

impl Daemon {
    /// Lists every container, the newest first.
    pub fn list(&self) -> Vec<ContainerSummary> {
        let mut records: Vec<ContainerRecord> =
            self.ledger.read(|state| state.containers.values().cloned().collect());
        records.sort_by(|a, b| b.created.cmp(&a.created));
        let published = |record: &ContainerRecord| self.published_by_container(&record.id);
        let health = |record: &ContainerRecord| self.healths.of(&record.id);
        records.iter().map(|record| summary(record, &published(record), health(record))).collect()
    }

    /// Everything about one container, with Docker's field names.
    pub fn inspect(&self, name: &str) -> Result<serde_json::Value> {
        let record = self.ledger.read(|state| state.find_container(name).cloned())?;
        let shim = Shim::adopt(&self.paths.shim(&record.id)).ok().flatten();
        let pid = shim.and_then(|shim| shim.state().ok()?.pid).unwrap_or(0);
        let publications = self.published_by_container(&record.id);
        let health = self.healths.of(&record.id);
        Ok(inspect::container(&record, &publications, pid, health, &self.paths))
    }

    /// The published ports of one container, a line each.
    pub fn port_lines(&self, name: &str) -> Result<Vec<PortLine>> {
        let publications = self.published_by_container(&self.id_of(name)?);
        Ok(render::port_lines(&publications)
            .into_iter()
            .map(|line| PortLine {
                container: format!("{}/{}", line.container_port, line.proto),
                host: line.host.to_string(),
            })
            .collect())
    }

    /// Every publication, by target and its port.
    pub fn ports(&self) -> Vec<PortEntry> {
        let mut found: Vec<(String, PublicationRecord)> = self.ledger.read(|state| {
            let all = state.publications.values();
            all.map(|record| (name_of(state, &record.owner), record.clone())).collect()
        });
        let traffic = self.planes.traffic();
        let mut carried = crate::flows::count(found.iter().map(|(_, record)| &record.publication));
        for (id, led) in self.planes.led() {
            *carried.entry(id).or_default() += led.open;
        }
        self.entries(&mut found, &traffic, &carried)
    }

    /// Some publications, by target and its port; nothing is counted, so that it takes no longer
    /// beside many others.
    pub(crate) fn port_entries_of(&self, ids: &[PublicationId]) -> Vec<PortEntry> {
        let mut found: Vec<(String, PublicationRecord)> = self.ledger.read(|state| {
            let wanted = ids.iter().filter_map(|id| state.publications.get(id));
            wanted.map(|record| (name_of(state, &record.owner), record.clone())).collect()
        });
        self.entries(&mut found, &BTreeMap::new(), &BTreeMap::new())
    }

    fn entries(
        &self,
        found: &mut [(String, PublicationRecord)],
        traffic: &BTreeMap<PublicationId, Traffic>,
        carried: &BTreeMap<PublicationId, u64>,
    ) -> Vec<PortEntry> {
        found.sort_by(|a, b| {
            let place = |(name, record): &(String, PublicationRecord)| {
                (name.clone(), record.publication.target_ports)
            };
            place(a).cmp(&place(b))
        });
        let entries = found.iter().map(|(name, record)| {
            let id = &record.publication.id;
            let (plan, lost) = self.planes.served(id);
            let counted = traffic.get(id).cloned().unwrap_or_default();
            let in_kernel = carried.get(id).copied().unwrap_or(0);
            port_entry(name, record, plan.as_ref(), lost, &counted, in_kernel)
        });
        entries.collect()
    }
}

/// What `owner` is called: a container by its name now.
pub(crate) fn name_of(state: &State, owner: &Owner) -> String {
    match owner {
        Owner::Container(id) => {
            state.containers.get(id).map_or_else(|| id.clone(), |c| c.name.clone())
        }
        Owner::Target(name) => name.to_string(),
    }
}

fn summary(
    record: &ContainerRecord,
    publications: &[Publication],
    health: Option<Health>,
) -> ContainerSummary {
    let state = record.state();
    let exposed = shown_as_exposed(record, publications);
    ContainerSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.request.image.clone(),
        command: record.spec.args.join(" "),
        created: record.created.clone(),
        state,
        status: status(record) + &well(health),
        exit_code: record.exit.as_ref().filter(|_| state == ContainerState::Exited).map(|e| e.code),
        ports: ports(publications, &exposed),
        ports_text: render::ports_column(&with_host_side(publications), &exposed),
        networks: connected(record),
        labels: record.spec.labels.clone(),
    }
}

/// The networks it is on, or the mode in place of one.
fn connected(record: &ContainerRecord) -> Vec<String> {
    let networks: Vec<String> = record.places().map(|it| it.network.to_owned()).collect();
    if networks.is_empty() { vec![record.network.clone()] } else { networks }
}

/// Publications that have a host side; a routed one is open on the container's own address only.
fn with_host_side(publications: &[Publication]) -> Vec<Publication> {
    publications.iter().filter(|p| !p.host.addresses.is_empty()).cloned().collect()
}

/// Exposed ports are listed while the container runs, as in Docker; a published port counts as
/// exposed.
fn shown_as_exposed(record: &ContainerRecord, publications: &[Publication]) -> Vec<Expose> {
    if !record.state().is_alive() {
        return Vec::new();
    }
    let routed = publications.iter().filter(|p| p.host.addresses.is_empty());
    let routed = routed.map(|p| Expose { ports: p.target_ports, proto: p.proto });
    record.exposed.iter().copied().chain(routed).collect()
}

fn ports(publications: &[Publication], exposed: &[Expose]) -> Vec<PublishedPort> {
    let published = publications.iter().map(|publication| PublishedPort {
        protocol: publication.proto.to_string(),
        host: (!publication.host.addresses.is_empty()).then(|| host_side(publication)),
        container_ports: publication.target_ports.to_string(),
    });
    let covered = |ports: PortRange, proto: Proto| {
        publications.iter().any(|p| p.proto == proto && p.target_ports.overlaps(ports))
    };
    let only_exposed =
        exposed.iter().filter(|e| !covered(e.ports, e.proto)).map(|exposed| PublishedPort {
            protocol: exposed.proto.to_string(),
            host: None,
            container_ports: exposed.ports.to_string(),
        });
    published.chain(only_exposed).collect()
}

fn status(record: &ContainerRecord) -> String {
    let since = |moment: &str| clock::rough(clock::seconds_since(moment));
    match (record.state(), &record.exit, &record.started) {
        (ContainerState::Running, _, Some(started)) => format!("Up {}", since(started)),
        (ContainerState::Paused, _, Some(started)) => format!("Up {} (Paused)", since(started)),
        (ContainerState::Running, _, None) => "Up".into(),
        (ContainerState::Exited, Some(exit), _) => {
            format!("Exited ({}) {} ago", exit.code, since(&exit.finished))
        }
        (ContainerState::Restarting, Some(exit), _) => {
            format!("Restarting ({}) {} ago", exit.code, since(&exit.finished))
        }
        (ContainerState::Restarting, None, _) => "Restarting".into(),
        (ContainerState::Removing, _, _) => "Removal In Progress".into(),
        _ => "Created".into(),
    }
}

/// What Docker adds to the state of a container that is checked.
fn well(health: Option<Health>) -> String {
    match health.map(|health| health.status) {
        None => String::new(),
        Some(Status::Starting) => " (health: starting)".into(),
        Some(status) => format!(" ({status})"),
    }
}

fn host_side(publication: &Publication) -> AddressesAndPorts {
    AddressesAndPorts {
        addresses: publication.host.addresses.iter().map(ToString::to_string).collect(),
        ports: publication.host.ports.to_string(),
    }
}

fn port_entry(
    name: &str,
    record: &PublicationRecord,
    plan: Option<&PublicationPlan>,
    lost: Option<String>,
    traffic: &Traffic,
    in_kernel: u64,
) -> PortEntry {
    let publication = &record.publication;
    let v4 = publication.target.ipv4().map(|a| a.to_string());
    let v6 = publication.target.ipv6().map(|a| a.to_string());
    let planes = plan.map(PublicationPlan::planes).unwrap_or_default();
    let reasons = plan.map(PublicationPlan::reasons).unwrap_or_default();
    let absent = record.suspended.clone();
    let state = match (&absent, &lost) {
        (Some(_), _) => "suspended",
        (None, Some(_)) => "down",
        (None, None) => "active",
    };
    let relayed = traffic.connections_open.saturating_add(traffic.flows_open);
    PortEntry {
        id: publication.id.to_string(),
        target_name: name.to_owned(),
        container_id: container_id(&publication.target),
        protocol: publication.proto.to_string(),
        host: host_side(publication),
        target: AddressesAndPorts {
            addresses: v4.into_iter().chain(v6).collect(),
            ports: publication.target_ports.to_string(),
        },
        planes: planes.iter().map(ToString::to_string).collect(),
        source: plan.map_or_else(|| "gateway".into(), |plan| plan.source().to_string()),
        state: state.into(),
        since: record.since.clone(),
        options: publication.options.to_string(),
        allow: publication.options.allow.iter().map(ToString::to_string).collect(),
        notes: absent
            .into_iter()
            .chain(lost)
            .chain(reasons.into_iter().map(str::to_owned))
            .chain(plan.filter(|plan| plan.steered).map(|_| steered(publication)))
            .collect(),
        paths: plan.map(|p| p.paths.iter().map(path_entry).collect()).unwrap_or_default(),
        connections: relayed.saturating_add(in_kernel),
        relayed,
        bytes_in: traffic.bytes_in,
        bytes_out: traffic.bytes_out,
        errors: errors(traffic),
    }
}

fn steered(publication: &Publication) -> String {
    let first = publication.host.ports.first();
    format!("one socket, at port {first}, listens for the whole range (eBPF leads to it)")
}

fn container_id(target: &Target) -> Option<String> {
    match target {
        Target::Container { id, .. } | Target::Foreign { id, .. } => Some(id.clone()),
        Target::Namespace { .. } | Target::Address { .. } => None,
    }
}

/// The reasons that have occurred.
pub(crate) fn errors(traffic: &Traffic) -> BTreeMap<String, u64> {
    let dropped = traffic.drops().map(|(reason, count)| (format!("dropped_{reason}"), count));
    let refused = traffic.refusals().map(|(reason, count)| (reason.to_owned(), count));
    refused.into_iter().chain(dropped).filter(|(_, count)| *count > 0).collect()
}

fn path_entry(plan: &PathPlan) -> PathEntry {
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    PathEntry {
        path: serde_json::to_value(plan.path).map(text).unwrap_or_default(),
        plane: plan.plane.to_string(),
        source: plan.source.to_string(),
        reason: plan.reason.clone(),
    }
}
