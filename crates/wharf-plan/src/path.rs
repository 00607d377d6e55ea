//! The paths to a publication, the plane that serves each, and the source address seen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a client stands, as far as it decides which plane can serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Another host, or a container on another network, over IPv4.
    ExternalV4,
    /// Another host, or a container on another network, over IPv6.
    ExternalV6,
    /// A process of this host that asks for a loopback address.
    HostLoopback,
    /// A process of this host that asks for one of the host's own addresses.
    HostAddress,
    /// The target itself, or a neighbour on its bridge.
    SameBridge,
}

/// A way to carry packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// Kernel NAT.
    Nft,
    /// eBPF: the host's own processes are connected straight to the target.
    Ebpf,
    /// The user-space relay.
    Relay,
    /// No rewriting: the target's own address is routed (gateway mode `routed`).
    Routed,
}

/// The source address a target sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceSeen {
    /// The client's own address.
    Client,
    /// The host address the client used.
    Host,
    /// The gateway of the target's network.
    Gateway,
}

/// One path of one publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPlan {
    /// The path.
    pub path: Path,
    /// The plane that serves it.
    pub plane: Plane,
    /// The source address the target sees.
    pub source: SourceSeen,
    /// Why not a faster plane; `None` when the first choice serves.
    pub reason: Option<String>,
}

/// How one publication is served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationPlan {
    /// The paths that exist for its addresses.
    pub paths: Vec<PathPlan>,
    /// Whether the relay, wherever it serves, uses clients' addresses as far as it can.
    pub relay_keeps_clients: bool,
    /// Whether one socket listens for the whole range.
    pub steered: bool,
}

// === impl Plane ===

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nft => "nft",
            Self::Ebpf => "ebpf",
            Self::Relay => "relay",
            Self::Routed => "routed",
        })
    }
}

// === impl SourceSeen ===

impl fmt::Display for SourceSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Host => "host",
            Self::Gateway => "gateway",
        })
    }
}

// === impl PublicationPlan ===

impl PublicationPlan {
    /// The planes that serve, fastest first, each once.
    pub fn planes(&self) -> Vec<Plane> {
        let mut planes: Vec<Plane> = self.paths.iter().map(|path| path.plane).collect();
        planes.sort_unstable();
        planes.dedup();
        planes
    }

    /// The source address external clients are seen with, the one most people ask about; that of
    /// the host's own paths when there is no external one.
    pub fn source(&self) -> SourceSeen {
        let external = |plan: &&PathPlan| matches!(plan.path, Path::ExternalV4 | Path::ExternalV6);
        self.paths
            .iter()
            .filter(external)
            .map(|plan| plan.source)
            .min()
            .or_else(|| self.paths.first().map(|plan| plan.source))
            .unwrap_or(SourceSeen::Gateway)
    }

    /// Every distinct reason for not using a faster plane.
    pub fn reasons(&self) -> Vec<&str> {
        let mut reasons: Vec<&str> =
            self.paths.iter().filter_map(|plan| plan.reason.as_deref()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}
