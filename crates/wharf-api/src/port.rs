//! Publications as `wharf ports` and `wharf ps` show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Addresses and one range of ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressesAndPorts {
    /// IP addresses; `0.0.0.0` and `::` mean every address of the family.
    pub addresses: Vec<String>,
    /// One port (`8080`) or a range (`8000-8010`).
    pub ports: String,
}

/// A line of `wharf ports`: one publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortEntry {
    /// The publication's id.
    pub id: String,
    /// What it leads to: the name of a container, or `netns:PATH`, `addr:IP`, `docker:NAME`,
    /// `podman:NAME`.
    pub target_name: String,
    /// The container's id, where the target is one.
    pub container_id: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where clients reach it.
    pub host: AddressesAndPorts,
    /// Where it goes.
    pub target: AddressesAndPorts,
    /// The planes that serve, kernel NAT first: `nft`, `ebpf`, `relay`, `routed`.
    pub planes: Vec<String>,
    /// The source address a remote client is seen with: `client` or `gateway`.
    pub source: String,
    /// `active`, `suspended` while its target is away, or `down`; the reason is in `notes`.
    pub state: String,
    /// Since when it has been in force (RFC 3339).
    pub since: String,
    /// The options it was published with, as they stand after a port spec.
    pub options: String,
    /// The networks clients may come from; empty means everyone.
    pub allow: Vec<String>,
    /// Why not a faster plane, and what is wrong, one sentence each.
    pub notes: Vec<String>,
    /// Each path and what serves it.
    pub paths: Vec<PathEntry>,
    /// Open connections and flows, in the relay and in the kernel, those of the host's own processes
    /// included.
    pub connections: u64,
    /// Those of them that the relay carries.
    pub relayed: u64,
    /// Bytes the relay has carried from clients to the target.
    pub bytes_in: u64,
    /// Bytes the relay has carried from the target to clients.
    pub bytes_out: u64,
    /// Clients turned away and targets not reached, by reason; only reasons that have occurred.
    pub errors: BTreeMap<String, u64>,
}

/// What is to be published, on something that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublishRequest {
    /// A container's name or id, `netns:PATH`, `addr:IP`, `docker:NAME` or `podman:NAME`.
    pub target: String,
    /// Port specs, as `8080:80`.
    pub specs: Vec<String>,
    /// Options of all of them, as they may stand after a port spec: `via=relay,allow=10.0.0.0/8`. What
    /// they do not say stays as it is where something is published already.
    pub options: String,
    /// Whose publications of the same host addresses and ports these replace, without a gap.
    pub replace: Option<String>,
}

/// What was published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// The publications, in the order of the target's ports; nothing is counted in them.
    pub ports: Vec<PortEntry>,
    /// What whoever asked should know.
    pub warnings: Vec<String>,
}

/// What is to be taken down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnpublishRequest {
    /// The target, as for publishing.
    pub target: String,
    /// The port specs they were published with, or the target's ports, or ids.
    pub specs: Vec<String>,
    /// Everything published for the target.
    pub all: bool,
    /// How long open TCP connections may go on; without it they end at once.
    pub drain_seconds: Option<u32>,
}

/// What was taken down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unpublished {
    /// The ids of the publications.
    pub ids: Vec<String>,
}

/// One path to a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathEntry {
    /// `external-v4`, `external-v6`, `host-loopback`, `host-address` or `same-bridge`.
    pub path: String,
    /// The plane that serves it.
    pub plane: String,
    /// The source address the target sees: `client`, `host` or `gateway`.
    pub source: String,
    /// Why not a faster plane.
    pub reason: Option<String>,
}

/// A published or merely exposed port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where clients reach it; null when the port is only exposed.
    pub host: Option<AddressesAndPorts>,
    /// The container's port or range.
    pub container_ports: String,
}

/// One line of `wharf port`: one container port on one host address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortLine {
    /// The container's port and protocol, as `80/tcp`.
    pub container: String,
    /// The host's address and port, as `0.0.0.0:8080` or `[::]:8080`.
    pub host: String,
}
