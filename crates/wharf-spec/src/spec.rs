//! Port specs: what a person writes after `-p`.
//!
//! ```text
//! [host-ip:][host-port[-end]:]container-port[-end][/proto][,key=value…]
//! published=[host-ip:]host-port[-end],target=container-port[-end][,protocol=proto][,key=value…]
//! ```
//!
//! Both forms and the error texts are Docker's. Wharf's own are the keys `via=auto|relay|nft|ebpf`,
//! `source=client|gateway`, `allow=NETWORK[,NETWORK…]` and `proxy-protocol=v1|v2`, and that a
//! range stays one spec.
//!
//! Wharf is stricter than `docker run` where Docker would lose what was written: an unknown key
//! and a key given twice are refused, and so are `[]` as an address and port 0 within a range.

mod display;
mod error;
mod parse;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use error::SpecError;
pub(crate) use parse::LONG_KEYS;

use crate::options::PublishOptions;
use crate::ports::PortRange;
use crate::proto::Proto;

/// A parsed port spec; a range is one spec. In JSON it is its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSpec {
    /// The host address asked for; `None` means the default addresses.
    pub host_ip: Option<IpAddr>,
    /// The host ports asked for.
    pub host_ports: HostPorts,
    /// The container's ports.
    pub container_ports: PortRange,
    /// The protocol.
    pub proto: Proto,
    /// The named extensions.
    pub options: PublishOptions,
}

/// The host ports a spec asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPorts {
    /// Any free port; for a container range each port gets its own.
    Ephemeral,
    /// Exactly these, one for each container port.
    Exact(PortRange),
    /// Any one free port of these, for a single container port.
    AnyOf(PortRange),
}
