//! The ways from a process of the host into a container: which address it asks, and who leads it on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;

use super::verdict::FLOORS;
use crate::bench::agent::Window;
use crate::bench::column::{Column, Service};
use crate::bench::contender::Mapping;
use crate::bench::ground::{Client, HOST};
use crate::bench::rounds;

/// Of ours in a round, where 3 % decide: a single pair of windows scatters by more.
const WINDOWS_OF_OURS: u32 = 8;
/// Of the direct path against itself: fewer show as well how far apart equals are.
const WINDOWS_OF_AGAIN: u32 = 4;

/// Which of the host's addresses is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    Loopback4,
    Loopback6,
    /// One that other hosts reach, too.
    Address,
}

/// Who leads it on. Everybody has ports of his own, so that all of them run beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nobody: the container's own address is asked.
    Direct,
    /// The same as a contender, which says what a run can tell apart at all.
    Again,
    /// What `wharf run -p` does by default: the connect hooks.
    Ours,
    /// Our relay (`via=relay`).
    Relay,
    /// Our kernel NAT (`via=nft`).
    Nft,
    /// A process for each port.
    DockerProxy,
    /// Docker's rules in the chain OUTPUT.
    DockerNat,
    /// Nobody, on a host on which nothing is published and no table of anybody is.
    Bare,
}

/// One way into the container.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) path: Path,
    pub(crate) kind: Kind,
    pub(crate) client: Client,
}

/// Each kind has a block of ports that begins at a multiple of this.
const BLOCK: u16 = 100;
/// The first block. All ports are below those that outgoing connections use.
const FIRST: u16 = 2000;

// === impl Path ===

impl Path {
    pub(crate) const ALL: [Self; 3] = [Self::Loopback4, Self::Loopback6, Self::Address];

    /// What is asked for.
    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::Loopback4 => Ipv4Addr::LOCALHOST.into(),
            Self::Loopback6 => Ipv6Addr::LOCALHOST.into(),
            Self::Address => HOST,
        }
    }

    /// Its name in tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loopback4 => "127.0.0.1",
            Self::Loopback6 => "::1",
            Self::Address => "a host address",
        }
    }

    /// Who leads on from there; the first is what the others are compared with.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        use Kind::{Again, Bare, Direct, DockerNat, DockerProxy, Nft, Ours, Relay};
        match self {
            Self::Loopback4 => &[Direct, Ours, Again, Relay, DockerProxy, Bare],
            Self::Loopback6 => &[Direct, Ours, Again, Relay, DockerProxy],
            Self::Address => &[Direct, Ours, Relay, Nft, DockerProxy, DockerNat],
        }
    }
}

// === impl Kind ===

impl Kind {
    /// Those that can be chosen; the direct path always is.
    pub(crate) const CHOICES: [Self; 7] = [
        Self::Ours,
        Self::Again,
        Self::Relay,
        Self::Nft,
        Self::DockerProxy,
        Self::DockerNat,
        Self::Bare,
    ];

    /// Its name in tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ours => "ours",
            Self::Again => "direct-again",
            Self::Relay => "relay",
            Self::Nft => "nft",
            Self::DockerProxy => "docker-proxy",
            Self::DockerNat => "docker-nat",
            Self::Bare => "bare",
        }
    }

    /// Whether it is of Docker.
    pub(crate) fn is_of_docker(self) -> bool {
        matches!(self, Self::DockerProxy | Self::DockerNat)
    }

    /// The option of our port specs that asks for it; `None` for what is not ours.
    pub(crate) fn option(self) -> Option<&'static str> {
        match self {
            Self::Ours => Some(""),
            Self::Relay => Some(",via=relay"),
            Self::Nft => Some(",via=nft"),
            Self::DockerProxy | Self::DockerNat => None,
            Self::Direct | Self::Again | Self::Bare => None,
        }
    }

    /// Whether the container's own address is asked.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::Again | Self::Bare)
    }

    /// Its ports of the host, one for each service.
    pub(crate) fn mappings(self) -> Vec<Mapping> {
        let block = match self {
            Self::Direct | Self::Again | Self::Ours | Self::Bare => 0,
            Self::Relay => 1,
            Self::Nft => 2,
            Self::DockerProxy => 3,
            Self::DockerNat => 4,
        };
        let mapping =
            |service: Service| Mapping { port: FIRST + BLOCK * block + service.offset(), service };
        Service::PROXIED.into_iter().map(mapping).collect()
    }
}

// === impl Way ===

impl Way {
    fn to(&self, service: Service) -> SocketAddr {
        let mappings = self.kind.mappings();
        let port = mappings.iter().find(|it| it.service == service).map(|it| it.port);
        match port.filter(|_| !self.kind.is_direct()) {
            Some(port) => SocketAddr::new(self.path.address(), port),
            None => SocketAddr::new(self.client.container, service.port()),
        }
    }
}

impl rounds::Way for Way {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn supports(&self, _column: Column) -> bool {
        true
    }

    fn windows(&self, column: Column) -> u32 {
        let required = FLOORS.iter().any(|(required, _)| *required == column);
        match self.kind {
            Kind::Ours if required && self.path != Path::Address => WINDOWS_OF_OURS,
            Kind::Again if required => WINDOWS_OF_AGAIN,
            _ => 1,
        }
    }

    fn window(&self, column: Column, lasting: Duration) -> Result<Window> {
        self.client.window(column, self.to(column.service()), lasting)
    }

    fn beside(
        &self,
        baseline: &Self,
        column: Column,
        lasting: Duration,
    ) -> Option<Result<[Window; 2]>> {
        let few_percent = FLOORS.iter().any(|(floor, least)| *floor == column && *least > 0.95);
        // A host of its own is reached by no client of this one.
        let possible = few_percent && self.kind != Kind::Bare;
        let ends = [self, baseline].map(|way| way.to(column.service()));
        possible.then(|| self.client.windows(column, ends, lasting))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everybody_has_ports_of_his_own() {
        let led = Kind::CHOICES.into_iter().filter(|kind| !kind.is_direct());
        let ports: Vec<u16> = led.flat_map(|kind| kind.mappings()).map(|it| it.port).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        assert!(ports.iter().all(|port| *port < Service::Stream.port()));
    }

    #[test]
    fn everything_is_compared_with_the_direct_path() {
        for path in Path::ALL {
            assert_eq!(path.kinds().first(), Some(&Kind::Direct));
            assert!(path.kinds().contains(&Kind::Ours));
        }
    }
}
