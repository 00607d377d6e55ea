//! Routes that swallow packets for which there is no better one.
//!
//! Without any route the kernel answers a packet that it was to send on with an ICMP error, on which
//! a client that is connecting gives up. A packet that nobody answers is sent again after a second.

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::{MAIN_TABLE, Route, Routes, existed};
use crate::error::Result;
use crate::link::family_of;

/// Who made the route, as the kernel keeps it with each: a number that nobody else is known to use.
const MADE_BY_US: RouteProtocol = RouteProtocol::Other(119);
/// Any other route to the same place goes first.
const LAST: u32 = u32::MAX;

// === impl Routes ===

impl Routes {
    /// Has packets for `net` dropped without a word for as long as no other route leads there;
    /// `false` when they were already. A socket of this host that connects there gets `EINVAL`.
    pub fn swallow(&mut self, net: IpNet) -> Result<bool> {
        let message = Message::NewRoute(message(net));
        let action = format!("add a blackhole route for {net}");
        match self.netlink.request(&action, message, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.is_exists() => Ok(false),
            added => added.map(|()| true),
        }
    }

    /// Takes back [`Routes::swallow`]; `false` when nothing was to be taken back.
    pub fn stop_swallowing(&mut self, net: IpNet) -> Result<bool> {
        let message = Message::DelRoute(message(net));
        existed(self.netlink.request(&format!("delete the blackhole route for {net}"), message, 0))
    }

    /// What [`Routes::swallow`] was asked for by whomever and was not taken back.
    pub fn swallowed(&mut self) -> Result<Vec<IpNet>> {
        let mut nets = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let messages = self.messages(family)?;
            let ours = messages.iter().filter(|message| is_ours(message));
            nets.extend(ours.filter_map(Route::read).map(|route| route.destination));
        }
        Ok(nets)
    }
}

fn message(net: IpNet) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family_of(net.addr()),
        destination_prefix_length: net.prefix_len(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: MADE_BY_US,
        scope: RouteScope::Universe,
        kind: RouteType::BlackHole,
        ..RouteHeader::default()
    };
    message.attributes.extend([
        RouteAttribute::Table(MAIN_TABLE),
        RouteAttribute::Destination(net.network().into()),
        RouteAttribute::Priority(LAST),
    ]);
    message
}

fn is_ours(message: &RouteMessage) -> bool {
    message.header.kind == RouteType::BlackHole && message.header.protocol == MADE_BY_US
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Links;
    use crate::netns::Netns;

    #[test]
    fn what_is_swallowed_has_no_way_until_another_route_comes() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let netns = Netns::create().unwrap();
        let mut routes = Routes::open_in(&netns).unwrap();
        let nets: [IpNet; 2] = ["10.9.0.0/24".parse().unwrap(), "fd00:9::/64".parse().unwrap()];
        for net in nets {
            assert!(routes.swallow(net).unwrap());
            assert!(!routes.swallow(net).unwrap());
        }
        assert_eq!(routes.swallowed().unwrap(), nets);
        assert_eq!(routes.way_to("10.9.0.7".parse().unwrap()).unwrap(), None);

        let mut links = Links::open_in(&netns).unwrap();
        links.add_bridge("br0", None, None).unwrap();
        links.set_up("br0").unwrap();
        let link = links.index("br0").unwrap();
        links.add_address(link, "10.9.0.1/24".parse().unwrap()).unwrap();
        let way = routes.way_to("10.9.0.7".parse().unwrap()).unwrap();
        assert_eq!(way.map(|way| way.link), Some(link));

        for net in nets {
            assert!(routes.stop_swallowing(net).unwrap());
            assert!(!routes.stop_swallowing(net).unwrap());
        }
        assert_eq!(routes.swallowed().unwrap(), []);
    }
}
