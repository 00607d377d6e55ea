//! Routes and the rules that choose between routing tables.
//!
//! Listing walks whole tables and is for set-up and inspection; nothing calls it per connection
//! or per container.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use serde::{Deserialize, Serialize};

mod lookup;
mod rule;
mod swallow;
#[cfg(test)]
mod tests;

pub use self::lookup::Way;
pub use self::rule::Rule;
use crate::error::Result;
use crate::link::family_of;
use crate::netlink::{Family, Netlink};
use crate::netns::Netns;

/// The table that ordinary routes live in.
pub const MAIN_TABLE: u32 = 254;
/// The table in which the kernel keeps the host's own addresses.
pub const LOCAL_TABLE: u32 = 255;

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads; a prefix of length 0 is the default route.
    pub destination: IpNet,
    /// The next hop; none means the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The interface it leaves by; a route with several next hops has none here.
    pub link: Option<u32>,
    /// The routing table.
    pub table: u32,
    /// What becomes of packets that match.
    pub kind: RouteKind,
}

/// What becomes of packets that match a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// They are sent on.
    Unicast,
    /// They are for this host.
    Local,
    /// Anything else: broadcast, multicast, unreachable, …
    Other,
}

/// The routes and rules of one network namespace.
#[derive(Debug)]
pub struct Routes {
    netlink: Netlink,
}

// === impl Route ===

impl Route {
    /// A route to `destination` over `link`, in the main table.
    pub fn on_link(destination: IpNet, link: u32) -> Self {
        let kind = RouteKind::Unicast;
        Self { destination, gateway: None, link: Some(link), table: MAIN_TABLE, kind }
    }

    /// The default route of `gateway`'s family by `gateway` over `link`, in the main table.
    pub fn default_via(gateway: IpAddr, link: u32) -> Self {
        let destination = everything(gateway);
        Self { gateway: Some(gateway), ..Self::on_link(destination, link) }
    }

    /// Everything of `family`'s kind of address delivered to this host when `table` is asked: the
    /// way back for sockets bound to foreign addresses. `link` is the loopback interface.
    pub fn everything_local(family: IpAddr, link: u32, table: u32) -> Self {
        let kind = RouteKind::Local;
        Self { table, kind, ..Self::on_link(everything(family), link) }
    }

    /// Whether this is a default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    pub(crate) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family_of(self.destination.addr()),
            destination_prefix_length: self.destination.prefix_len(),
            // The header has eight bits for the table; the attribute counts.
            table: u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
            protocol: RouteProtocol::Static,
            scope: self.scope(),
            kind: self.kind_number(),
            ..RouteHeader::default()
        };
        message.attributes.push(RouteAttribute::Table(self.table));
        if !self.is_default() {
            let network = self.destination.network();
            message.attributes.push(RouteAttribute::Destination(network.into()));
        }
        message.attributes.extend(self.gateway.map(|a| RouteAttribute::Gateway(a.into())));
        message.attributes.extend(self.link.map(RouteAttribute::Oif));
        message
    }

    fn scope(&self) -> RouteScope {
        match (self.kind, self.gateway) {
            (RouteKind::Local, _) => RouteScope::Host,
            (_, None) => RouteScope::Link,
            (_, Some(_)) => RouteScope::Universe,
        }
    }

    fn kind_number(&self) -> RouteType {
        match self.kind {
            RouteKind::Unicast | RouteKind::Other => RouteType::Unicast,
            RouteKind::Local => RouteType::Local,
        }
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let unspecified: IpAddr = match header.address_family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let destination = IpNet::new(unspecified, header.destination_prefix_length).ok()?;
        let kind = match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local => RouteKind::Local,
            _ => RouteKind::Other,
        };
        let table = u32::from(header.table);
        let mut route = Self { destination, gateway: None, link: None, table, kind };
        for attribute in &message.attributes {
            route.note(attribute);
        }
        Some(route)
    }

    fn note(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(address) => {
                let net =
                    ip(address).and_then(|ip| IpNet::new(ip, self.destination.prefix_len()).ok());
                self.destination = net.unwrap_or(self.destination);
            }
            RouteAttribute::Gateway(address) => self.gateway = ip(address),
            RouteAttribute::Oif(link) => self.link = Some(*link),
            RouteAttribute::Table(table) => self.table = *table,
            _ => {}
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == RouteKind::Local {
            f.write_str("local ")?;
        }
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(link) = self.link {
            write!(f, " over link number {link}")?;
        }
        write!(f, " in table {}", self.table)
    }
}

