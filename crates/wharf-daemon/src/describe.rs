//! What there is, as listings and `inspect` show it.

use wharf_api::port::{PathEntry, PortLine};
use wharf_api::{AddressesAndPorts, ContainerState, ContainerSummary, PortEntry, PublishedPort};
use wharf_plan::{PathPlan, PublicationPlan};
use wharf_runtime::client::Shim;
use wharf_spec::{Expose, PortRange, Proto, Publication, render};

use crate::clock;
use crate::daemon::Daemon;
use crate::error::Result;
use crate::planes::Traffic;
use crate::record::ContainerRecord;

mod inspect;

// === impl Daemon ===

impl Daemon {
    /// Lists every container, the newest first.
    pub fn list(&self) -> Vec<ContainerSummary> {
        let mut records: Vec<ContainerRecord> =
            self.ledger.read(|state| state.containers.values().cloned().collect());
        records.sort_by(|a, b| b.created.cmp(&a.created));
        records.iter().map(summary).collect()
    }

    /// Everything about one container, with Docker's field names.
    pub fn inspect(&self, name: &str) -> Result<serde_json::Value> {
        let record = self.ledger.read(|state| state.find_container(name).cloned())?;
        let shim = Shim::adopt(&self.paths.shim(&record.id)).ok().flatten();
        let pid = shim.and_then(|shim| shim.state().ok()?.pid).unwrap_or(0);
        Ok(inspect::container(&record, pid, &self.paths))
    }

    /// The published ports of one container, a line each.
    pub fn port_lines(&self, name: &str) -> Result<Vec<PortLine>> {
        let record = self.ledger.read(|state| state.find_container(name).cloned())?;
        Ok(render::port_lines(&record.publications)
            .into_iter()
            .map(|line| PortLine {
                container: format!("{}/{}", line.container_port, line.proto),
                host: line.host.to_string(),
            })
            .collect())
    }

    /// Every publication, by container and container port.
    pub fn ports(&self) -> Vec<PortEntry> {
        let traffic = self.planes.traffic();
        let mut entries: Vec<(String, PortRange, PortEntry)> = Vec::new();
        let records: Vec<ContainerRecord> =
            self.ledger.read(|state| state.containers.values().cloned().collect());
        for record in &records {
            for publication in &record.publications {
                let (plan, lost) = self.planes.served(&publication.id);
                let counted = traffic.get(&publication.id).cloned().unwrap_or_default();
                let entry = port_entry(record, publication, plan.as_ref(), lost, &counted);
                entries.push((record.name.clone(), publication.target_ports, entry));
            }
        }
        entries.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        entries.into_iter().map(|(_, _, entry)| entry).collect()
    }
}

fn summary(record: &ContainerRecord) -> ContainerSummary {
    let state = record.state();
    let exposed = shown_as_exposed(record);
    ContainerSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.request.image.clone(),
        command: record.spec.args.join(" "),
        created: record.created.clone(),
        state,
        status: status(record),
        exit_code: record.exit.as_ref().filter(|_| state == ContainerState::Exited).map(|e| e.code),
        ports: ports(record, &exposed),
        ports_text: render::ports_column(&with_host_side(record), &exposed),
        networks: vec![record.network.clone()],
        labels: record.spec.labels.clone(),
    }
}

/// Publications that have a host side; a routed one is open on the container's own address only.
fn with_host_side(record: &ContainerRecord) -> Vec<Publication> {
    record.publications.iter().filter(|p| !p.host.addresses.is_empty()).cloned().collect()
}

/// Exposed ports are listed while the container runs, as in Docker; a published port counts as
/// exposed.
fn shown_as_exposed(record: &ContainerRecord) -> Vec<Expose> {
    if record.state() != ContainerState::Running {
        return Vec::new();
    }
    let routed = record.publications.iter().filter(|p| p.host.addresses.is_empty());
    let routed = routed.map(|p| Expose { ports: p.target_ports, proto: p.proto });
    record.exposed.iter().copied().chain(routed).collect()
}

fn ports(record: &ContainerRecord, exposed: &[Expose]) -> Vec<PublishedPort> {
    let published = record.publications.iter().map(|publication| PublishedPort {
        protocol: publication.proto.to_string(),
        host: (!publication.host.addresses.is_empty()).then(|| host_side(publication)),
        container_ports: publication.target_ports.to_string(),
    });
    let covered = |ports: PortRange, proto: Proto| {
        record.publications.iter().any(|p| p.proto == proto && p.target_ports.overlaps(ports))
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
        (ContainerState::Running, _, None) => "Up".into(),
        (ContainerState::Exited, Some(exit), _) => {
            format!("Exited ({}) {} ago", exit.code, since(&exit.finished))
        }
        (ContainerState::Removing, _, _) => "Removal In Progress".into(),
        _ => "Created".into(),
    }
}

fn host_side(publication: &Publication) -> AddressesAndPorts {
    AddressesAndPorts {
        addresses: publication.host.addresses.iter().map(ToString::to_string).collect(),
        ports: publication.host.ports.to_string(),
    }
}

fn port_entry(
    record: &ContainerRecord,
    publication: &Publication,
    plan: Option<&PublicationPlan>,
    lost: Option<String>,
    traffic: &Traffic,
) -> PortEntry {
    let v4 = publication.target.ipv4().map(|a| a.to_string());
    let v6 = publication.target.ipv6().map(|a| a.to_string());
    let planes = plan.map(PublicationPlan::planes).unwrap_or_default();
    let reasons = plan.map(PublicationPlan::reasons).unwrap_or_default();
    let notes = reasons.into_iter().map(str::to_owned).chain(lost.clone()).collect();
    PortEntry {
        id: publication.id.to_string(),
        container: record.name.clone(),
        container_id: record.id.clone(),
        protocol: publication.proto.to_string(),
        host: host_side(publication),
        target: AddressesAndPorts {
            addresses: v4.into_iter().chain(v6).collect(),
            ports: publication.target_ports.to_string(),
        },
        planes: planes.iter().map(ToString::to_string).collect(),
        source: plan.map_or_else(|| "gateway".into(), |plan| plan.source().to_string()),
        state: if lost.is_some() { "down".into() } else { "active".into() },
        notes,
        paths: plan.map(|p| p.paths.iter().map(path_entry).collect()).unwrap_or_default(),
        connections: traffic.connections_open.saturating_add(traffic.flows_open),
        bytes_in: traffic.bytes_in,
        bytes_out: traffic.bytes_out,
    }
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
