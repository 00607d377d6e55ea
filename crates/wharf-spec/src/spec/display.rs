//! From port spec to its canonical text, which parses back to the same spec.

use std::fmt;

use crate::render::Bracketed;
use crate::spec::{HostPorts, PortSpec};

// === impl PortSpec ===

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.host_ip {
            write!(f, "{}:", Bracketed(ip))?;
        }
        match self.host_ports {
            HostPorts::Exact(range) | HostPorts::AnyOf(range) => write!(f, "{range}:")?,
            HostPorts::Ephemeral if self.host_ip.is_some() => f.write_str(":")?,
            HostPorts::Ephemeral => (),
        }
        write!(f, "{}/{}", self.container_ports, self.proto)?;
        if self.options.is_default() { Ok(()) } else { write!(f, ",{}", self.options) }
    }
}

impl From<PortSpec> for String {
    fn from(spec: PortSpec) -> Self {
        spec.to_string()
    }
}
