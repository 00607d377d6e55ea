//! Where traffic goes: the target as a person names it, and as it is once found.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// Where traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// A container on one of our networks.
    Container {
        /// The container's identity.
        id: String,
        /// Its IPv4 address on the network that carries the publication.
        ipv4: Option<Ipv4Addr>,
        /// Its IPv6 address on that network.
        ipv6: Option<Ipv6Addr>,
        /// The network that carries the publication.
        network: String,
    },
    /// A network namespace, reached by sockets opened inside it.
    Namespace {
        /// A file that stands for it, as `/run/netns/NAME` or `/proc/PID/ns/net`.
        path: PathBuf,
    },
    /// Anything with an address that this host has a way to.
    Address {
        /// The address.
        address: IpAddr,
    },
    /// A container of another engine.
    Foreign {
        /// Whose it is.
        engine: Engine,
        /// Its identity there.
        id: String,
        /// Its IPv4 address, unless it is reached from inside.
        ipv4: Option<Ipv4Addr>,
        /// Its IPv6 address, unless it is reached from inside.
        ipv6: Option<Ipv6Addr>,
        /// The interface of this host that leads to it.
        network: Option<String>,
        /// Its network namespace, when it has no address that this host has a way to.
        sandbox: Option<PathBuf>,
    },
}

/// A container engine that is not Wharf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// A target as a person names it: `NAME`, `netns:PATH`, `addr:IP`, `docker:NAME`, `podman:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetName {
    /// The name, the id, or the beginning of the id of a container of ours.
    Container(String),
    /// A file that stands for a network namespace; absolute.
    Namespace(PathBuf),
    /// An address.
    Address(IpAddr),
    /// The name or id of another engine's container.
    Foreign(Engine, String),
}

// === impl Target ===

impl Target {
    /// The target's IPv4 address, if it has one that this host has a way to.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Container { ipv4, .. } | Self::Foreign { ipv4, .. } => *ipv4,
            Self::Address { address: IpAddr::V4(address) } => Some(*address),
            Self::Address { .. } | Self::Namespace { .. } => None,
        }
    }

    /// The target's IPv6 address, if it has one that this host has a way to.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        match self {
            Self::Container { ipv6, .. } | Self::Foreign { ipv6, .. } => *ipv6,
            Self::Address { address: IpAddr::V6(address) } => Some(*address),
            Self::Address { .. } | Self::Namespace { .. } => None,
        }
    }

    /// The network that carries the publication: one of ours by its name, that of another engine
    /// by its interface.
    pub fn network(&self) -> Option<&str> {
        match self {
            Self::Container { network, .. } => Some(network),
            Self::Foreign { network, .. } => network.as_deref(),
            Self::Namespace { .. } | Self::Address { .. } => None,
        }
    }

    /// The namespace in which sockets are opened, when the target is reached from inside.
    pub fn inside(&self) -> Option<&PathBuf> {
        match self {
            Self::Namespace { path } => Some(path),
            Self::Foreign { sandbox, .. } => sandbox.as_ref(),
            Self::Container { .. } | Self::Address { .. } => None,
        }
    }
}

// === impl Engine ===

impl Engine {
    /// Its name, as it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl TargetName ===

impl FromStr for TargetName {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse = |reason| SpecError::Target { text: text.to_owned(), reason };
        let Some((kind, rest)) = text.split_once(':') else {
            // Docker shows names with a slash ahead in places.
            let bare = text.strip_prefix('/').unwrap_or(text);
            let is_name =
                !bare.is_empty() && !bare.contains(|c: char| c == '/' || c.is_whitespace());
            let refused =
                || refuse("name a container, netns:PATH, addr:IP, docker:NAME or podman:NAME");
            return is_name.then(|| Self::Container(bare.to_owned())).ok_or_else(refused);
        };
        match kind {
            "netns" if rest.starts_with('/') => Ok(Self::Namespace(rest.into())),
            "netns" => Err(refuse("netns: takes an absolute path, as netns:/run/netns/blue")),
            "addr" => address(rest).map(Self::Address).ok_or_else(|| {
                refuse("addr: takes an IP address other hosts can have, as addr:192.0.2.7")
            }),
            "docker" | "podman" if rest.is_empty() => {
                Err(refuse("the name or id of a container is missing after the colon"))
            }
            "docker" => Ok(Self::Foreign(Engine::Docker, rest.to_owned())),
            "podman" => Ok(Self::Foreign(Engine::Podman, rest.to_owned())),
            _ => Err(refuse("what stands before the colon is netns, addr, docker or podman")),
        }
    }
}

/// An address that can be somebody's; IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = bare.parse().ok()?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    (!address.is_unspecified() && !address.is_multicast() && !broadcast).then_some(address)
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => f.pad(name),
            Self::Namespace(path) => write!(f, "netns:{}", path.display()),
            Self::Address(address) => write!(f, "addr:{address}"),
            Self::Foreign(engine, name) => write!(f, "{engine}:{name}"),
        }
    }
}

impl TryFrom<String> for TargetName {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<TargetName> for String {
    fn from(name: TargetName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        match text.parse::<TargetName>() {
            Ok(name) => name.to_string(),
            Err(error) => format!("refused: {error}"),
        }
    }

    #[test]
    fn a_target_has_one_text() {
        for text in ["web", "4f3c", "netns:/run/netns/blue", "addr:192.0.2.7", "docker:web"] {
            assert_eq!(canonical(text), text);
        }
        assert_eq!(canonical("/web"), "web");
        assert_eq!(canonical("addr:[2001:db8::7]"), "addr:2001:db8::7");
        assert_eq!(canonical("podman:a/b"), "podman:a/b");
    }

    #[test]
    fn what_is_no_target_is_told_what_would_be() {
        let texts =
            ["", "/", "a b", "a/b", "netns:blue", "addr:web", "addr:0.0.0.0", "docker:", "lxc:a"];
        insta::assert_snapshot!(texts.map(canonical).join("\n"), @r#"
        refused: invalid target "": name a container, netns:PATH, addr:IP, docker:NAME or podman:NAME
        refused: invalid target "/": name a container, netns:PATH, addr:IP, docker:NAME or podman:NAME
        refused: invalid target "a b": name a container, netns:PATH, addr:IP, docker:NAME or podman:NAME
        refused: invalid target "a/b": name a container, netns:PATH, addr:IP, docker:NAME or podman:NAME
        refused: invalid target "netns:blue": netns: takes an absolute path, as netns:/run/netns/blue
        refused: invalid target "addr:web": addr: takes an IP address other hosts can have, as addr:192.0.2.7
        refused: invalid target "addr:0.0.0.0": addr: takes an IP address other hosts can have, as addr:192.0.2.7
        refused: invalid target "docker:": the name or id of a container is missing after the colon
        refused: invalid target "lxc:a": what stands before the colon is netns, addr, docker or podman
        "#);
    }

    /// The fuzzer's seeds, replayed without the fuzzer.
    #[test]
    fn every_seed_holds_what_the_fuzz_target_asserts() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/target_name");
        let (mut taken, mut refused) = (0, 0);
        for entry in std::fs::read_dir(seeds).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            match text.parse::<TargetName>() {
                Ok(name) => {
                    assert_eq!(name.to_string().parse(), Ok(name));
                    taken += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(taken >= 5 && refused >= 4, "{taken} seeds taken, {refused} refused");
    }
}