// === impl Routes ===

impl Routes {
    /// Opens the routes of the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        Ok(Self { netlink: Netlink::open(Family::Route)? })
    }

    /// Opens the routes of `netns`.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        Ok(Self { netlink: netns.open_netlink(Family::Route)? })
    }

    /// Every route of both families and all tables.
    pub fn list(&mut self) -> Result<Vec<Route>> {
        let mut routes = self.list_family(AddressFamily::Inet)?;
        routes.extend(self.list_family(AddressFamily::Inet6)?);
        Ok(routes)
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`Error::is_exists`](crate::Error::is_exists) when the same destination is there already.
    pub fn add(&mut self, route: &Route) -> Result<()> {
        let message = Message::NewRoute(route.message());
        self.netlink.request(&format!("add route {route}"), message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route; what this host sends along it comes from `source`, unless the sender has
    /// chosen another address.
    ///
    /// # Errors
    /// As [`Routes::add`].
    pub(crate) fn add_from(&mut self, route: &Route, source: IpAddr) -> Result<()> {
        let mut message = route.message();
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
        let action = format!("add route {route} from {source}");
        self.netlink.request(&action, Message::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Deletes a route; `false` when it did not exist.
    pub fn delete(&mut self, route: &Route) -> Result<bool> {
        let message = Message::DelRoute(route.message());
        existed(self.netlink.request(&format!("delete route {route}"), message, 0))
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// [`Error::is_exists`](crate::Error::is_exists) when the same rule is there already.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let message = Message::NewRule(rule.message());
        self.netlink.request(&format!("add rule {rule}"), message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Deletes a rule; `false` when it did not exist.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<bool> {
        let message = Message::DelRule(rule.message());
        existed(self.netlink.request(&format!("delete rule {rule}"), message, 0))
    }

    /// The rules of both families that are of the form of [`Rule`].
    pub fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for ipv6 in [false, true] {
            rules.extend(self.rule_messages(ipv6)?.iter().filter_map(Rule::read));
        }
        Ok(rules)
    }

    /// The first place in the order of one family's rules that somebody has taken: the kernel's own
    /// rule in front of all others does not count, nor do those that `except` knows.
    pub(crate) fn first_priority(
        &mut self,
        ipv6: bool,
        except: impl Fn(&Rule) -> bool,
    ) -> Result<Option<u32>> {
        let messages = self.rule_messages(ipv6)?;
        let others = messages
            .iter()
            .filter(|message| !Rule::read(message).is_some_and(|rule| except(&rule)));
        Ok(others.map(rule::priority_of).filter(|priority| *priority > 0).min())
    }

    fn rule_messages(&mut self, ipv6: bool) -> Result<Vec<RuleMessage>> {
        let mut message = RuleMessage::default();
        message.header.family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        // A kernel without IPv6 has no rules of that family and says so.
        let answers =
            tolerate_missing_family(self.netlink.dump("list rules", Message::GetRule(message)))?;
        let rule = |answer| match answer {
            Message::NewRule(message) => Some(message),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(rule).collect())
    }

    fn list_family(&mut self, family: AddressFamily) -> Result<Vec<Route>> {
        Ok(self.messages(family)?.iter().filter_map(Route::read).collect())
    }

    fn messages(&mut self, family: AddressFamily) -> Result<Vec<RouteMessage>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let answers =
            tolerate_missing_family(self.netlink.dump("list routes", Message::GetRoute(message)))?;
        let route = |answer| match answer {
            Message::NewRoute(message) => Some(message),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(route).collect())
    }
}

fn everything(family: IpAddr) -> IpNet {
    match family {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn existed(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

fn tolerate_missing_family<T>(result: Result<Vec<T>>) -> Result<Vec<T>> {
    match result {
        Err(e) if matches!(e.errno(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
            Ok(Vec::new())
        }
        other => other,
    }
}
