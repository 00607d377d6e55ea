//! What an engine says of one container.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::Deserialize;
use wharf_spec::{Engine, Expose, Target};

use crate::error::{Error, Result, brief};

/// Both engines use 64 hexadecimal digits; twice that and a few signs are taken, no more.
const ID_LIMIT: usize = 128;

/// Drivers of networks whose addresses this host has no way to: the host's own interface cannot
/// talk to what hangs on it (macvlan, ipvlan), or the bridge is in a namespace of its own
/// (overlay).
const APART: [&str; 3] = ["macvlan", "ipvlan", "overlay"];

/// A container of another engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub engine: Engine,
    /// Its whole id.
    pub id: String,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// It has a process.
    pub running: bool,
    /// The id of its first process, as this host counts.
    pub pid: Option<u32>,
    /// The network a publication would use: the engine's default bridge, otherwise the first by
    /// name with an address this host has a way to.
    pub network: Option<String>,
    /// Its IPv4 address on that network.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address on that network.
    pub ipv6: Option<Ipv6Addr>,
    /// Every network it is on, by name.
    pub networks: Vec<Network>,
    /// Its network namespace, while it runs and has one that is not the host's; `None` also when
    /// it runs somewhere else, as Docker Desktop's containers do, in a virtual machine.
    pub sandbox: Option<PathBuf>,
    /// It uses the host's network: its ports are the host's.
    pub host_network: bool,
    /// Its engine runs without root, so its addresses mean nothing here.
    pub rootless: bool,
    /// The ports it says it listens on.
    pub exposed: Vec<Expose>,
}

/// A network that a container is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its driver, where that had to be asked.
    pub driver: Option<String>,
    /// The container's IPv4 address there, while it runs.
    pub ipv4: Option<Ipv4Addr>,
    /// The container's IPv6 address there, while it runs.
    pub ipv6: Option<Ipv6Addr>,
}

/// The answer to `GET /containers/NAME/json`, as far as it matters. Podman writes `null` where
/// Docker leaves a map empty.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    id: String,
    name: String,
    state: Option<State>,
    host_config: Option<HostConfig>,
    network_settings: Option<NetworkSettings>,
    config: Option<Config>,
}

/// One of the answer to `GET /networks`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkEntry {
    name: String,
    driver: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    pid: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    sandbox_key: String,
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAddress", default)]
    ipv4: String,
    #[serde(rename = "GlobalIPv6Address", default)]
    ipv6: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

// === impl Found ===

impl Found {
    /// The target of a publication: addresses where this host has a way to one, the network
    /// namespace otherwise. Neither while it does not run. `interface` is the link that routes
    /// lead to the addresses by.
    pub fn target(&self, interface: Option<String>) -> Target {
        let addressed = self.ipv4.is_some() || self.ipv6.is_some();
        Target::Foreign {
            engine: self.engine,
            id: self.id.clone(),
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            network: interface.filter(|_| addressed),
            sandbox: self.sandbox.clone().filter(|_| !addressed),
        }
    }

    /// Chooses the network that a publication uses.
    fn choose(mut self) -> Self {
        if self.rootless || !self.running {
            return self;
        }
        let default = default_bridge(self.engine);
        let usable = || self.networks.iter().filter(|network| network.is_reachable());
        let chosen = usable().find(|network| network.name == default).or_else(|| usable().next());
        if let Some(Network { name, ipv4, ipv6, .. }) = chosen.cloned() {
            (self.network, self.ipv4, self.ipv6) = (Some(name), ipv4, ipv6);
        }
        self
    }
}

// === impl Network ===

impl Network {
    fn is_reachable(&self) -> bool {
        let apart = self.driver.as_deref().is_some_and(|driver| APART.contains(&driver));
        !apart && (self.ipv4.is_some() || self.ipv6.is_some())
    }
}

// === impl Inspected ===

impl Inspected {
    /// What it says its id is.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The file that stands for its network namespace, as the engine sees it.
    pub(crate) fn sandbox_key(&self) -> &str {
        match &self.network_settings {
            Some(settings) if !self.is_on_host() => &settings.sandbox_key,
            _ => "",
        }
    }

