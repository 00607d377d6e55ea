//! Exposed ports: what `--expose` and an image's `EXPOSE` say a container listens on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ports::PortRange;
use crate::proto::Proto;
use crate::spec::SpecError;

/// Ports a container says it listens on; nothing is published by it. In JSON it is its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expose {
    /// The container's ports.
    pub ports: PortRange,
    /// The protocol.
    pub proto: Proto,
}

// === impl Expose ===

impl FromStr for Expose {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        parse(text).map_err(|reason| SpecError::Expose { text: text.to_owned(), reason })
    }
}

impl fmt::Display for Expose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ports, self.proto)
    }
}

impl TryFrom<String> for Expose {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<Expose> for String {
    fn from(expose: Expose) -> Self {
        expose.to_string()
    }
}

fn parse(text: &str) -> Result<Expose, String> {
    if text.contains(':') {
        return Err("a host port is given with -p".to_owned());
    }
    let (ports, proto) = text.split_once('/').unwrap_or((text, ""));
    let ports = PortRange::parse(ports).map_err(|malformed| malformed.to_string())?;
    if ports.contains(0) {
        return Err("a container has no port 0".to_owned());
    }
    let proto = if proto.is_empty() { Ok(Proto::Tcp) } else { proto.parse() };
    proto.map(|proto| Expose { ports, proto }).map_err(|error: SpecError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Expose>().map_or_else(|error| error.to_string(), |expose| expose.to_string())
    }

    #[test]
    fn ports_ranges_and_protocols_of_any_case() {
        assert_eq!(canonical("80"), "80/tcp");
        assert_eq!(canonical("80/"), "80/tcp");
        assert_eq!(canonical("80/UDP"), "80/udp");
        assert_eq!(canonical("3000-3005/tcp"), "3000-3005/tcp");
        assert_eq!(canonical("0080-80/Sctp"), "80/sctp");
    }

    #[test]
    fn a_refusal_says_why() {
        let texts = ["", "/tcp", "http", "90-80", "70000", "0", "80/foo", "8080:80", "1-2-3/udp"];
        insta::assert_snapshot!(texts.map(canonical).join("\n"), @r"
        invalid range format for --expose: , error: value is empty
        invalid range format for --expose: /tcp, error: value is empty
        invalid range format for --expose: http, error: invalid syntax
        invalid range format for --expose: 90-80, error: range is reversed
        invalid range format for --expose: 70000, error: value out of range (0–65535)
        invalid range format for --expose: 0, error: a container has no port 0
        invalid range format for --expose: 80/foo, error: invalid proto: foo
        invalid range format for --expose: 8080:80, error: a host port is given with -p
        invalid range format for --expose: 1-2-3/udp, error: invalid syntax
        ");
    }

    #[test]
    fn it_is_its_text_in_json() {
        let expose: Expose = "3000-3005/udp".parse().unwrap();
        let json = serde_json::to_string(&expose).unwrap();
        assert_eq!(json, r#""3000-3005/udp""#);
        assert_eq!(serde_json::from_str::<Expose>(&json).unwrap(), expose);
        assert!(serde_json::from_str::<Expose>(r#""90-80""#).is_err());
    }

    #[test]
    fn order_is_by_port_then_protocol() {
        let mut exposed: Vec<Expose> =
            ["443", "80/udp", "80", "80-90"].map(|text| text.parse().unwrap()).into();
        exposed.sort();
        let texts: Vec<String> = exposed.iter().map(Expose::to_string).collect();
        assert_eq!(texts, ["80/tcp", "80/udp", "80-90/tcp", "443/tcp"]);
    }
}
