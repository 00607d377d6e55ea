//! What a daemon and the relay say to each other.
//!
//! Each request and each response is one frame of [`wharf_host::fdpass`] with a JSON payload;
//! sockets travel as descriptors, in the order described at [`Route`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wharf_spec::{PortRange, Proto, ProxyProtocol};

use crate::stats::{RouteStats, Stats};

/// The version of this protocol; it changes when an old relay would misunderstand a new daemon.
pub const VERSION: u32 = 2;

/// The longest request the relay reads: some 10,000 routes.
pub(crate) const MAX_REQUEST: usize = 16 << 20;
/// The longest response a client reads: as many routes with their counters.
pub(crate) const MAX_RESPONSE: usize = 64 << 20;

/// One publication, as the relay sees it. A range is one route, never one per port.
///
/// It takes `listeners.len() * host_ports.count()` sockets, port by port and for each port
/// place by place: the order in which [`wharf_host::reserve::Reservation`] holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The publication's identity.
    pub id: String,
    /// The transport protocol.
    pub proto: Proto,
    /// The addresses listened on, the same for every port.
    pub listeners: Vec<Place>,
    /// The target's IPv4 address, preferred for IPv4 clients.
    pub target_v4: Option<Ipv4Addr>,
    /// The target's IPv6 address, preferred for IPv6 clients.
    pub target_v6: Option<Ipv6Addr>,
    /// The ports listened on.
    pub host_ports: PortRange,
    /// The target's ports, as many as the host's.
    pub target_ports: PortRange,
    /// The networks clients may come from; empty means everyone.
    #[serde(default)]
    pub allow: Vec<IpNet>,
    /// The header to send to the target: ahead of each connection's bytes, or (version 2 only)
    /// of each datagram.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How long to wait for the target to accept, if not the relay's own limit.
    #[serde(default)]
    pub connect_timeout_ms: Option<u32>,
    /// How long a TCP connection may carry nothing in either direction; without it, for ever.
    #[serde(default)]
    pub idle_timeout_seconds: Option<u32>,
    /// Which address the target sees.
    #[serde(default)]
    pub source: Source,
    /// Networks whose clients are not kept even with [`Source::Client`]: those the target reaches
    /// without passing this host, so that its answers would never come back to the relay.
    #[serde(default)]
    pub neighbours: Vec<IpNet>,
    /// Whether the target is inside a network namespace that may have no way to this one. Two
    /// more descriptors follow the route's sockets: the connection to a helper that opens sockets
    /// ([`wharf_host::opener`]), and the namespace.
    #[serde(default)]
    pub inside: bool,
    /// Whether the way to the target never leaves this host: there is no bottleneck on it for
    /// congestion control to look for.
    #[serde(default)]
    pub on_host: bool,
}

/// Which source address the relay uses towards the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The address the kernel chooses: the host's own, on the target's network.
    #[default]
    Gateway,
    /// The client's, where it can be kept; needs the way back that
    /// [`wharf_host::transparent`] lays. Else the gateway's, also when no answer comes back.
    Client,
    /// The same, except that silence is no reason for the gateway's: a target that drops what one
    /// client sends must not meet it under another address.
    #[serde(rename = "client-only")]
    ClientOnly,
}

/// An address listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The address.
    pub address: IpAddr,
    /// Whether the socket is bound to `::` and serves IPv4, too.
    pub dual: bool,
}

/// Whether a route serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Added, dropping all packets; vanishes with the control connection that added it.
    Held,
    /// Serving, until removed.
    Open,
    /// Handed to a successor; what was open then goes on here.
    Leaving,
}

