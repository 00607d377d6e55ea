//! Networks: made, listed, brought up, removed.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use wharf_api::network::NetworkMember;
use wharf_api::{NetworkCreate, NetworkSubnet, NetworkSummary};
use wharf_host::sysctl::{self, Changed, Forwarding};
use wharf_network::{
    DEFAULT_NETWORK, GatewayMode, HostView, Network, NetworkRequest, ensure_bridge, remove_bridge,
};

use crate::clock;
use crate::daemon::Daemon;
use crate::describe;
use crate::error::{Error, Result};
use crate::ledger::State;
use crate::record::Phase;

// === impl Daemon ===

impl Daemon {
    /// Makes a network and its bridge.
    pub fn create_network(&self, request: NetworkCreate) -> Result<NetworkSummary> {
        let request = parse(request)?;
        let name = request.name.clone();
        let network = self.record_network(request)?;
        if let Err(error) = self.bring_up(&network) {
            self.ledger.transact(|draft| {
                draft.delete_network(&name);
                Ok(())
            })?;
            self.take_down(&network)?;
            return Err(error);
        }
        self.events.tell("network", "create", &network.id, Some(&name));
        self.ledger.read(|state| state.find_network(&name).map(|network| summary(network, state)))
    }

    /// Lists the networks.
    pub fn list_networks(&self) -> Vec<NetworkSummary> {
        self.ledger.read(|state| state.networks.values().map(|n| summary(n, state)).collect())
    }

    /// Everything about one network, with Docker's field names.
    pub fn inspect_network(&self, name: &str) -> Result<serde_json::Value> {
        self.ledger.read(|state| Ok(describe::network(state.find_network(name)?, state)))
    }

    /// Removes a network no container belongs to.
    pub fn remove_network(&self, name: &str) -> Result<()> {
        let network = self.ledger.transact(|draft| {
            let network = draft.before().find_network(name)?.clone();
            let members: Vec<&str> = draft
                .before()
                .containers
                .values()
                .filter(|c| c.is_on(&network.name))
                .map(|c| c.name.as_str())
                .collect();
            if network.name == DEFAULT_NETWORK {
                return Err(Error::Conflict(format!(
                    "network {DEFAULT_NETWORK:?} is the default one and cannot be removed"
                )));
            }
            if !members.is_empty() {
                return Err(Error::Conflict(format!(
                    "network {:?} has containers: {}; remove them first, or `wharf network \
                     disconnect` them",
                    network.name,
                    members.join(", ")
                )));
            }
            draft.delete_network(&network.name);
            Ok(network)
        })?;
        self.take_down(&network)?;
        self.events.tell("network", "destroy", &network.id, Some(&network.name));
        Ok(())
    }

    /// Makes sure that the default network is in the ledger; its bridge comes with its first
    /// container.
    pub(crate) fn ensure_default_network(&self) -> Result<()> {
        if self.ledger.read(|state| state.networks.contains_key(DEFAULT_NETWORK)) {
            return Ok(());
        }
        let mut request = NetworkRequest::named(DEFAULT_NETWORK);
        request.ipv6 = self.host_ipv6;
        self.record_network(request)?;
        Ok(())
    }

    /// Makes the bridge of a network and lets its traffic through. Does nothing the second time.
    pub(crate) fn bring_up(&self, network: &Network) -> Result<()> {
        // Whoever comes second must not go on before forwarding and rules are in place.
        let _alone = self.bringing_up.lock().unwrap_or_else(PoisonError::into_inner);
        ensure_bridge(network)?;
        if !self.planes.bring_up(&network.name) {
            return Ok(());
        }
        self.enable_forwarding(network)?;
        self.reconcile()
    }

    /// Takes a network's bridge and rules away.
    pub(crate) fn take_down(&self, network: &Network) -> Result<()> {
        let removed = {
            let _alone = self.bringing_up.lock().unwrap_or_else(PoisonError::into_inner);
            self.planes.bring_down(&network.name);
            remove_bridge(network)
        };
        self.reconcile()?;
        removed?;
        Ok(())
    }

    fn record_network(&self, request: NetworkRequest) -> Result<Network> {
        let host = HostView::observe()?;
        self.ledger.transact(|draft| {
            let existing: Vec<&Network> = draft.before().networks.values().collect();
            let network = request.resolve(&self.pools, &existing, &host, clock::now())?;
            draft.put_network(network.clone());
            Ok(network)
        })
    }

