//! `inspect` of a network, with Docker's field names where the meaning is Docker's.

use serde_json::{Map, Value, json};
use wharf_network::{Endpoint, GatewayMode, Network, Subnet};
use wharf_runtime::Digest;

use crate::ledger::State;
use crate::record::{ContainerRecord, Phase};

/// Where Docker has what is particular to bridges.
const BRIDGE: &str = "com.docker.network.bridge";

/// Describes a network and the running containers on it.
pub(crate) fn network(network: &Network, state: &State) -> Value {
    let subnets: Vec<Value> = network.subnets().map(subnet).collect();
    let running = state.containers.values().filter(|c| c.phase == Phase::Running);
    let members: Map<String, Value> = running
        .filter_map(|container| {
            let endpoint = container.places().find(|it| it.network == network.name)?.endpoint;
            Some((container.id.clone(), member(container, endpoint)))
        })
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": network.ipv4.is_some(),
        "EnableIPv6": network.ipv6.is_some(),
        "IPAM": { "Driver": "default", "Options": {}, "Config": subnets },
        "Internal": network.internal,
        "Containers": members,
        "Options": options(network),
        "Labels": network.labels,
    })
}

/// The id of a container's place on a network.
pub(super) fn endpoint_id(network: &str, container: &str) -> String {
    Digest::of(format!("{network} {container}").as_bytes()).hex().to_owned()
}

fn subnet(subnet: &Subnet) -> Value {
    let mut told = json!({ "Subnet": subnet.subnet().to_string() });
    // As in Docker, there is no such field without one.
    if subnet.gateway_mode != GatewayMode::Isolated
        && let Some(told) = told.as_object_mut()
    {
        told.insert("Gateway".into(), subnet.gateway().to_string().into());
    }
    told
}

fn member(container: &ContainerRecord, endpoint: &Endpoint) -> Value {
    json!({
        "Name": container.name,
        "EndpointID": endpoint_id(&endpoint.network, &container.id),
        "MacAddress": endpoint.mac.to_string(),
        "IPv4Address": endpoint.ipv4.map(|net| net.to_string()).unwrap_or_default(),
        "IPv6Address": endpoint.ipv6.map(|net| net.to_string()).unwrap_or_default(),
    })
}

/// Docker's names of what was asked for or chosen.
fn options(network: &Network) -> Map<String, Value> {
    let mut options = Map::new();
    let mut tell = |name: &str, value: String| {
        options.insert(format!("{BRIDGE}.{name}"), value.into());
    };
    tell("name", network.bridge.clone());
    for (family, side) in [("ipv4", &network.ipv4), ("ipv6", &network.ipv6)] {
        if let Some(side) = side {
            tell(&format!("gateway_mode_{family}"), side.gateway_mode.to_string());
        }
    }
    let trusted: Vec<&str> = network.trusted_interfaces.iter().map(String::as_str).collect();
    if !trusted.is_empty() {
        tell("trusted_host_interfaces", trusted.join(":"));
    }
    options
}
