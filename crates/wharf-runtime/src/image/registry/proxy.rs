//! HTTP proxies, by the variables that every program of Go's reads: `HTTPS_PROXY`, `HTTP_PROXY`,
//! `NO_PROXY`.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::place::{Place, Scheme};

/// Which proxy is asked for which host.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    https: Option<String>,
    http: Option<String>,
    none: Vec<String>,
}

/// A proxy that is asked to connect to a host (HTTP's `CONNECT`).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) place: Place,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<String>,
}

// === impl Proxies ===

impl Proxies {
    pub(super) fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            let found = variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
            found.filter(|value| !value.is_empty())
        };
        let none = get("NO_PROXY").unwrap_or_default();
        let none = none.split([',', ' ']).filter(|entry| !entry.is_empty());
        Self {
            https: get("HTTPS_PROXY"),
            http: get("HTTP_PROXY"),
            none: none.map(str::to_ascii_lowercase).collect(),
        }
    }

    /// The proxy for `place`, if it has one.
    ///
    /// # Errors
    /// Says what is wrong with the variable.
    pub(super) fn of(&self, place: &Place) -> Result<Option<Proxy>, String> {
        let configured = match place.scheme {
            Scheme::Https => &self.https,
            Scheme::Http => &self.http,
        };
        match configured {
            Some(text) if !self.goes_without(place) => Proxy::parse(text).map(Some),
            _ => Ok(None),
        }
    }

    fn goes_without(&self, place: &Place) -> bool {
        let host = place.host().to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.none.iter().any(|entry| {
            if let (Some(address), Ok(network)) = (address, entry.parse::<IpNet>()) {
                return network.contains(&address);
            }
            let (entry, port) = match entry.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
                _ => (entry.as_str(), None),
            };
            let name = entry.trim_start_matches("*.").trim_start_matches('.');
            let covers = entry == "*"
                || host == name
                || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
            covers && port.is_none_or(|port: u16| port == place.port())
        })
    }
}

// === impl Proxy ===

impl Proxy {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "use http://[USER:PASSWORD@]HOST:PORT in HTTPS_PROXY and HTTP_PROXY";
        let address = text.strip_prefix("http://").unwrap_or(text);
        if address.contains("://") {
            return Err(format!("this kind of proxy is not known; {}", wrong()));
        }
        let (user, address) = match address.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, address),
        };
        let place = Place::parse(&format!("http://{address}")).ok_or_else(wrong)?;
        let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(decoded(user))));
        Ok(Self { place, authorization })
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.place.authority)
    }
}

/// `%41` as `A`: passwords in addresses are written that way.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn place(text: &str) -> Place {
        Place::parse(text).unwrap()
    }

    #[test]
    fn hosts_go_by_the_proxy_of_their_scheme() {
        let proxies =
            proxies(&[("https_proxy", "http://u:p%40w@proxy:3128"), ("HTTP_PROXY", "other:80")]);
        let proxy = proxies.of(&place("https://quay.io/v2/")).unwrap().unwrap();
        assert_eq!((proxy.place.host(), proxy.place.port()), ("proxy", 3128));
        assert_eq!(proxy.authorization.unwrap(), "Basic dTpwQHc=");
        assert_eq!(proxies.of(&place("http://a/")).unwrap().unwrap().place.host(), "other");
        for own in ["http://localhost:5000/", "http://127.0.0.1:1/", "https://[::1]/"] {
            assert_eq!(proxies.of(&place(own)).unwrap(), None, "{own}");
        }
    }

    #[test]
    fn exceptions_are_hosts_domains_networks_and_ports() {
        let none = "example.com, .corp ,10.0.0.0/8,only:5000";
        let proxies = proxies(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", none)]);
        for own in ["example.com", "a.example.com", "x.corp", "10.1.2.3:80", "only:5000"] {
            assert_eq!(proxies.of(&place(&format!("https://{own}/"))).unwrap(), None, "{own}");
        }
        for other in ["notexample.com", "11.0.0.1", "only:5001"] {
            let found = proxies.of(&place(&format!("https://{other}/"))).unwrap();
            assert!(found.is_some(), "{other}");
        }
    }

    #[test]
    fn other_kinds_are_refused() {
        let proxies = proxies(&[("HTTPS_PROXY", "socks5://p:1")]);
        assert!(proxies.of(&place("https://a/")).unwrap_err().contains("http://"));
    }
}
