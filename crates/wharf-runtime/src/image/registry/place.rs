//! Where a request goes: scheme, host, port and path.

use std::fmt;

use hyper::Uri;

use super::hosts::host_of;

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
}

/// The target of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scheme: Scheme,
    /// `HOST[:PORT]`.
    pub(super) authority: String,
    /// Begins with a slash; query included.
    pub(super) path: String,
}

// === impl Place ===

impl Place {
    pub(super) fn new(scheme: Scheme, authority: &str, path: impl Into<String>) -> Self {
        Self { scheme, authority: authority.to_owned(), path: path.into() }
    }

    /// An absolute address with `http` or `https`, without user or password.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = match uri.scheme_str()? {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        if authority.contains('@') || host_of(authority).is_empty() {
            return None;
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self::new(scheme, authority, if path.is_empty() { "/" } else { path }))
    }

    /// What `location` means in an answer from here.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.scheme));
        }
        if location.starts_with('/') {
            let path = location.parse::<Uri>().ok()?.path_and_query()?.as_str().to_owned();
            return Some(Self { path, ..self.clone() });
        }
        Self::parse(location)
    }

    /// The host as a name or address, without brackets.
    pub(super) fn host(&self) -> &str {
        host_of(&self.authority).trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        let usual = match self.scheme {
            Scheme::Https => HTTPS_PORT,
            Scheme::Http => HTTP_PORT,
        };
        let written = self.authority.get(host_of(&self.authority).len()..).unwrap_or_default();
        written.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(usual)
    }

    /// Whether both are the same server, so that what is meant for one may be told the other.
    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may carry a signature that is as good as a password.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme, self.authority)
    }
}

// === impl Scheme ===

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Http => "http",
        })
    }
}

/// `text` as part of a query.
pub(super) fn encoded(text: &str) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let place = Place::parse("https://[fd00::1]:5000/v2/?a=b").unwrap();
        assert_eq!(
            (place.host(), place.port(), place.path.as_str()),
            ("fd00::1", 5000, "/v2/?a=b")
        );
        let place = Place::parse("http://example.org").unwrap();
        assert_eq!((place.host(), place.port(), place.path.as_str()), ("example.org", 80, "/"));
        assert_eq!(Place::parse("https://a/b?secret=1").unwrap().to_string(), "https://a/b");
        for bad in ["ftp://a/", "/a", "https://u:p@a/", "https://", "a:80", ""] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn redirects_are_relative_or_whole() {
        let from = Place::parse("https://a:1/x").unwrap();
        assert_eq!(from.join("/y?z").unwrap().path, "/y?z");
        assert_eq!(from.join("//b/y").unwrap(), Place::new(Scheme::Https, "b", "/y"));
        assert_eq!(from.join("http://b/y").unwrap(), Place::new(Scheme::Http, "b", "/y"));
        assert_eq!(from.join("y"), None);
        assert!(from.is_same_server(&from.join("/y").unwrap()));
        assert!(!from.is_same_server(&from.join("//a/y").unwrap()));
    }
}
