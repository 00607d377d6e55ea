//! What can be seen of this host: interfaces, addresses, routes, sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wharf_host::diag::{self, Waiting};
use wharf_host::link::{Address, Link, Links};
use wharf_host::netlink::{Family, Netlink};
use wharf_host::route::{Routes, Way};
use wharf_plan::explain::{Arrival, Interface, Origin, Question, Socket};
use wharf_spec::{Proto, Publication};

use super::USUAL;
use super::asked::Asked;
use crate::error::Result;
use crate::reservation::transport;

/// Addresses nobody has (RFC 5737, RFC 3849): the way to them is the way to everybody.
const SOMEBODY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const SOMEBODY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The host, as it was when the question came.
#[derive(Debug)]
pub(super) struct HostView {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Routes,
}

// === impl HostView ===

impl HostView {
    pub(super) fn look() -> Result<Self> {
        let mut links = Links::open()?;
        let addresses = links.addresses(None)?;
        Ok(Self { links: links.list()?, addresses, routes: Routes::open()? })
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    pub(super) fn has_on(&self, name: &str, address: IpAddr) -> bool {
        let index = self.link(name).map(|link| link.index);
        let on = |it: &Address| Some(it.link) == index && it.net.addr() == address;
        self.addresses.iter().any(on)
    }

    pub(super) fn interface(link: &Link) -> Interface {
        Interface { name: link.name.clone(), up: link.up, running: link.running }
    }

    /// The interface that has an address; all of 127.0.0.0/8 is had by `lo`.
    pub(super) fn owner(&self, address: IpAddr) -> Option<String> {
        let own = |it: &&Address| {
            let net = it.net;
            net.addr() == address || (net.addr().is_loopback() && net.contains(&address))
        };
        let index = self.addresses.iter().find(own)?.link;
        self.named(index)
    }

    pub(super) fn way_to(&mut self, address: IpAddr) -> Option<Way> {
        self.routes.way_to(address).ok().flatten()
    }

    /// Whether the client is on this host.
    pub(super) fn is_own(&self, origin: Origin) -> bool {
        match origin {
            Origin::Host => true,
            Origin::Elsewhere => false,
            Origin::Address(address) => self.owner(address).is_some(),
        }
    }

    /// The question that is meant, about one publication.
    pub(super) fn question(
        &mut self,
        asked: &Asked,
        publication: &Publication,
        routed: &[IpAddr],
    ) -> Question {
        let from = asked.from;
        let address = asked.address.or_else(|| match asked.is_at_host(publication) {
            true => self.address_of(publication, from),
            false => asked.is_at_target(publication, routed),
        });
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let origin = from.unwrap_or_else(|| usual_origin(address));
        Question { proto: publication.proto, address, port: asked.port, origin }
    }

    pub(super) fn question_of_nothing(&mut self, asked: &Asked) -> Question {
        let from = asked.from.or_else(|| asked.address.map(usual_origin));
        let origin = from.unwrap_or(Origin::Elsewhere);
        let reached = match origin {
            Origin::Host => None,
            Origin::Elsewhere => self.reached_by(SOMEBODY_V4),
            Origin::Address(client) => self.reached_by(client),
        };
        let address = asked.address.or(reached).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let origin = from.unwrap_or_else(|| usual_origin(address));
        Question { proto: asked.proto.unwrap_or(USUAL), address, port: asked.port, origin }
    }

    /// The address a client would ask for.
    fn address_of(&mut self, publication: &Publication, from: Option<Origin>) -> Option<IpAddr> {
        let there = &publication.host.addresses;
        let v4 = match from {
            Some(Origin::Address(client)) => client.is_ipv4(),
            _ => there.iter().any(IpAddr::is_ipv4),
        };
        let of_family = |address: &&IpAddr| address.is_ipv4() == v4;
        let named = there.iter().find(of_family).or(there.first())?;
        if !named.is_unspecified() {
            return Some(*named);
        }
        let loopback: IpAddr =
            if named.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        match from {
            Some(Origin::Host) => Some(loopback),
            Some(Origin::Address(client)) => self.reached_by(client),
            _ if named.is_ipv4() => self.reached_by(SOMEBODY_V4),
            _ => self.reached_by(SOMEBODY_V6),
        }
        .or(Some(loopback))
    }

    /// The address of this host that `client` would ask for: the one it is answered from, or else
    /// any that is not for this host alone.
    fn reached_by(&mut self, client: IpAddr) -> Option<IpAddr> {
        let by_route = self.way_to(client).and_then(|way| way.source);
        let outer = |it: &&Address| {
            let is_bridge = self
                .links
                .iter()
                .any(|link| link.index == it.link && link.kind.as_deref() == Some("bridge"));
            let address = it.net.addr();
            !is_bridge && !is_local(address) && address.is_ipv4() == client.is_ipv4()
        };
        by_route.or_else(|| self.addresses.iter().find(outer).map(|it| it.net.addr()))
    }

    /// How a client's packets come. Nobody in particular comes by the interface that has the
    /// address.
    pub(super) fn arrival(&mut self, question: Question) -> Arrival {
        let Question { address, origin, .. } = question;
        if self.is_own(origin) {
            let client = match origin {
                Origin::Address(client) => Some(client),
                _ => self.way_to(address).and_then(|way| way.source).or(Some(address)),
            };
            let interface = self.link("lo").map(Self::interface);
            return Arrival { interface, client, gateway: None, reachable: None };
        }
        match origin {
            Origin::Address(client) if !is_link_local(client) => {
                let way = self.way_to(client);
                let link = way.and_then(|way| self.links.iter().find(|it| it.index == way.link));
                Arrival {
                    interface: link.map(Self::interface),
                    client: Some(client),
                    gateway: way.and_then(|way| way.gateway),
                    reachable: Some(way.is_some()),
                }
            }
            _ => {
                let client = match origin {
                    Origin::Address(client) => Some(client),
                    _ => None,
                };
                let owner = self.owner(address).filter(|name| name != "lo");
                let link = owner.and_then(|name| self.link(&name));
                let interface = link.map(Self::interface);
                Arrival { interface, client, gateway: None, reachable: None }
            }
        }
    }

    /// The sockets that wait on the port asked for.
    pub(super) fn sockets(&self, question: Question, ours: &dyn Fn(u32) -> bool) -> Vec<Socket> {
        let Ok(mut netlink) = Netlink::open(Family::SockDiag) else { return Vec::new() };
        sockets(&mut netlink, question.proto, question.port, ours)
    }

    fn named(&self, index: u32) -> Option<String> {
        self.links.iter().find(|link| link.index == index).map(|link| link.name.clone())
    }
}

/// The sockets that wait on `port`, or on any with port 0, in the namespace of `netlink`.
pub(super) fn sockets(
    netlink: &mut Netlink,
    proto: Proto,
    port: u16,
    ours: &dyn Fn(u32) -> bool,
) -> Vec<Socket> {
    let found = transport(proto).ok().and_then(|it| diag::waiting(netlink, it, port).ok());
    let of = |waiting: Waiting| {
        let ours = ours(waiting.inode);
        Socket {
            address: waiting.address,
            port: waiting.port,
            dual: !waiting.v6_only,
            inode: waiting.inode,
            process: if ours { None } else { diag::process_of(waiting.inode) },
            ours,
        }
    };
    found.unwrap_or_default().into_iter().map(of).collect()
}

/// Everybody of the family of `like`.
pub(super) fn somebody(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { SOMEBODY_V4 } else { SOMEBODY_V6 }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || is_link_local(address)
}

fn usual_origin(address: IpAddr) -> Origin {
    if address.is_loopback() { Origin::Host } else { Origin::Elsewhere }
}
