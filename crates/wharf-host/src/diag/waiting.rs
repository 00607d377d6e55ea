//! Who waits for clients on a port, and on which of the host's addresses.

use std::net::IpAddr;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{InetResponse, StateFlags};

use super::{find_pid, holds, listed, name};
use crate::error::Result;
use crate::netlink::Netlink;
use crate::reserve::Transport;

/// A socket that waits for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its address; the unspecified one waits on every address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether an unspecified IPv6 address leaves IPv4 to others.
    pub v6_only: bool,
    /// The inode of the socket.
    pub inode: u32,
    /// The interface it is bound to, if it is bound to one.
    pub interface: Option<u32>,
}

/// The sockets that wait for clients on `port`, or on any with port 0, in the network namespace
/// `netlink` belongs to.
pub fn waiting(netlink: &mut Netlink, transport: Transport, port: u16) -> Result<Vec<Waiting>> {
    let states = match transport {
        Transport::Tcp => StateFlags::LISTEN,
        // What a UDP socket without a peer counts as.
        Transport::Udp => StateFlags::CLOSE,
    };
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        // Not every kernel heeds the port.
        found.extend(listed(netlink, transport, family, port, &states)?.iter().map(Waiting::of));
    }
    found.retain(|waiting: &Waiting| port == 0 || waiting.port == port);
    Ok(found)
}

/// The process that has the socket with this inode open, and its name; `None` where it cannot be
/// seen from here.
pub fn process_of(inode: u32) -> Option<(u32, String)> {
    let pid = find_pid(inode)?;
    Some((pid, name(pid).unwrap_or_default()))
}

/// Whether process `pid` has the socket with this inode open.
pub fn has_open(pid: u32, inode: u32) -> bool {
    holds(pid, &format!("socket:[{inode}]"))
}

// === impl Waiting ===

impl Waiting {
    fn of(socket: &InetResponse) -> Self {
        let id = &socket.header.socket_id;
        Self {
            address: id.source_address.to_canonical(),
            port: id.source_port,
            v6_only: socket.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true))),
            inode: socket.header.inode,
            interface: Some(id.interface_id).filter(|index| *index != 0),
        }
    }

    /// Whether what is sent to `address` of the host can come to it.
    pub fn takes(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && !self.v6_only,
            (own, asked) if own.is_ipv4() == asked.is_ipv4() => {
                own.is_unspecified() || own == asked
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::netlink::Family;

    fn at(transport: Transport, port: u16) -> Vec<Waiting> {
        waiting(&mut Netlink::open(Family::SockDiag).unwrap(), transport, port).unwrap()
    }

    #[test]
    fn a_listener_has_an_address_and_an_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = at(Transport::Tcp, port);
        assert_eq!(found.len(), 1);
        let loopback = "127.0.0.1".parse().unwrap();
        assert_eq!(found[0].address, loopback);
        assert!(found[0].takes(loopback) && !found[0].takes("127.0.0.2".parse().unwrap()));
        let me = std::process::id();
        assert_eq!(process_of(found[0].inode).unwrap().0, me);
        assert!(has_open(me, found[0].inode) && !has_open(me, u32::MAX));
        drop(listener);
        assert_eq!(at(Transport::Tcp, port), []);
    }

    #[test]
    fn a_dual_stack_socket_takes_both_families() {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let found = at(Transport::Udp, socket.local_addr().unwrap().port());
        assert!(found[0].takes("127.0.0.1".parse().unwrap()));
        assert!(found[0].takes("::1".parse().unwrap()));
        let only = Waiting { v6_only: true, ..found[0] };
        assert!(!only.takes("127.0.0.1".parse().unwrap()));
    }
}