/// A question or command for the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Who are you?
    Hello {
        /// The version of the client.
        version: u32,
    },
    /// Takes over sockets, all or none; they keep their drop filters.
    Add {
        /// The routes; their descriptors follow each other in the frame.
        routes: Vec<Route>,
    },
    /// Lets packets in and serves.
    Open {
        /// The routes' identities.
        ids: Vec<String>,
        /// Whether the routes end with this control connection; else they outlive it.
        #[serde(default)]
        lease: bool,
    },
    /// Closes the sockets at once; unknown routes are named in the response, not refused.
    Remove {
        /// The routes' identities.
        ids: Vec<String>,
        /// How long open TCP connections may go on; without it they are reset at once.
        drain_seconds: Option<u32>,
    },
    /// Describes every route.
    List {
        /// Whether copies of the sockets are wanted, in the order of the routes.
        with_sockets: bool,
    },
    /// Counts over all routes.
    Stats,
    /// Asks for copies of everything, as the successor: all other control connections end, so
    /// that nothing changes meanwhile. Withdrawn when this connection ends.
    HandOver,
    /// Follows `HandOver`: the successor serves TCP. Lets go of all sockets and of the flows, and
    /// ends when the last connection has.
    Leave {
        /// How long connections may go on.
        drain_seconds: u32,
    },
    /// Ends the relay: sockets are closed, connections are reset.
    Shutdown,
}

/// The relay's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// Answers `Hello`.
    Hello {
        /// The relay's version.
        version: u32,
        /// The relay's process.
        pid: u32,
        /// The network namespace it serves (`/proc/PID/ns/net`, the number in brackets).
        namespace: u64,
        /// The release of the program.
        release: String,
    },
    /// It is done.
    Done,
    /// Answers `Remove`.
    Removed {
        /// The identities that named no route.
        unknown: Vec<String>,
    },
    /// Answers `List`.
    Listed {
        /// Every route, by identity.
        routes: Vec<Listed>,
    },
    /// Answers `HandOver`. The sockets come in the order of the routes; after them the control
    /// socket's listener and the lock of the run directory.
    HandedOver {
        /// Every route, by identity.
        routes: Vec<Listed>,
    },
    /// Answers `Leave`; the flows' sockets come in the same order.
    Left {
        /// Every UDP flow.
        flows: Vec<PassedFlow>,
    },
    /// Answers `Stats`.
    Stats(Stats),
    /// It was not done, and nothing was changed.
    Refused(Refusal),
}

/// One route of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The route.
    pub route: Route,
    /// Whether it serves.
    pub phase: Phase,
    /// What it has carried.
    pub stats: RouteStats,
    /// Whether it belongs to the control connection that opened it, and to no daemon.
    #[serde(default)]
    pub leased: bool,
}

/// A UDP flow on its way from one relay to its successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedFlow {
    /// The route's identity.
    pub route: String,
    /// Which of the route's sockets the client asked.
    pub socket: u32,
    /// The client.
    pub client: SocketAddr,
    /// The local address the client asked, and the interface if that matters.
    pub asked: Option<(IpAddr, u32)>,
    /// How long ago it began, in milliseconds.
    pub age_ms: u64,
    /// How long ago something was carried, in milliseconds.
    pub quiet_ms: u64,
    /// Whether the target has answered.
    pub answered: bool,
    /// Whether it counts as streaming.
    pub streams: bool,
}

/// Why the relay refused a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// A route of this identity exists.
    #[error("route {id} exists already")]
    Duplicate {
        /// The identity.
        id: String,
    },
    /// There is no such route.
    #[error("there is no route {id}")]
    Unknown {
        /// The identity.
        id: String,
    },
    /// A route makes no sense or asks for something this relay cannot do.
    #[error("route {id}: {reason}")]
    Route {
        /// The identity.
        id: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The descriptors that came with a request do not match its routes.
    #[error("{got} sockets came where the routes need {needed}")]
    Sockets {
        /// How many came.
        got: usize,
        /// How many the routes need.
        needed: usize,
    },
    /// The process may not hold that many descriptors.
    #[error("{needed} sockets are needed, {left} are left; raise the limit of open files")]
    Descriptors {
        /// How many the routes need.
        needed: usize,
        /// How many are left.
        left: usize,
    },
    /// The kernel refused.
    #[error("{reason}")]
    Kernel {
        /// What was being done, and what the kernel said.
        reason: String,
    },
    /// It is not the time for it.
    #[error("{reason}")]
    Untimely {
        /// Why, and what to do.
        reason: String,
    },
    /// The request could not be understood.
    #[error("request not understood: {reason}")]
    Request {
        /// What was wrong.
        reason: String,
    },
}

