//! Publications as `wharf ports` and `wharf ps` show them.

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
    /// The container's name.
    pub container: String,
    /// The container's id.
    pub container_id: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where clients reach it.
    pub host: AddressesAndPorts,
    /// Where it goes.
    pub target: AddressesAndPorts,
    /// The planes that serve, fastest first: `nft`, `relay`, `routed`.
    pub planes: Vec<String>,
    /// The source address a remote client is seen with: `client` or `gateway`.
    pub source: String,
    /// `active`, or `down` with a reason in `notes`.
    pub state: String,
    /// Why not a faster plane, and what is wrong, one sentence each.
    pub notes: Vec<String>,
    /// Each path and what serves it.
    pub paths: Vec<PathEntry>,
    /// Open connections and flows in the relay.
    pub connections: u64,
    /// Bytes the relay has carried from clients to the target.
    pub bytes_in: u64,
    /// Bytes the relay has carried from the target to clients.
    pub bytes_out: u64,
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
