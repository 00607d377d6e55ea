//! Port specs: what a person writes after `-p`.

use std::net::IpAddr;

use crate::options::PublishOptions;
use crate::ports::PortRange;
use crate::proto::Proto;

/// A parsed port spec; a range is one spec.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Why a port spec was refused. The texts are Docker's where Docker has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not tcp, udp or sctp.
    #[error("invalid proto: {0}")]
    Proto(String),
    /// A named option with a value it does not take.
    #[error("invalid value {value:?} for {key}: use {}", wanted.join(", "))]
    OptionValue {
        /// The option.
        key: &'static str,
        /// What was written.
        value: String,
        /// What it takes.
        wanted: &'static [&'static str],
    },
}
