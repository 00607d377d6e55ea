//! Which hosts may be spoken to without TLS.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::error::Error;

/// Hosts that may be spoken to over plain HTTP: this machine itself, and those that were named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    named: Vec<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// `HOST:PORT`, or `HOST` for any port.
    Host(String),
    Network(IpNet),
}

// === impl Hosts ===

impl Hosts {
    /// Those `named`, `HOST[:PORT]` or a network of addresses each, besides this machine.
    ///
    /// # Errors
    /// [`Error::Spec`] when one is neither.
    pub fn new<'a>(named: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let named = named.into_iter().filter(|text| !text.is_empty()).map(str::parse);
        Ok(Self { named: named.collect::<Result<_, _>>()? })
    }

    /// Whether plain HTTP is allowed to `authority`, a host with or without a port.
    pub fn allow_plain(&self, authority: &str) -> bool {
        let host = host_of(authority);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let own = match address {
            Some(address) => address.to_canonical().is_loopback(),
            // RFC 6761: such names never leave the machine.
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        own || self.named.iter().any(|named| match named {
            Named::Host(name) => {
                name.eq_ignore_ascii_case(authority) || name.eq_ignore_ascii_case(host)
            }
            Named::Network(network) => {
                address.is_some_and(|address| network.contains(&address.to_canonical()))
            }
        })
    }
}

impl FromStr for Named {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.contains("://") {
            return Err(Error::Spec(format!(
                "invalid insecure registry {text:?}: leave the scheme out, as in HOST:PORT"
            )));
        }
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network));
        }
        let host = host_of(text);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        if host.is_empty() || !text.bytes().all(plain) {
            return Err(Error::Spec(format!(
                "invalid insecure registry {text:?}: use HOST, HOST:PORT or a network like 10.0.0.0/8"
            )));
        }
        Ok(Self::Host(text.to_owned()))
    }
}

/// The host of `HOST[:PORT]`, IPv6 addresses with their brackets.
pub(super) fn host_of(authority: &str) -> &str {
    let after = authority.rfind(']').unwrap_or(0);
    match authority.get(after..).and_then(|rest| rest.rfind(':')) {
        Some(colon) => authority.get(..after + colon).unwrap_or(authority),
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_plain_without_being_named() {
        let hosts = Hosts::default();
        for host in ["localhost:5000", "127.0.0.1", "127.9.9.9:80", "[::1]:5000", "a.localhost"] {
            assert!(hosts.allow_plain(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example:80", "[fd00::1]:80", "docker.io", "127.evil"] {
            assert!(!hosts.allow_plain(host), "{host}");
        }
    }

    #[test]
    fn others_are_named_by_host_port_or_network() {
        let hosts = Hosts::new(["reg:5000", "any", "10.0.0.0/8", "[fd00::1]:5000"]).unwrap();
        for host in ["reg:5000", "REG:5000", "any", "any:1", "10.2.3.4:80", "[fd00::1]:5000"] {
            assert!(hosts.allow_plain(host), "{host}");
        }
        for host in ["reg", "reg:5001", "11.0.0.1", "[fd00::2]:5000", "[fd00::1]"] {
            assert!(!hosts.allow_plain(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["http://reg:5000", "a/b", "a b", ":5000"] {
            assert!(Hosts::new([text]).is_err(), "{text}");
        }
    }
}
