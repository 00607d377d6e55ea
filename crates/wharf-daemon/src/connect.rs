//! How containers are connected: on networks of ours, or on none, the host's, or another's.
//!
//! A container on networks has a place on each, the first of which its published ports go by. The
//! other modes have no place: `none` has a loopback interface only, `host` sees the host's network,
//! and `container:NAME` shares that of a container that runs.

use std::sync::Arc;

use wharf_api::ContainerCreate;
use wharf_api::options::NetworkJoin;
use wharf_host::netns::Netns;
use wharf_network::{DEFAULT_NETWORK, Endpoint, Network, Requested, plug, unplug};
use wharf_runtime::client::Shim;
use wharf_runtime::spec::{self, ContainerSpec};

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::ledger::{Draft, State};
use crate::record::{Attachment, ContainerRecord};

mod check;
mod live;

pub(crate) use check::check;

/// The mode of a container that shares another's network begins with this.
const JOINED: &str = "container:";

/// How a container is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode<'a> {
    /// On the network of this name, and perhaps on others.
    Networks(&'a str),
    /// By nothing but loopback.
    None,
    /// To whatever the host is.
    Host,
    /// To whatever this container is.
    Joined(&'a str),
}

/// Where a new container is.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The name of the first network, or the mode in its place.
    pub network: String,
    /// The place on the first network.
    pub endpoint: Option<Endpoint>,
    /// The places on the others.
    pub further: Vec<Attachment>,
}

// === impl Mode ===

impl<'a> Mode<'a> {
    /// What `--network` means by `text`.
    pub(crate) fn of(text: &'a str) -> Self {
        match text {
            "none" => Self::None,
            "host" => Self::Host,
            _ => text.strip_prefix(JOINED).map_or(Self::Networks(text), Self::Joined),
        }
    }
}

/// Gives a new container its places on the networks it asks for.
pub(crate) fn lease(
    draft: &mut Draft<'_>,
    id: &str,
    request: &ContainerCreate,
) -> Result<Connected> {
    let asked = request.network.as_deref().unwrap_or(DEFAULT_NETWORK);
    let nowhere = |network: String| Connected { network, endpoint: None, further: Vec::new() };
    match Mode::of(asked) {
        Mode::None | Mode::Host => Ok(nowhere(asked.to_owned())),
        Mode::Joined(other) => {
            let other = &draft.before().find_container(other)?.id;
            Ok(nowhere(format!("{JOINED}{other}")))
        }
        Mode::Networks(name) => {
            let requested = Requested { ipv4: request.ip, ipv6: request.ip6 };
            let (network, endpoint) = attach(draft, id, 0, name, requested)?;
            let mut connected = Connected { network, ..nowhere(String::new()) };
            connected.endpoint = Some(endpoint);
            for (index, join) in (1..).zip(&request.names.networks) {
                connected.further.push(further(draft, id, index, join)?);
            }
            Ok(connected)
        }
    }
}

/// A place on one more network; `index` numbers the container's interfaces.
pub(crate) fn further(
    draft: &mut Draft<'_>,
    id: &str,
    index: usize,
    join: &NetworkJoin,
) -> Result<Attachment> {
    let requested = Requested { ipv4: join.ip, ipv6: join.ip6 };
    let (network, endpoint) = attach(draft, id, index, &join.network, requested)?;
    Ok(Attachment { network, endpoint, aliases: join.aliases.clone() })
}

fn attach(
    draft: &mut Draft<'_>,
    id: &str,
    index: usize,
    asked: &str,
    requested: Requested,
) -> Result<(String, Endpoint)> {
    let name = meant(draft.before(), asked)?.name.clone();
    let mut network = draft.network(&name)?;
    if network.containers().contains(id) {
        return Err(Error::Conflict(format!(
            "the container is on network {name} already: once is enough"
        )));
    }
    let endpoint = network.attach(id, index, requested)?;
    draft.put_network(network);
    Ok((name, endpoint))
}

/// The network that `asked` means: besides names and ids, Docker's words for the default one, as
/// long as no network is called so.
pub(crate) fn meant<'a>(state: &'a State, asked: &str) -> Result<&'a Network> {
    match asked {
        "default" | "bridge" if !state.networks.contains_key(asked) => {
            state.find_network(DEFAULT_NETWORK)
        }
        _ => state.find_network(asked),
    }
}

/// Takes back every place of a container.
pub(crate) fn give_back(draft: &mut Draft<'_>, record: &ContainerRecord) {
    for place in record.places() {
        if let Ok(mut network) = draft.network(place.network) {
            network.detach(&record.id);
            draft.put_network(network);
        }
    }
}

