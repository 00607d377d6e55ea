//! Why a text was refused.
//!
//! The texts are Docker's where Docker has one, so that scripts which look at them keep working;
//! what Docker leaves out is in [`SpecError::hint`].

use std::net::IpAddr;

use crate::ports::PortRange;

/// Why a port spec, an option, an exposed port or a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not tcp, udp or sctp.
    #[error("invalid proto: {0}")]
    Proto(String),
    /// There is no container port.
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    /// The host address is not a numeric address.
    #[error("invalid IP address: {0}")]
    IpAddress(String),
    /// The host port is neither a number of 0 to 65535 nor a range that ascends.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// The container port is neither a number of 0 to 65535 nor a range that ascends.
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    /// A container range with a host range of another length.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container's ports as written.
        container: String,
        /// The host's ports as written.
        host: String,
    },
    /// A host range that begins with port 0.
    #[error("invalid port range: {0}")]
    HostRange(PortRange),
    /// A port of a binding that is no port, or container port 0.
    #[error("invalid port specification: {0:?}")]
    Specification(String),
    /// A part that should be `name=value` and is not.
    #[error("invalid publish opts format (should be name=value but got '{0}')")]
    PublishFormat(String),
    /// A name that nothing is known by.
    #[error("invalid field key: {key}: use {}", wanted.join(", "))]
    FieldKey {
        /// What was written.
        key: String,
        /// The names that may stand there.
        wanted: Vec<&'static str>,
    },
    /// A name that may stand only once.
    #[error("duplicate field key: {0}: give it once")]
    DuplicateKey(&'static str),
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
    /// Not a port or range to expose.
    #[error("invalid range format for --expose: {text}, error: {reason}")]
    Expose {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a name for a container.
    #[error("invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    ContainerName(String),
    /// Not a name for a network.
    #[error("invalid network name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    NetworkName(String),
    /// Nothing that traffic could go to.
    #[error("invalid target {text:?}: {reason}")]
    Target {
        /// What was written.
        text: String,
        /// What would be right.
        reason: &'static str,
    },
    /// Not a host name by RFC 1123.
    #[error("invalid hostname: {name}: {reason}")]
    Hostname {
        /// What was written.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not what a flag takes.
    #[error("invalid {what} {text:?}: {reason}")]
    Argument {
        /// What was to be given.
        what: &'static str,
        /// What was written.
        text: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
}

// === impl SpecError ===

impl SpecError {
    pub(crate) fn argument(what: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self::Argument { what, text: text.to_owned(), reason: reason.into() }
    }

    /// What would be right, where the text alone does not say it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Proto(_) => Some("use tcp, udp or sctp"),
            Self::NoPort(_) => Some("a container port is needed, as in 8080:80"),
            Self::IpAddress(text) if text.starts_with('[') => Some(
                "close the bracket, and give two ports after it, as in [::1]:8080:80, or [::1]::80 \
                 for any free host port",
            ),
            Self::IpAddress(_) => Some(
                "give a numeric address such as 127.0.0.1 or [::1]; host names, interface names \
                 and zones are not taken",
            ),
            Self::HostPort(text) if text.parse::<IpAddr>().is_ok() => Some(
                "two ports come after an address, as in 127.0.0.1:8080:80, or 127.0.0.1::80 for \
                 any free host port",
            ),
            Self::HostPort(_) | Self::ContainerPort(_) => {
                Some("give a port of 0 to 65535, or a range that ascends, as in 8000-8002")
            }
            Self::Ranges { .. } => Some(
                "give as many host ports as container ports, or a single container port for any \
                 one free port of the host range",
            ),
            Self::HostRange(_) => Some("port 0 means any free port and cannot be part of a range"),
            Self::Specification(_) => Some("ports are numbers, and a container has no port 0"),
            Self::ContainerName(_) | Self::NetworkName(_) => {
                Some("names have 2 to 255 characters and begin with a letter or a digit")
            }
            Self::PublishFormat(_)
            | Self::FieldKey { .. }
            | Self::DuplicateKey(_)
            | Self::OptionValue { .. }
            | Self::Expose { .. }
            | Self::Target { .. }
            | Self::Hostname { .. }
            | Self::Argument { .. } => None,
        }
    }
}
