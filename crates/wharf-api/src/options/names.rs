//! What a container can be told at creation: how it finds others, and how others find it.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new container is told of how it finds others, and how others find it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Names {
    /// Other names of the container on its first network.
    pub aliases: Vec<String>,
    /// Networks to join besides the first.
    pub networks: Vec<NetworkJoin>,
    /// Resolvers for names that are no container's, by address; the host's when there are none.
    pub dns: Vec<String>,
    /// Domains tried behind a name; `.` alone for none, the host's when there are none.
    pub dns_search: Vec<String>,
    /// Options of the resolver, as in `resolv.conf`; the host's when there are none.
    pub dns_options: Vec<String>,
    /// Lines for `/etc/hosts`, as `NAME:ADDRESS`; the address may be `host-gateway`.
    pub extra_hosts: Vec<String>,
    /// The domain behind its host name.
    pub domainname: Option<String>,
}

/// A network to join, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkJoin {
    /// The network, by name or id.
    pub network: String,
    /// Other names of the container on it.
    pub aliases: Vec<String>,
    /// The IPv4 address to take.
    #[schema(value_type = Option<String>)]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address to take.
    #[schema(value_type = Option<String>)]
    pub ip6: Option<Ipv6Addr>,
}