    /// The id of its first process, if it runs in a network namespace of its own or a neighbour's.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process().filter(|_| !self.is_on_host())
    }

    /// Whether it is on networks besides the default bridge, so that their drivers matter.
    pub(crate) fn has_own_networks(&self) -> bool {
        let defaults = [Engine::Docker, Engine::Podman].map(default_bridge);
        self.endpoints().any(|(name, endpoint)| {
            let addressed = !endpoint.ipv4.is_empty() || !endpoint.ipv6.is_empty();
            addressed && !defaults.contains(&name)
        })
    }

    /// What it comes down to.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] when an id or an address is none.
    pub(crate) fn found(
        self,
        engine: Engine,
        rootless: bool,
        drivers: &[NetworkEntry],
        sandbox: Option<PathBuf>,
    ) -> Result<Found> {
        let strange = |what: &str, text: &str| Error::NotUnderstood {
            engine,
            why: format!("{what} {:?}", brief(text)),
        };
        if !is_id(&self.id) {
            return Err(strange("the id of a container is", &self.id));
        }
        let mut networks = Vec::new();
        for (name, endpoint) in self.endpoints() {
            let driver = drivers.iter().find(|entry| entry.name == name);
            networks.push(Network {
                name: name.to_owned(),
                driver: driver.map(|entry| entry.driver.clone()),
                ipv4: address(&endpoint.ipv4)
                    .map_err(|text| strange("an IPv4 address is", text))?,
                ipv6: address(&endpoint.ipv6)
                    .map_err(|text| strange("an IPv6 address is", text))?,
            });
        }
        let pid = self.process();
        let found = Found {
            engine,
            name: brief(self.name.strip_prefix('/').unwrap_or(&self.name)),
            running: pid.is_some(),
            pid,
            network: None,
            ipv4: None,
            ipv6: None,
            networks,
            sandbox,
            host_network: self.is_on_host(),
            rootless,
            exposed: self.exposed(),
            id: self.id,
        };
        Ok(found.choose())
    }

    fn is_on_host(&self) -> bool {
        self.host_config.as_ref().is_some_and(|config| config.network_mode == "host")
    }

    /// A container that is about to be restarted counts as running and has no process.
    fn process(&self) -> Option<u32> {
        let state = self.state.as_ref().filter(|state| state.running)?;
        u32::try_from(state.pid).ok().filter(|pid| *pid > 0)
    }

    fn endpoints(&self) -> impl Iterator<Item = (&str, &Endpoint)> {
        let networks =
            self.network_settings.iter().filter_map(|settings| settings.networks.as_ref());
        networks.flatten().filter_map(|(name, endpoint)| Some((name.as_str(), endpoint.as_ref()?)))
    }

    /// What is no port is left out: nothing depends on it.
    fn exposed(&self) -> Vec<Expose> {
        let ports = self.config.iter().filter_map(|config| config.exposed_ports.as_ref());
        let mut exposed: Vec<Expose> =
            ports.flatten().filter_map(|(text, _)| text.parse().ok()).collect();
        exposed.sort_unstable();
        exposed
    }
}

/// The network a container is on when nobody said otherwise. (Podman calls its own `bridge` in
/// lists of networks and `podman` everywhere else.)
fn default_bridge(engine: Engine) -> &'static str {
    match engine {
        Engine::Docker => "bridge",
        Engine::Podman => "podman",
    }
}

/// Whether a text can be a container's id; it goes into paths, logs and the ledger.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=ID_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An address, or none: an empty text, or one that nobody can be reached at.
fn address<A>(text: &str) -> std::result::Result<Option<A>, &str>
where
    A: std::str::FromStr + Copy + Into<IpAddr>,
{
    if text.is_empty() {
        return Ok(None);
    }
    let parsed: A = text.parse().map_err(|_| text)?;
    let ip: IpAddr = parsed.into();
    let somebodys = !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast();
    Ok(somebodys.then_some(parsed))
}
