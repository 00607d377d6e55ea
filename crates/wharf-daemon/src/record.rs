//! A container, and a publication, as the ledger keeps them.

use serde::{Deserialize, Serialize};
use wharf_api::{ContainerCreate, ContainerState};
use wharf_network::Endpoint;
use wharf_runtime::health::HealthSpec;
use wharf_runtime::spec::ContainerSpec;
use wharf_spec::{Expose, Publication, TargetName};

use crate::connect::Mode;
use crate::restart::Restarts;

/// Everything that is known of a container, and enough to finish or undo whatever a crash
/// interrupted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// What was asked for.
    pub request: ContainerCreate,
    /// The image it was made from.
    pub image_id: String,
    /// What the shim is to run.
    pub spec: ContainerSpec,
    /// The ports it exposes.
    pub exposed: Vec<Expose>,
    /// The name of its first network; `none`, `host` or `container:ID` when it is on none.
    pub network: String,
    /// Its place on the first network, by which its ports are published.
    pub endpoint: Option<Endpoint>,
    /// Its other names on the first network.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its places on other networks.
    #[serde(default)]
    pub further: Vec<Attachment>,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it was last started (RFC 3339).
    pub started: Option<String>,
    /// How it last ended.
    pub exit: Option<ExitRecord>,
    /// Why it could not be started the last time.
    pub failure: Option<String>,
    /// How its health is found out, if at all.
    #[serde(default)]
    pub health: Option<HealthSpec>,
    /// How its restarts stand.
    #[serde(default)]
    pub restarts: Restarts,
    /// Whether its processes stand still.
    #[serde(default)]
    pub paused: bool,
    /// Whether volumes without a name go with it; said when its removal begins.
    #[serde(default)]
    pub with_volumes: bool,
}

/// A container's place on a network that is not its first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// The name of the network.
    pub network: String,
    /// Its place on the network.
    pub endpoint: Endpoint,
    /// Its other names on the network.
    pub aliases: Vec<String>,
}

/// A container's place on any of its networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// The name of the network.
    pub network: &'a str,
    /// Its place on the network.
    pub endpoint: &'a Endpoint,
    /// Its other names on the network.
    pub aliases: &'a [String],
}

/// A publication in the ledger: in force, unless something is said to stand in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublicationRecord {
    /// What is promised.
    pub publication: Publication,
    /// Whose it is.
    pub owner: Owner,
    /// The specs it was made from; none when the image's exposed ports were all to be published.
    pub specs: Vec<String>,
    /// Whether it was made while its container ran. It is kept then while the container is stopped;
    /// the others are made anew from the container's own specs.
    pub lasting: bool,
    /// Since when it has been in force (RFC 3339).
    pub since: String,
    /// Why it is not in force just now: its container is stopped, perhaps.
    pub suspended: Option<String>,
}

/// Whose a publication is; it goes with its owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Owner {
    /// A container of ours, by id; in force while it runs.
    Container(String),
    /// Something that was there without us.
    Target(TargetName),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    /// The exit code, 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// When (RFC 3339).
    pub finished: String,
    /// Whether memory was used up.
    #[serde(default)]
    pub oom_killed: bool,
}

/// Where a container is in its life. Every step that touches the host is announced here first, so
/// that after a crash the next start knows what may lie about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Being made; nobody has been told of it yet, so a crash undoes it.
    Creating,
    /// Made, never started.
    Created,
    /// Being started; a crash undoes it unless its process already runs.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
    /// Being removed; a crash finishes it.
    Removing,
}

// === impl ContainerRecord ===

impl ContainerRecord {
    /// The state as the API tells it.
    pub(crate) fn state(&self) -> ContainerState {
        match self.phase {
            _ if self.is_restarting() => ContainerState::Restarting,
            Phase::Creating | Phase::Created => ContainerState::Created,
            Phase::Starting if self.exit.is_some() => ContainerState::Exited,
            Phase::Starting => ContainerState::Created,
            Phase::Running if self.paused => ContainerState::Paused,
            Phase::Running => ContainerState::Running,
            Phase::Exited => ContainerState::Exited,
            Phase::Removing => ContainerState::Removing,
        }
    }

    /// The phase to fall back to when a start fails.
    pub(crate) fn phase_at_rest(&self) -> Phase {
        if self.exit.is_some() { Phase::Exited } else { Phase::Created }
    }

    /// Whether its processes run, or are about to.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Creating | Phase::Created | Phase::Exited | Phase::Removing)
    }

    /// Its places on networks, the first network's first.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let first = self.endpoint.as_ref().map(|endpoint| Place {
            network: &self.network,
            endpoint,
            aliases: &self.aliases,
        });
        let further = self.further.iter().map(|it| Place {
            network: &it.network,
            endpoint: &it.endpoint,
            aliases: &it.aliases,
        });
        first.into_iter().chain(further)
    }

    /// Whether it has a place on the network called `name`.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.places().any(|place| place.network == name)
    }

    /// How it is connected.
    pub(crate) fn mode(&self) -> Mode<'_> {
        Mode::of(&self.network)
    }

    /// The first twelve digits of the id.
    pub(crate) fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}