    /// Containers that reach out, and packets that reach them, need forwarding. What is switched on
    /// is noted before, so that it can be switched off again at the end.
    fn enable_forwarding(&self, network: &Network) -> Result<()> {
        if network.internal {
            return Ok(());
        }
        let wanted = Forwarding { ipv4: network.ipv4.is_some(), ipv6: network.ipv6.is_some() };
        self.note_host_changes(&about_to_change(wanted))?;
        let fresh = wanted.enable()?;
        for change in &fresh {
            let (name, old, new) = (&change.name, &change.old, &change.new);
            tracing::info!(name, old, new, "kernel setting changed");
        }
        self.note_host_changes(&fresh)?;
        self.planes.note_facts(|facts| {
            facts.forwarding_v4 |= wanted.ipv4;
            facts.forwarding_v6 |= wanted.ipv6;
        });
        Ok(())
    }

    /// The kernel settings that were changed and not yet put back.
    pub(crate) fn host_changes(&self) -> Vec<Changed> {
        let text = std::fs::read(self.paths.host_changes()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn note_host_changes(&self, more: &[Changed]) -> Result<()> {
        let mut changes = self.host_changes();
        let before = changes.len();
        for change in more {
            if !changes.contains(change) {
                changes.push(change.clone());
            }
        }
        if changes.len() == before {
            return Ok(());
        }
        let path = self.paths.host_changes();
        let text = serde_json::to_vec(&changes).unwrap_or_default();
        std::fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))
    }
}

/// The switches that are off and will be on. Noting one that is then not reached does no harm: a
/// setting is put back only while it is what we set it to.
fn about_to_change(wanted: Forwarding) -> Vec<Changed> {
    let switches =
        [(wanted.ipv4, "net/ipv4/ip_forward"), (wanted.ipv6, "net/ipv6/conf/all/forwarding")];
    let off = |name: &str| sysctl::get(name).is_ok_and(|value| value == "0");
    switches
        .into_iter()
        .filter(|(wanted, name)| *wanted && off(name))
        .map(|(_, name)| Changed { name: name.to_owned(), old: "0".into(), new: "1".into() })
        .collect()
}

fn parse(request: NetworkCreate) -> Result<NetworkRequest> {
    let invalid = |what: &str, text: &str, example: &str| {
        Error::Invalid(format!("invalid {what} {text:?}: use something like {example}"))
    };
    let mode: GatewayMode = match &request.gateway_mode {
        Some(text) => text.parse()?,
        None => GatewayMode::default(),
    };
    if mode == GatewayMode::Isolated && !request.internal {
        return Err(Error::Invalid(
            "gateway mode isolated is for internal networks: add --internal".into(),
        ));
    }
    let mut made = NetworkRequest::named(request.name);
    for text in &request.subnets {
        made.subnets.push(text.parse().map_err(|_| invalid("subnet", text, "10.9.0.0/24"))?);
    }
    for text in &request.gateways {
        made.gateways.push(text.parse().map_err(|_| invalid("gateway", text, "10.9.0.1"))?);
    }
    made.ipv6 = request.ipv6;
    made.internal = request.internal;
    made.gateway_mode_ipv4 = mode;
    made.gateway_mode_ipv6 = mode;
    made.trusted_interfaces = request.trusted_interfaces.into_iter().collect();
    made.labels = request.labels;
    Ok(made)
}

fn summary(network: &Network, state: &State) -> NetworkSummary {
    let subnets = network.subnets().map(|subnet| NetworkSubnet {
        subnet: subnet.subnet().to_string(),
        gateway: (subnet.gateway_mode != GatewayMode::Isolated)
            .then(|| subnet.gateway().to_string()),
        gateway_mode: subnet.gateway_mode.to_string(),
    });
    let members = state.containers.values().filter(|c| c.phase == Phase::Running).filter_map(|c| {
        let endpoint = c.places().find(|it| it.network == network.name)?.endpoint;
        let member = NetworkMember {
            name: c.name.clone(),
            mac: endpoint.mac.to_string(),
            ipv4: endpoint.ipv4.map(|net| net.to_string()),
            ipv6: endpoint.ipv6.map(|net| net.to_string()),
        };
        Some((c.id.clone(), member))
    });
    NetworkSummary {
        id: network.id.clone(),
        name: network.name.clone(),
        driver: "bridge".into(),
        scope: "local".into(),
        bridge: network.bridge.clone(),
        created: network.created.clone(),
        internal: network.internal,
        subnets: subnets.collect(),
        trusted_interfaces: network.trusted_interfaces.iter().cloned().collect(),
        labels: network.labels.clone(),
        containers: members.collect::<BTreeMap<_, _>>(),
    }
}
