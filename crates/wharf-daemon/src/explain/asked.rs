//! What is asked, as it was written.

use std::net::{IpAddr, SocketAddr};

use wharf_api::ExplainRequest;
use wharf_plan::explain::Origin;
use wharf_spec::{HostSide, Proto, Publication};

use crate::error::{Error, Result};

/// What somebody asks about, as far as it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) port: u16,
    pub(super) proto: Option<Proto>,
    pub(super) address: Option<IpAddr>,
    pub(super) from: Option<Origin>,
}

// === impl Asked ===

impl Asked {
    pub(super) fn parse(request: &ExplainRequest) -> Result<Self> {
        let (place, proto) = match request.port.split_once('/') {
            Some((place, proto)) => (place, Some(parse_proto(proto)?)),
            None => (request.port.as_str(), None),
        };
        let (address, port) = parse_place(place).ok_or_else(|| {
            let text = &request.port;
            Error::Invalid(format!(
                "invalid port {text:?}: use PORT[/PROTOCOL], as 8080 or 53/udp, or \
                 HOST-IP:PORT[/PROTOCOL], as 192.0.2.1:8080 or [::1]:8080"
            ))
        })?;
        let from = request.from.as_deref().map(parse_origin).transpose()?;
        Ok(Self { port, proto, address, from })
    }

    /// Whether a publication is one that is asked about; `routed` are the addresses of its target
    /// that are asked directly.
    pub(super) fn is_about(&self, publication: &Publication, routed: &[IpAddr]) -> bool {
        let proto = self.proto.is_none_or(|proto| proto == publication.proto);
        proto && (self.is_at_host(publication) || self.is_at_target(publication, routed).is_some())
    }

    /// Whether one of the host's addresses is asked.
    pub(super) fn is_at_host(&self, publication: &Publication) -> bool {
        let HostSide { addresses, ports } = &publication.host;
        let is_there = |address: IpAddr| {
            let takes = |it: &IpAddr| {
                *it == address || (it.is_unspecified() && it.is_ipv4() == address.is_ipv4())
            };
            addresses.iter().any(takes)
        };
        ports.contains(self.port) && !addresses.is_empty() && self.address.is_none_or(is_there)
    }

    /// The target's own address, if that is asked.
    pub(super) fn is_at_target(
        &self,
        publication: &Publication,
        routed: &[IpAddr],
    ) -> Option<IpAddr> {
        let has_port = publication.target_ports.contains(self.port);
        let is_asked = |address: &&IpAddr| self.address.is_none_or(|asked| asked == **address);
        routed.iter().find(is_asked).copied().filter(|_| has_port)
    }
}

fn parse_proto(text: &str) -> Result<Proto> {
    match text.parse() {
        Ok(Proto::Sctp) | Err(_) => {
            Err(Error::Invalid(format!("invalid protocol {text:?}: use tcp or udp")))
        }
        Ok(proto) => Ok(proto),
    }
}

fn parse_place(text: &str) -> Option<(Option<IpAddr>, u16)> {
    let (address, port) = match text.parse::<SocketAddr>() {
        Ok(at) => (Some(at.ip()).filter(|address| !address.is_unspecified()), at.port()),
        Err(_) => (None, text.parse().ok()?),
    };
    (port > 0).then_some((address, port))
}

fn parse_origin(text: &str) -> Result<Origin> {
    if text == "host" {
        return Ok(Origin::Host);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address: Option<IpAddr> = bare.parse().ok();
    match address.filter(|it| !it.is_unspecified() && !it.is_multicast()) {
        Some(address) if address.is_loopback() => Ok(Origin::Host),
        Some(address) => Ok(Origin::Address(address)),
        None => Err(Error::Invalid(format!(
            "invalid client {text:?}: use an IP address, or host for a process of this host"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(port: &str, from: Option<&str>) -> Result<Asked> {
        let request = ExplainRequest { port: port.into(), from: from.map(str::to_owned) };
        Asked::parse(&request)
    }

    #[test]
    fn a_port_may_have_an_address_and_a_protocol() {
        let bare = parse("8080", None).unwrap();
        assert_eq!((bare.port, bare.proto, bare.address, bare.from), (8080, None, None, None));
        let whole = parse("[::1]:53/udp", Some("host")).unwrap();
        assert_eq!((whole.port, whole.proto), (53, Some(Proto::Udp)));
        assert_eq!((whole.address, whole.from), ("::1".parse().ok(), Some(Origin::Host)));
        assert_eq!(parse("0.0.0.0:80", None).unwrap().address, None);
        let client = Origin::Address("192.0.2.1".parse().unwrap());
        assert_eq!(parse("80", Some("192.0.2.1")).unwrap().from, Some(client));
        assert_eq!(parse("80", Some("127.0.0.1")).unwrap().from, Some(Origin::Host));
    }

    #[test]
    fn what_is_not_understood_is_told_what_would_be() {
        for port in ["", "0", "web", "80/sctp", "80/", "70000", "::1:80", "80:8080"] {
            let text = parse(port, None).unwrap_err().to_string();
            assert!(text.starts_with("invalid p") && text.contains("use "), "{port}: {text}");
        }
        for from in ["", "web", "0.0.0.0", "224.0.0.1"] {
            let text = parse("80", Some(from)).unwrap_err().to_string();
            assert!(text.contains("use an IP address"), "{from}: {text}");
        }
    }
}
