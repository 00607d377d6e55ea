//! Sockets that get what others send to a port, by their cookies.

use std::net::IpAddr;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{InetResponse, StateFlags};

use super::listed;
use crate::error::Result;
use crate::netlink::Netlink;
use crate::reserve::Transport;

/// A socket that listens, or a UDP socket without a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The kernel's number for the socket, which no other ever has.
    pub cookie: u64,
    /// Its address; the unspecified one is every address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether an unspecified IPv6 address leaves IPv4 to others.
    pub v6_only: bool,
}

/// Every such socket of the network namespace `netlink` belongs to.
pub fn bound(netlink: &mut Netlink, transport: Transport) -> Result<Vec<Bound>> {
    let states = match transport {
        Transport::Tcp => StateFlags::LISTEN,
        // What a UDP socket without a peer counts as.
        Transport::Udp => StateFlags::CLOSE,
    };
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        found.extend(listed(netlink, transport, family, 0, &states)?.iter().map(Bound::of));
    }
    Ok(found)
}

// === impl Bound ===

impl Bound {
    fn of(socket: &InetResponse) -> Self {
        let id = &socket.header.socket_id;
        Self {
            cookie: u64::from_ne_bytes(id.cookie),
            address: id.source_address.to_canonical(),
            port: id.source_port,
            v6_only: socket.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::netlink::Family;

    #[test]
    fn sockets_are_known_by_their_cookies() {
        let mut netlink = Netlink::open(Family::SockDiag).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let tcp = socket2::SockRef::from(&listener).cookie().unwrap();
        let udp = socket2::SockRef::from(&socket).cookie().unwrap();
        let find = |found: Vec<Bound>, cookie| found.into_iter().find(|it| it.cookie == cookie);
        let found = find(bound(&mut netlink, Transport::Tcp).unwrap(), tcp).unwrap();
        assert_eq!((found.address, found.port), {
            let at = listener.local_addr().unwrap();
            (at.ip(), at.port())
        });
        let found = find(bound(&mut netlink, Transport::Udp).unwrap(), udp).unwrap();
        assert_eq!(found.port, socket.local_addr().unwrap().port());
        socket.connect(socket.local_addr().unwrap()).unwrap();
        assert_eq!(find(bound(&mut netlink, Transport::Udp).unwrap(), udp), None);
    }
}
