//! The way a packet takes to what is published, hop by hop; pure.
//!
//! [`Facts`] is what was seen of the host at one moment. [`explain`] puts it into [`Hop`]s in the
//! order a packet meets them and says of each whether the packet gets past it, what was seen, and,
//! where it does not, what to do. Which plane serves is what the plan says, so that what is told
//! here is what is done.

mod carriage;
mod entrance;
mod facts;
mod firewalls;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use wharf_spec::{Proto, Publication, Target};

pub use self::facts::{
    Answers, Arrival, Bridge, Facts, Inside, Interface, Kernel, Led, Listening, Matter, Reach,
    Relay, RelayState, Served, Setting, Socket, TargetState, Veth, path_from,
};
use crate::path::{Path, Plane, SourceSeen};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The protocol.
    pub proto: Proto,
    /// The host address the client asks for.
    pub address: IpAddr,
    /// The port the client asks for.
    pub port: u16,
    /// Where the client is.
    pub origin: Origin,
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is a process of this host.
    Host,
    /// It is on another host, whichever.
    Elsewhere,
    /// It has this address.
    Address(IpAddr),
}

/// A step on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The interface the packet comes by.
    Arrival,
    /// The host address asked for.
    Address,
    /// What is published there.
    Publication,
    /// Who may connect.
    AllowList,
    /// The rules of others.
    Firewall,
    /// What takes the packet: a rule or a socket.
    Plane,
    /// What becomes of its addresses.
    Rewriting,
    /// Whether the kernel passes it on.
    Forwarding,
    /// The bridge of the target's network.
    Bridge,
    /// The cable between bridge and container.
    Veth,
    /// The container, namespace or machine it is for.
    Target,
    /// The socket that waits for it there.
    Listening,
    /// The way of the answer.
    WayBack,
    /// The source address that the target sees.
    Source,
}

/// Whether a packet gets past a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Ok,
    /// It does not.
    Fails,
    /// That cannot be told from here.
    Unknown,
}

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Which one.
    pub place: Place,
    /// Whether a packet gets past it.
    pub status: Status,
    /// What was seen.
    pub text: String,
    /// What to do where it fails: commands or advice, one each.
    pub remedy: Vec<String>,
}

/// The whole way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The plane that serves; `None` when nothing is published.
    pub plane: Option<Plane>,
    /// The path, as the plan has it; `None` when there is none from there.
    pub path: Option<Path>,
    /// Whose address the target sees.
    pub source: Option<SourceSeen>,
    /// The hops, in order.
    pub hops: Vec<Hop>,
}

/// Follows a packet through what was seen.
pub fn explain(facts: &Facts<'_>) -> Way {
    let mut hops = vec![entrance::arrival(facts), entrance::address(facts)];
    hops.push(entrance::publication(facts));
    let served = match &facts.matter {
        Matter::Served(served) => served,
        Matter::Stopped { name, state } => {
            hops.push(target::stopped(name, state));
            return Way { plane: None, path: None, source: None, hops };
        }
        Matter::Elsewhere(_) | Matter::Nothing => {
            return Way { plane: None, path: None, source: None, hops };
        }
    };
    let (path, plane, source) = (served.path(), served.plane(), served.source());
    let journey = Journey { facts, served };
    if let Some(why) = &served.suspended {
        hops.push(target::away(journey, why));
    } else if path.is_some() {
        hops.push(entrance::allow_list(journey));
        hops.push(firewalls::hop(journey));
        hops.extend(carriage::hops(journey));
        hops.extend(target::hops(journey));
    }
    Way { plane, path, source, hops }
}

/// What all hops behind the publication look at.
#[derive(Clone, Copy)]
struct Journey<'a> {
    facts: &'a Facts<'a>,
    served: &'a Served<'a>,
}

// === impl Journey ===

impl Journey<'_> {
    fn is_v4(self) -> bool {
        self.facts.question.address.is_ipv4()
    }

    fn plane(self) -> Plane {
        self.served.plane().unwrap_or(Plane::Relay)
    }

    fn is_own(self) -> bool {
        matches!(self.served.path(), Some(Path::HostLoopback | Path::HostAddress))
    }

    fn is_inside(self) -> bool {
        self.served.publication.target.inside().is_some()
    }

    fn destination(self) -> Option<SocketAddr> {
        destination(self.served.publication, &self.facts.question)
    }

    fn target_name(self) -> String {
        match self.served.publication.target {
            Target::Container { .. } => format!("container {}", self.served.name),
            _ => self.served.name.to_owned(),
        }
    }
}

/// Where a plane sends what is asked: to the target's address of the client's family, or else of
/// the other one; to a loopback address where sockets are opened inside; and nowhere else where
/// the target's own address is asked, which is routed.
pub fn destination(publication: &Publication, question: &Question) -> Option<SocketAddr> {
    let target = &publication.target;
    let (v4, v6) = (target.ipv4().map(IpAddr::V4), target.ipv6().map(IpAddr::V6));
    let is_v4 = question.address.is_ipv4();
    let (address, other) = if is_v4 { (v4, v6) } else { (v6, v4) };
    if matches!(target, Target::Container { .. }) && address == Some(question.address) {
        return Some(SocketAddr::new(question.address, question.port));
    }
    let port = publication.target_port(question.port)?;
    if target.inside().is_some() {
        let own = if is_v4 { [127, 0, 0, 1].into() } else { own_v6() };
        return Some(SocketAddr::new(own, port));
    }
    Some(SocketAddr::new(address.or(other)?, port))
}

fn own_v6() -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
}

// === impl Question ===

impl fmt::Display for Question {
    /// `10.1.0.2:8080/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.proto)
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("this host"),
            Self::Elsewhere => f.write_str("another host"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

// === impl Hop ===

impl Hop {
    fn ok(place: Place, text: impl Into<String>) -> Self {
        Self { place, status: Status::Ok, text: text.into(), remedy: Vec::new() }
    }

    fn unknown(place: Place, text: impl Into<String>) -> Self {
        Self { status: Status::Unknown, ..Self::ok(place, text) }
    }

    fn fails(place: Place, text: impl Into<String>, remedy: Vec<String>) -> Self {
        Self { status: Status::Fails, remedy, ..Self::ok(place, text) }
    }
}

// === impl Way ===

impl Way {
    /// The first hop that a packet does not get past.
    pub fn obstacle(&self) -> Option<&Hop> {
        self.hops.iter().find(|hop| hop.status == Status::Fails)
    }
}
