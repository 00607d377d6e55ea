//! Asking the kernel which way it would take.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};

use super::{Route, RouteKind, Routes, ip};
use crate::error::Result;
use crate::link::family_of;

/// The way this host would send a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The interface it leaves by.
    pub link: u32,
    /// The next hop; none means that the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The address it is sent from, unless the sender chooses another.
    pub source: Option<IpAddr>,
    /// Whether the destination is this host itself.
    pub is_local: bool,
}

// === impl Routes ===

impl Routes {
    /// The way to `destination`, by all rules and tables, as for an unmarked packet of this host;
    /// `None` when there is none.
    pub fn way_to(&mut self, destination: IpAddr) -> Result<Option<Way>> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family_of(destination),
            destination_prefix_length: if destination.is_ipv4() { 32 } else { 128 },
            ..RouteHeader::default()
        };
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let action = format!("look up the way to {destination}");
        match self.netlink.query(&action, Message::GetRoute(message), 0) {
            Ok(answers) => Ok(answers.iter().find_map(read)),
            Err(error) if is_no_way(error.errno()) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn read(answer: &Message) -> Option<Way> {
    let Message::NewRoute(message) = answer else { return None };
    let route = Route::read(message)?;
    let source = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip(address),
        _ => None,
    });
    let known = route.kind != RouteKind::Other;
    let is_local = route.kind == RouteKind::Local;
    let way = Way { link: route.link?, gateway: route.gateway, source, is_local };
    known.then_some(way)
}

/// No route, a route that says so (`unreachable`, `prohibit`, `blackhole`), or a family this host
/// has not.
fn is_no_way(errno: Option<i32>) -> bool {
    let answers = [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::EINVAL,
        libc::EAFNOSUPPORT,
        libc::EOPNOTSUPP,
    ];
    errno.is_some_and(|number| answers.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn the_way_is_the_kernels() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let netns = Netns::create().unwrap();
        let mut links = crate::link::Links::open_in(&netns).unwrap();
        links.add_bridge("br0", None, None).unwrap();
        let link = links.index("br0").unwrap();
        links.add_address(link, "192.0.2.1/24".parse().unwrap()).unwrap();
        links.set_up("br0").unwrap();
        let mut routes = Routes::open_in(&netns).unwrap();
        let mut way = |to: &str| routes.way_to(to.parse().unwrap()).unwrap();
        let near = way("192.0.2.7").unwrap();
        assert_eq!((near.link, near.gateway, near.is_local), (link, None, false));
        assert_eq!(near.source, Some("192.0.2.1".parse().unwrap()));
        assert!(way("192.0.2.1").unwrap().is_local);
        assert_eq!(way("198.51.100.1"), None);
        routes.add(&Route::default_via("192.0.2.254".parse().unwrap(), link)).unwrap();
        let far = routes.way_to("198.51.100.1".parse().unwrap()).unwrap().unwrap();
        assert_eq!(far.gateway, Some("192.0.2.254".parse().unwrap()));
    }
}
