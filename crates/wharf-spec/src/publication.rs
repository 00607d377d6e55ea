//! A publication: one promise that traffic to these host addresses and ports reaches that target.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::options::PublishOptions;
use crate::ports::PortRange;
use crate::proto::Proto;

/// The stable identity of a publication, assigned when it is resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicationId(pub String);

/// A resolved promise: every address and port is a number. A range is one publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Its identity.
    pub id: PublicationId,
    /// The transport protocol.
    pub proto: Proto,
    /// Where clients reach it.
    pub host: HostSide,
    /// Where it goes.
    pub target: Target,
    /// The target's ports; as many as the host's.
    pub target_ports: PortRange,
    /// How it is to be served.
    pub options: PublishOptions,
}

/// The host's side of a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSide {
    /// Host addresses; the unspecified address of a family means all addresses of that family.
    pub addresses: Vec<IpAddr>,
    /// The same ports on every address.
    pub ports: PortRange,
}

/// Where traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// A container on one of our networks.
    Container {
        /// The container's identity.
        id: String,
        /// Its IPv4 address on the network that carries the publication.
        ipv4: Option<Ipv4Addr>,
        /// Its IPv6 address on that network.
        ipv6: Option<Ipv6Addr>,
        /// The network that carries the publication.
        network: String,
    },
}

// === impl PublicationId ===

impl fmt::Display for PublicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

// === impl Publication ===

impl Publication {
    /// The target port that `host_port` leads to.
    pub fn target_port(&self, host_port: u16) -> Option<u16> {
        self.host.ports.map(host_port, self.target_ports)
    }

    /// Whether host and target ports are the same numbers.
    pub fn keeps_numbers(&self) -> bool {
        self.host.ports == self.target_ports
    }
}

// === impl HostSide ===

impl HostSide {
    /// Whether both wildcard addresses are held, so that one dual-stack socket per port suffices.
    pub fn is_dual_wildcard(&self) -> bool {
        self.addresses.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            && self.addresses.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

// === impl Target ===

impl Target {
    /// The target's IPv4 address, if it has one.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Container { ipv4, .. } => *ipv4,
        }
    }

    /// The target's IPv6 address, if it has one.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        match self {
            Self::Container { ipv6, .. } => *ipv6,
        }
    }
}
