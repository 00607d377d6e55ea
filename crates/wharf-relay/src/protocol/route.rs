//! A route: what a daemon asks the relay to serve, and which changes of it are possible in place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wharf_spec::{PortRange, Proto, ProxyProtocol};

use super::Refusal;
use crate::tcp::dial::kept;

/// One publication, as the relay sees it. A range is one route, never one per port.
///
/// It takes `listeners.len() * bound_ports().count()` sockets, port by port and for each port
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
    /// Whether the sockets, one for each place listened on and bound to the first port, get what is
    /// sent to every port of the range: somebody steers it there (sk_lookup).
    #[serde(default)]
    pub steered: bool,
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

// === impl Route ===

impl Route {
    /// The number of sockets listened on.
    pub fn sockets(&self) -> usize {
        self.listeners.len() * self.bound_ports().count()
    }

    /// The ports that sockets are bound to.
    pub fn bound_ports(&self) -> PortRange {
        match self.steered {
            true => PortRange::single(self.host_ports.first()),
            false => self.host_ports,
        }
    }

    /// The place of a host port within the range.
    pub(crate) fn place_of(&self, port: u16) -> Option<usize> {
        let place = usize::from(port.checked_sub(self.host_ports.first())?);
        (place < self.host_ports.count()).then_some(place)
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

    /// The target's address of the family that is not the client's. Only a target that is reached
    /// from inside has both for certain, and may listen on one alone.
    pub(crate) fn other_target(&self, client: IpAddr, port: usize) -> Option<(IpAddr, u16)> {
        let (address, port) = self.target(client, port).filter(|_| self.inside)?;
        let other = match address {
            IpAddr::V4(_) => self.target_v6.map(IpAddr::V6),
            IpAddr::V6(_) => self.target_v4.map(IpAddr::V4),
        };
        Some((other?, port))
    }

    /// Whether a client may come in.
    pub(crate) fn allows(&self, client: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&client))
    }

    /// The number of descriptors that come along when the route is changed in place.
    pub(crate) fn descriptors_of_change(&self) -> usize {
        self.descriptors() - self.sockets()
    }

    /// Whether an open route may become this one without its sockets.
    pub(crate) fn check_change(&self, from: &Self) -> Result<(), Refusal> {
        let kept = [
            (self.proto == from.proto, "protocol"),
            (self.listeners == from.listeners, "addresses listened on"),
            (self.host_ports == from.host_ports, "host ports"),
            (self.steered == from.steered, "way of listening"),
        ];
        match kept.iter().find(|(same, _)| !same) {
            Some((_, what)) => self.refuse(&format!(
                "its {what} cannot be changed in place; add another route and remove this one"
            )),
            None => Ok(()),
        }
    }

    /// Whether the `port`th port of the range leads a client to the same address, seen from the
    /// same address and announced in the same way, as it did before.
    pub(crate) fn leads_alike(&self, before: &Self, client: SocketAddr, port: usize) -> bool {
        let target = self.target(client.ip(), port);
        let alike = |route: &Self| {
            let target = route.target(client.ip(), port).map(SocketAddr::from);
            target.and_then(|target| kept(route, client, target))
        };
        target == before.target(client.ip(), port)
            && (self.source, self.proxy_protocol) == (before.source, before.proxy_protocol)
            && alike(self) == alike(before)
    }

    fn refuse(&self, reason: &str) -> Result<(), Refusal> {
        Err(Refusal::Route { id: self.id.clone(), reason: reason.to_owned() })
    }

    /// Checks what a well-behaved daemon would never send.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let refuse = |reason: &str| self.refuse(reason);
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

/// A route for tests of what is done with one.
#[cfg(test)]
pub(crate) fn example() -> Route {
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
        steered: false,
        on_host: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_the_family_of_the_client() {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let mut route = example();
        assert_eq!(route.target(v6, 2), Some((v4, 65_535)));
        assert_eq!(route.target(v6, 3), None);
        route.target_v6 = Some(Ipv6Addr::LOCALHOST);
        assert_eq!(route.target(v6, 0), Some((v6, 65_533)));
        assert_eq!(route.target(v4, 0), Some((v4, 65_533)));
        assert!(route.allows("192.0.2.9".parse().unwrap()));
        assert!(!route.allows(v4));
    }

    #[test]
    fn a_steered_range_has_one_socket_for_each_place() {
        assert_eq!(example().sockets(), 3);
        let steered = Route { steered: true, ..example() };
        assert_eq!((steered.sockets(), steered.bound_ports()), (1, PortRange::single(8000)));
        let places = [7999, 8000, 8002, 8003].map(|port| steered.place_of(port));
        assert_eq!(places, [None, Some(0), Some(2), None]);
    }

    #[test]
    fn what_belongs_to_the_sockets_cannot_be_changed() {
        let ports = PortRange::single(8000);
        for (route, what) in [
            (Route { proto: Proto::Udp, ..example() }, "protocol"),
            (Route { listeners: Vec::new(), ..example() }, "addresses"),
            (Route { host_ports: ports, ..example() }, "host ports"),
            (Route { steered: true, ..example() }, "way of listening"),
        ] {
            let refused = route.check_change(&example()).unwrap_err().to_string();
            assert!(refused.starts_with("route a: its ") && refused.contains(what), "{refused}");
        }
        let elsewhere = Route { target_v6: Some(Ipv6Addr::LOCALHOST), ..example() };
        assert_eq!(elsewhere.check_change(&example()), Ok(()));
    }

    #[test]
    fn a_conversation_is_led_alike_unless_the_client_or_the_target_would_notice() {
        let client = "192.0.2.9:4000".parse().unwrap();
        let alike = |change: fn(&mut Route)| {
            let mut route = example();
            change(&mut route);
            route.leads_alike(&example(), client, 1)
        };
        assert!(alike(|r| r.allow.clear()));
        assert!(alike(|r| r.target_v6 = Some(Ipv6Addr::LOCALHOST)));
        assert!(alike(|r| r.neighbours = vec!["192.0.2.0/24".parse().unwrap()]));
        assert!(!alike(|r| r.target_v4 = Some(Ipv4Addr::BROADCAST)));
        assert!(!alike(|r| r.target_ports = PortRange::new(1, 3).unwrap()));
        assert!(!alike(|r| r.source = Source::Client));
        assert!(!alike(|r| r.proxy_protocol = Some(ProxyProtocol::V2)));
        let near = Route { source: Source::Client, ..example() };
        let nets = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(!Route { neighbours: nets, ..near.clone() }.leads_alike(&near, client, 1));
    }

    #[test]
    fn senseless_routes_are_refused_with_a_reason() {
        assert_eq!(example().check(), Ok(()));
        let cases: [fn(&mut Route); 5] = [
            |r| r.proto = Proto::Sctp,
            |r| (r.proto, r.proxy_protocol) = (Proto::Udp, Some(ProxyProtocol::V1)),
            |r| r.listeners.clear(),
            |r| r.target_v4 = None,
            |r| r.target_ports = PortRange::single(1),
        ];
        for spoil in cases {
            let mut route = example();
            spoil(&mut route);
            assert!(route.check().unwrap_err().to_string().starts_with("route a: "));
        }
    }
}
