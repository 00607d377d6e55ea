//! Neighbours that were asked for and did not answer.

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::Links;
use crate::error::Result;
use crate::netlink::{Family, Netlink};

/// Has everybody on `interface` who does not answer be asked for anew with the next packet; the
/// kernel itself would wait for a second.
pub fn forget_neighbours(interface: &str) -> Result<()> {
    let index = Links::open()?.index(interface)?;
    let mut netlink = Netlink::open(Family::Route)?;
    let question = Message::GetNeighbour(NeighbourMessage::default());
    for answer in netlink.dump("list neighbours", question)? {
        let Message::NewNeighbour(neighbour) = answer else { continue };
        let silent =
            matches!(neighbour.header.state, NeighbourState::Incomplete | NeighbourState::Failed);
        if neighbour.header.ifindex != index || !silent {
            continue;
        }
        match netlink.request("forget a neighbour", Message::DelNeighbour(named(neighbour)), 0) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Only what names it: the kernel refuses a deletion that says more.
fn named(mut neighbour: NeighbourMessage) -> NeighbourMessage {
    let is_name = |attribute: &NeighbourAttribute| {
        matches!(
            attribute,
            NeighbourAttribute::Destination(NeighbourAddress::Inet(_) | NeighbourAddress::Inet6(_))
        )
    };
    neighbour.attributes.retain(is_name);
    neighbour
}
