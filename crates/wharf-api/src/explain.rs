//! The way a packet takes to what is published, as `wharf explain` tells it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be explained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainRequest {
    /// `PORT[/PROTOCOL]`, or with the host address that is asked: `HOST-IP:PORT[/PROTOCOL]`.
    pub port: String,
    /// Where the client is: an IP address, or `host` for a process of this host. Without it, on
    /// another host, or, for a loopback address, on this one.
    pub from: Option<String>,
}

/// One way, from one place to one publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The host address that is asked.
    pub address: String,
    /// The port that is asked.
    pub port: u16,
    /// Where the client is: an address, `this host` or `another host`.
    pub from: String,
    /// The publication's id, if something is published there.
    pub publication: Option<String>,
    /// What it leads to.
    pub target_name: Option<String>,
    /// The path as `wharf ports` names it; none when the client has no way to the publication.
    pub path: Option<String>,
    /// The plane that serves the path.
    pub plane: Option<String>,
    /// The source address the target sees: `client`, `host` or `gateway`.
    pub source: Option<String>,
    /// Whether no hop fails.
    pub works: bool,
    /// The first hop that fails.
    pub fails_at: Option<String>,
    /// The hops, in the order a packet meets them.
    pub hops: Vec<HopEntry>,
}

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HopEntry {
    /// `arrival`, `address`, `publication`, `allow-list`, `firewall`, `plane`, `rewriting`,
    /// `forwarding`, `bridge`, `veth`, `target`, `listening`, `way-back` or `source`.
    pub hop: String,
    /// `ok`, `fails`, or `unknown` where it cannot be told from here.
    pub status: String,
    /// What was seen.
    pub text: String,
    /// What to do where it fails: commands or advice, one each.
    pub remedy: Vec<String>,
}