/// The host name of a new container: the one asked for, else the short id. Docker shows containers
/// on the host's network the host's.
pub(crate) fn hostname(id: &str, request: &ContainerCreate) -> String {
    let short = || id.get(..12).unwrap_or(id).to_owned();
    let mode = Mode::of(request.network.as_deref().unwrap_or(DEFAULT_NETWORK));
    let own = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    match &request.hostname {
        Some(hostname) => hostname.clone(),
        None if mode == Mode::Host => own(),
        None => short(),
    }
}

/// The refusal to publish ports of a container that is on no network.
pub(crate) fn nowhere_to_publish(record: &ContainerRecord) -> Error {
    let name = &record.name;
    Error::Conflict(match record.mode() {
        Mode::Host => format!(
            "container {name:?} is on the host's own network: what it listens on needs no \
             publishing"
        ),
        Mode::Joined(other) => format!(
            "container {name:?} shares the network of container {}: publish on that one",
            other.get(..12).unwrap_or(other)
        ),
        Mode::None | Mode::Networks(_) => format!(
            "container {name:?} is on no network: `wharf network connect NETWORK {name}` first"
        ),
    })
}

// === impl Daemon ===

impl Daemon {
    /// The network a container's published ports go by.
    pub(crate) fn first_network(&self, record: &ContainerRecord) -> Result<Option<Network>> {
        match record.endpoint {
            None => Ok(None),
            Some(_) => self.ledger.read(|it| it.find_network(&record.network).cloned()).map(Some),
        }
    }

    /// Refuses what a container cannot have where it is connected.
    pub(crate) fn check_connected(&self, record: &ContainerRecord) -> Result<()> {
        match record.mode() {
            // Whether that runs matters once it is started.
            Mode::Joined(_) => Ok(()),
            _ => self.files(record).map(drop),
        }
    }

    /// What the shim is to run, with the network it is to see.
    pub(crate) fn connected_spec(&self, record: &ContainerRecord) -> Result<ContainerSpec> {
        let mut spec = record.spec.clone();
        match record.mode() {
            Mode::Networks(_) | Mode::None => {}
            Mode::Host => spec.network = spec::Network::Host,
            Mode::Joined(id) => {
                let (other, shim) = self.running_other(id, &record.name)?;
                // As in Docker, who shares the network has its host name, too.
                spec.hostname = other.spec.hostname;
                let path = format!("/proc/{}/ns/net", shim.pid().pid);
                spec.network = spec::Network::Joined(path.into());
            }
        }
        Ok(spec)
    }

    /// The container with this id, which must run, for `name` to join.
    pub(crate) fn running_other(&self, id: &str, name: &str) -> Result<(ContainerRecord, Shim)> {
        let gone = |_| {
            Error::Conflict(format!(
                "container {name:?} shares the network of container {}, which is no more: make \
                 it anew on another",
                id.get(..12).unwrap_or(id)
            ))
        };
        let other = self.ledger.container(id).map_err(gone)?;
        let shim = Shim::adopt(&self.paths.shim(id))?.filter(|_| other.is_live());
        let shim = shim.ok_or_else(|| {
            Error::Conflict(format!(
                "cannot join network of a non running container: {}: `wharf start {}` first",
                other.name, other.name
            ))
        })?;
        Ok((other, shim))
    }

    /// Plugs a container that is being started into its networks, and begins to answer what it asks
    /// for names.
    pub(crate) fn join_networks(
        self: &Arc<Self>,
        record: &ContainerRecord,
        shim: &Shim,
    ) -> Result<()> {
        let netns = Netns::of_process(shim.pid().pid)?;
        let mut led = [false; 2];
        for place in record.places() {
            let network = self.ledger.read(|it| it.find_network(place.network).cloned())?;
            self.bring_up(&network)?;
            plug(&leading_out(place.endpoint, &mut led), &netns)?;
        }
        self.serve_names(record, shim)
    }

    /// Pulls a container out of its networks. Every place is tried; the first failure is told.
    pub(crate) fn leave_networks(&self, record: &ContainerRecord) -> Result<()> {
        self.names.stop(&record.id);
        let mut outcome = Ok(());
        for place in record.places() {
            let unplugged = unplug(place.endpoint).map(drop).map_err(Error::from);
            outcome = outcome.and(unplugged);
        }
        outcome
    }
}

/// The endpoint with the default routes that none before it has: `led` notes which there are, IPv4
/// first.
pub(crate) fn leading_out(endpoint: &Endpoint, led: &mut [bool; 2]) -> Endpoint {
    let mut endpoint = endpoint.clone();
    let [led4, led6] = led;
    if std::mem::replace(led4, *led4 || endpoint.gateway4.is_some()) {
        endpoint.gateway4 = None;
    }
    if std::mem::replace(led6, *led6 || endpoint.gateway6.is_some()) {
        endpoint.gateway6 = None;
    }
    endpoint
}
