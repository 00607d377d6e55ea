//! Networks.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new network is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkCreate {
    /// Its name.
    pub name: String,
    /// Subnets, at most one of each family; chosen from the pool when absent.
    pub subnets: Vec<String>,
    /// Gateways for the subnets given; the first address when absent.
    pub gateways: Vec<String>,
    /// Give containers IPv6 addresses.
    pub ipv6: bool,
    /// No way in or out but through published ports served by the relay.
    pub internal: bool,
    /// `nat`, `nat-unprotected`, `routed` or `isolated`, for both families.
    pub gateway_mode: Option<String>,
    /// Interfaces from which container addresses may be reached directly.
    pub trusted_interfaces: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A container that is to join a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConnect {
    /// The container, by name or id.
    pub container: String,
    /// Other names of the container on the network.
    pub aliases: Vec<String>,
    /// The IPv4 address to take.
    #[schema(value_type = Option<String>)]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address to take.
    #[schema(value_type = Option<String>)]
    pub ip6: Option<Ipv6Addr>,
}

/// A container that is to leave a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkDisconnect {
    /// The container, by name or id.
    pub container: String,
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkSubnet {
    /// The subnet, as `address/prefix`.
    pub subnet: String,
    /// The gateway's address; null in an isolated network.
    pub gateway: Option<String>,
    /// `nat`, `nat-unprotected`, `routed` or `isolated`.
    pub gateway_mode: String,
}

/// A network, as `wharf network ls` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkSummary {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Always `bridge` in this version.
    pub driver: String,
    /// Always `local`.
    pub scope: String,
    /// The bridge's interface name on the host.
    pub bridge: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// No way in or out but through published ports.
    pub internal: bool,
    /// Its subnets.
    pub subnets: Vec<NetworkSubnet>,
    /// Interfaces from which container addresses may be reached directly.
    pub trusted_interfaces: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Running containers by id, with their addresses.
    pub containers: BTreeMap<String, NetworkMember>,
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkMember {
    /// The container's name.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
    /// Its IPv4 address with the prefix.
    pub ipv4: Option<String>,
    /// Its IPv6 address with the prefix.
    pub ipv6: Option<String>,
}
