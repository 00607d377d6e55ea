//! Who has which address on a link, told instead of asked for.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::{Mac, family_of};
use crate::error::Result;
use crate::netlink::{Family, Netlink};

/// Tells the kernel that `address` on the link of this index is `mac`.
///
/// What waits for an answer to that question is sent at once: the kernel would ask again after a
/// second only, and tell the senders after three that there is nobody. The kernel makes sure of it
/// by itself with the packets that follow.
pub fn introduce_neighbour(link: u32, address: IpAddr, mac: Mac) -> Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(address);
    message.header.ifindex = link;
    message.header.state = NeighbourState::Stale;
    let destination = match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    let mut netlink = Netlink::open(Family::Route)?;
    let action = format!("introduce neighbour {address}");
    netlink.request(&action, Message::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}
