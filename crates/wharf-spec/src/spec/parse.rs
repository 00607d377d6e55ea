//! From text to port spec.

use std::net::IpAddr;
use std::str::FromStr;

use crate::options::fields::{Key, fields};
use crate::options::{OPTION_KEYS, PublishOptions};
use crate::ports::PortRange;
use crate::proto::Proto;
use crate::spec::{HostPorts, PortSpec, SpecError};

/// The keys of the long form; all others than the first three are Wharf's.
pub(crate) const LONG_KEYS: &[Key] = &[
    Key::Published,
    Key::Target,
    Key::Protocol,
    Key::Via,
    Key::Source,
    Key::Allow,
    Key::ProxyProtocol,
];

// === impl PortSpec ===

impl FromStr for PortSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (first, rest) = match text.split_once(',') {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        if first.contains('=') {
            return long(text);
        }
        let mut spec = short(first)?;
        if let Some(rest) = rest {
            spec.options = PublishOptions::from_fields(&fields(rest, OPTION_KEYS)?)?;
        }
        Ok(spec)
    }
}

impl PortSpec {
    /// Reads one binding of a Docker API request: the key of `PortBindings` (`"80/tcp"`) with its
    /// `HostIp` and `HostPort`, either of which may be empty.
    pub fn from_binding(container: &str, ip: &str, port: &str) -> Result<Self, SpecError> {
        let refused = |text: &str| SpecError::Specification(text.to_owned());
        let (numbers, proto) = split_proto(container)?;
        let container_ports = PortRange::parse(numbers).map_err(|_| refused(container))?;
        let host_ip = host_ip(ip)?;
        let host = HostText::parse(port).map_err(|_| refused(port))?;
        let host_ports = host.for_container(container_ports, numbers)?;
        refuse_port_zero(container_ports, proto)?;
        let options = PublishOptions::default();
        Ok(Self { host_ip, host_ports, container_ports, proto, options })
    }
}

impl TryFrom<String> for PortSpec {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

/// The order of the checks is Docker's, so that a text with two faults gets the same error.
fn short(text: &str) -> Result<PortSpec, SpecError> {
    // From the right, because an IPv6 address may stand without brackets.
    let mut parts = text.rsplitn(3, ':');
    let mut part = || parts.next().unwrap_or_default();
    let (container, host, ip) = (part(), part(), part());
    if container.is_empty() || container.starts_with('/') {
        return Err(SpecError::NoPort(text.to_owned()));
    }
    let (container, proto) = split_proto(container)?;
    let host_ip = host_ip(ip)?;
    let container_ports =
        PortRange::parse(container).map_err(|_| SpecError::ContainerPort(container.to_owned()))?;
    let host = HostText::parse(host).map_err(|_| SpecError::HostPort(host.to_owned()))?;
    let host_ports = host.for_container(container_ports, container)?;
    refuse_port_zero(container_ports, proto)?;
    let options = PublishOptions::default();
    Ok(PortSpec { host_ip, host_ports, container_ports, proto, options })
}

/// Docker rewrites the long form to the short one, hence `published` may hold an address too.
/// It also drops keys it does not know; here they are refused, lest `mode=host` or a mistyped
/// `allow` be lost in silence.
fn long(text: &str) -> Result<PortSpec, SpecError> {
    let fields = fields(text, LONG_KEYS)?;
    let value = |wanted| fields.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
    let published = value(Key::Published).unwrap_or_default();
    let target = value(Key::Target).unwrap_or_default();
    let protocol = value(Key::Protocol).unwrap_or("tcp");
    let mut spec = short(&format!("{published}:{target}/{protocol}"))?;
    spec.options = PublishOptions::from_fields(&fields)?;
    Ok(spec)
}

/// An empty protocol is TCP, with or without its slash.
fn split_proto(text: &str) -> Result<(&str, Proto), SpecError> {
    match text.split_once('/') {
        None => Ok((text, Proto::Tcp)),
        Some((ports, "")) => Ok((ports, Proto::Tcp)),
        Some((ports, proto)) => Ok((ports, proto.parse()?)),
    }
}

/// `[]` is refused though Docker takes it for "no address": it is what `[$IP]` becomes when the
/// variable is not set, and would open the port to everyone.
fn host_ip(text: &str) -> Result<Option<IpAddr>, SpecError> {
    if text.is_empty() {
        return Ok(None);
    }
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let bare = inner.filter(|inner| !inner.is_empty()).unwrap_or(text);
    // An IPv4-mapped address cannot be bound on a socket with IPV6_V6ONLY; it means IPv4.
    let address = bare.parse::<IpAddr>().map(|address| address.to_canonical());
    address.map(Some).map_err(|_| SpecError::IpAddress(bare.to_owned()))
}

fn refuse_port_zero(ports: PortRange, proto: Proto) -> Result<(), SpecError> {
    if ports.contains(0) {
        return Err(SpecError::Specification(format!("0/{proto}")));
    }
    Ok(())
}

/// Host ports as written, not yet held against the container's.
struct HostText<'a> {
    text: &'a str,
    range: Option<PortRange>,
}

// === impl HostText ===

impl<'a> HostText<'a> {
    fn parse(text: &'a str) -> Result<Self, crate::ports::Malformed> {
        let range = if text.is_empty() { None } else { Some(PortRange::parse(text)?) };
        Ok(Self { text, range })
    }

    fn for_container(&self, ports: PortRange, text: &str) -> Result<HostPorts, SpecError> {
        let Some(range) = self.range else {
            return Ok(HostPorts::Ephemeral);
        };
        if range.count() != ports.count() && !ports.is_single() {
            let (container, host) = (text.to_owned(), self.text.to_owned());
            return Err(SpecError::Ranges { container, host });
        }
        match (range.contains(0), range.is_single(), ports.is_single()) {
            (true, true, _) => Ok(HostPorts::Ephemeral),
            (true, false, _) => Err(SpecError::HostRange(range)),
            (false, false, true) => Ok(HostPorts::AnyOf(range)),
            (false, ..) => Ok(HostPorts::Exact(range)),
        }
    }
}
