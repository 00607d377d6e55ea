//! What tells one flow from another.

use std::net::{IpAddr, SocketAddr};

use wharf_host::datagram::{Arrival, Local};

use crate::route::{Served, Token};
use crate::table::succession::FlowInTransit;

/// What makes a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) token: Token,
    pub(super) client: SocketAddr,
    /// The place of the port that the client asked within the range.
    pub(super) port: u16,
    /// The local address the client asked.
    pub(super) asked: Option<Local>,
}

// === impl Key ===

impl Key {
    /// `None` for what was not sent to a port of the route.
    pub(super) fn of(token: Token, arrival: &Arrival, served: &Served) -> Option<Self> {
        let shared = &served.shared;
        let by_arrival = || shared.route.place_of(arrival.port?);
        let port = shared.port_of(token).or_else(by_arrival)?;
        let (client, asked) = (arrival.from, arrival.to.map(significant));
        Some(Self { token, client, port: u16::try_from(port).ok()?, asked })
    }

    /// That of a flow that another relay carried.
    pub(super) fn in_transit(token: Token, flow: &FlowInTransit, served: &Served) -> Self {
        let own = served.shared.port_of(token).and_then(|port| u16::try_from(port).ok());
        let port = own.unwrap_or(flow.port);
        Self { token, client: flow.client, port, asked: flow.asked }
    }
}

/// The interface is part of an address only if that is link-local; otherwise a flow may move
/// between interfaces.
fn significant(local: Local) -> Local {
    match local.address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => local,
        address => Local { address, interface: 0 },
    }
}