// === impl Route ===

impl Route {
    /// The number of sockets listened on.
    pub fn sockets(&self) -> usize {
        self.listeners.len() * self.host_ports.count()
    }

    /// The number of descriptors that belong to the route.
    pub fn descriptors(&self) -> usize {
        self.sockets() + if self.inside { 2 } else { 0 }
    }

    /// Where a client of the family of `client` is led from the `port`th port of the range.
    pub(crate) fn target(&self, client: IpAddr, port: usize) -> Option<(IpAddr, u16)> {
        let v4 = self.target_v4.map(IpAddr::V4);
        let v6 = self.target_v6.map(IpAddr::V6);
        let address = if client.is_ipv4() { v4.or(v6) } else { v6.or(v4) }?;
        let port = self.target_ports.first().checked_add(u16::try_from(port).ok()?)?;
        Some((address, port))
    }

    /// Whether a client may come in.
    pub(crate) fn allows(&self, client: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&client))
    }

    /// Checks what a well-behaved daemon would never send.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let refuse =
            |reason: &str| Err(Refusal::Route { id: self.id.clone(), reason: reason.to_owned() });
        if self.proto == Proto::Sctp {
            return refuse("the relay carries tcp and udp only");
        }
        if self.proto == Proto::Udp && self.proxy_protocol == Some(ProxyProtocol::V1) {
            return refuse("version 1 of the PROXY protocol knows no udp; use v2");
        }
        if self.listeners.is_empty() {
            return refuse("it has no address to listen on");
        }
        if self.target_v4.is_none() && self.target_v6.is_none() {
            return refuse("its target has no address");
        }
        if self.host_ports.count() != self.target_ports.count() {
            return refuse("it must have as many target ports as host ports");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            id: "a".into(),
            proto: Proto::Tcp,
            listeners: vec![Place { address: "::".parse().unwrap(), dual: true }],
            target_v4: Some(Ipv4Addr::LOCALHOST),
            target_v6: None,
            host_ports: PortRange::new(8000, 8002).unwrap(),
            target_ports: PortRange::new(65_533, 65_535).unwrap(),
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            proxy_protocol: None,
            connect_timeout_ms: None,
            idle_timeout_seconds: None,
            source: Source::Gateway,
            neighbours: Vec::new(),
            inside: false,
            on_host: true,
        }
    }

    #[test]
    fn targets_follow_the_family_of_the_client() {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let mut route = route();
        assert_eq!(route.target(v6, 2), Some((v4, 65_535)));
        assert_eq!(route.target(v6, 3), None);
        route.target_v6 = Some(Ipv6Addr::LOCALHOST);
        assert_eq!(route.target(v6, 0), Some((v6, 65_533)));
        assert_eq!(route.target(v4, 0), Some((v4, 65_533)));
        assert!(route.allows("192.0.2.9".parse().unwrap()));
        assert!(!route.allows(v4));
    }

    #[test]
    fn senseless_routes_are_refused_with_a_reason() {
        assert_eq!(route().check(), Ok(()));
        let cases: [fn(&mut Route); 5] = [
            |r| r.proto = Proto::Sctp,
            |r| (r.proto, r.proxy_protocol) = (Proto::Udp, Some(ProxyProtocol::V1)),
            |r| r.listeners.clear(),
            |r| r.target_v4 = None,
            |r| r.target_ports = PortRange::single(1),
        ];
        for spoil in cases {
            let mut route = route();
            spoil(&mut route);
            assert!(route.check().unwrap_err().to_string().starts_with("route a: "));
        }
    }

    #[test]
    fn messages_survive_the_wire() {
        let request = Request::Add { routes: vec![route()] };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        let refused = Response::Refused(Refusal::Descriptors { needed: 5, left: 2 });
        let text = serde_json::to_string(&refused).unwrap();
        assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), refused);
    }
}
