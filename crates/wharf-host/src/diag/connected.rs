//! Sockets that have a peer, by the peer's port.

use std::collections::BTreeSet;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{InetResponse, StateFlags};

use super::listed_at_most;
use crate::error::Result;
use crate::netlink::Netlink;
use crate::reserve::Transport;

/// The cookies of sockets that have a peer at `port` or are on the way to it, in the network
/// namespace `netlink` belongs to. One whose connection has failed or was ended by its peer is not
/// among them, though its program may still have it open.
///
/// # Errors
/// [`crate::Error::Answer`] when there are more than `limit` of a family; `netlink` must not be used
/// again then.
pub fn connected(
    netlink: &mut Netlink,
    transport: Transport,
    port: u16,
    limit: usize,
) -> Result<BTreeSet<u64>> {
    let mut cookies = BTreeSet::new();
    for family in [AF_INET, AF_INET6] {
        let found = connected_to(netlink, transport, family, port, limit)?;
        cookies.extend(found.iter().map(|it| u64::from_ne_bytes(it.header.socket_id.cookie)));
    }
    Ok(cookies)
}

/// The same of one family, in full.
pub(super) fn connected_to(
    netlink: &mut Netlink,
    transport: Transport,
    family: u8,
    port: u16,
    limit: usize,
) -> Result<Vec<InetResponse>> {
    let states = StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT;
    listed_at_most(netlink, transport, family, (0, port), &states, limit)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;
    use crate::error::Error;
    use crate::netlink::Family;

    #[test]
    fn sockets_are_found_by_the_port_of_their_peer() {
        let mut netlink = Netlink::open(Family::SockDiag).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let stream = TcpStream::connect(peer).unwrap();
        let second = TcpStream::connect(peer).unwrap();
        let cookies = [&stream, &second].map(|it| socket2::SockRef::from(it).cookie().unwrap());
        let found = connected(&mut netlink, Transport::Tcp, peer.port(), 9).unwrap();
        assert_eq!(found, BTreeSet::from(cookies));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(peer).unwrap();
        let cookie = socket2::SockRef::from(&socket).cookie().unwrap();
        let found = connected(&mut netlink, Transport::Udp, peer.port(), 9).unwrap();
        assert_eq!(found, BTreeSet::from([cookie]));
        let many = connected(&mut netlink, Transport::Tcp, peer.port(), 1).unwrap_err();
        assert!(matches!(many, Error::Answer { .. }), "{many}");
    }
}
