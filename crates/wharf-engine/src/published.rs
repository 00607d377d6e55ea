//! Which host ports an engine's containers publish.

use std::net::IpAddr;

use serde::Deserialize;
use wharf_spec::{Engine, PortRange, Proto};

use crate::connection::Connection;
use crate::container::is_id;
use crate::error::{Result, brief};

/// Podman's own API, as version 4.0 of it defines: the part it shares with Docker names only the
/// first port of a range (Podman 4.3).
const PODMAN_LIST: &str = "/v4.0.0/libpod/containers/json";
const DOCKER_LIST: &str = "/containers/json";

/// Host ports that a running container of another engine publishes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// The protocol.
    pub proto: Proto,
    /// The host ports.
    pub host_ports: PortRange,
    /// The host address; `None` for all of them.
    pub host_address: Option<IpAddr>,
    /// The container's first port; the others follow in order.
    pub container_port: u16,
    /// The container's name.
    pub name: String,
    /// The container's id.
    pub id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerEntry {
    id: String,
    names: Option<Vec<String>>,
    ports: Option<Vec<DockerPort>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerPort {
    #[serde(rename = "IP", default)]
    ip: String,
    private_port: u16,
    public_port: Option<u16>,
    #[serde(rename = "Type", default)]
    proto: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PodmanEntry {
    id: String,
    names: Option<Vec<String>>,
    ports: Option<Vec<PodmanPort>>,
}

#[derive(Debug, Deserialize)]
struct PodmanPort {
    #[serde(default)]
    host_ip: String,
    container_port: u16,
    #[serde(default)]
    host_port: u16,
    #[serde(default)]
    range: u16,
    #[serde(default)]
    protocol: String,
}

/// Asks for the list; sorted by protocol and port.
pub(crate) async fn list(
    connection: &mut Connection,
    engine: Engine,
) -> Result<Vec<PublishedPort>> {
    let mut ports: Vec<PublishedPort> = match engine {
        Engine::Docker => {
            let entries: Vec<DockerEntry> = connection.get(DOCKER_LIST).await?;
            entries.into_iter().flat_map(DockerEntry::published).collect()
        }
        Engine::Podman => {
            let entries: Vec<PodmanEntry> = connection.get(PODMAN_LIST).await?;
            entries.into_iter().flat_map(PodmanEntry::published).collect()
        }
    };
    ports.sort_unstable();
    Ok(ports)
}

// === impl DockerEntry ===

impl DockerEntry {
    pub(crate) fn published(self) -> Vec<PublishedPort> {
        let Self { id, names, ports } = self;
        let ports = ports.into_iter().flatten().filter_map(|port| {
            let first = port.public_port.filter(|number| *number > 0)?;
            Some((port.ip, PortRange::single(first), port.private_port, port.proto))
        });
        publications(&id, names, ports)
    }
}

// === impl PodmanEntry ===

impl PodmanEntry {
    pub(crate) fn published(self) -> Vec<PublishedPort> {
        let Self { id, names, ports } = self;
        let ports = ports.into_iter().flatten().filter(|port| port.host_port > 0);
        let ports = ports.flat_map(|port| {
            let last = port.host_port.checked_add(port.range.max(1) - 1);
            let range = last.and_then(|last| PortRange::new(port.host_port, last));
            // One entry may be of two protocols: `tcp,udp`.
            let protos: Vec<String> = port.protocol.split(',').map(str::to_owned).collect();
            let of = move |range, proto| (port.host_ip.clone(), range, port.container_port, proto);
            range.into_iter().flat_map(move |range| {
                protos.clone().into_iter().map(|proto| of(range, proto)).collect::<Vec<_>>()
            })
        });
        publications(&id, names, ports)
    }
}

/// What is no port of a protocol we know is left out: the list is for people.
fn publications(
    id: &str,
    names: Option<Vec<String>>,
    ports: impl Iterator<Item = (String, PortRange, u16, String)>,
) -> Vec<PublishedPort> {
    if !is_id(id) {
        return Vec::new();
    }
    let first = names.into_iter().flatten().next().unwrap_or_else(|| id.to_owned());
    let name = brief(first.strip_prefix('/').unwrap_or(&first));
    ports
        .filter_map(|(address, host_ports, container_port, proto)| {
            Some(PublishedPort {
                proto: proto.parse().ok()?,
                host_ports,
                host_address: match address.as_str() {
                    "" => None,
                    text => Some(text.parse().ok()?),
                },
                container_port,
                name: name.clone(),
                id: id.to_owned(),
            })
        })
        .collect()
}
