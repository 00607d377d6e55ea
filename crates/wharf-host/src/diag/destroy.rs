//! Ending connections of other processes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use netlink_packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
};
use netlink_packet_sock_diag::SOCK_DESTROY;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, StateFlags};

use super::connected::connected_to;
use crate::error::{Error, Result};
use crate::netlink::Netlink;
use crate::reserve::Transport;

/// What the kernel answers when it was built without `CONFIG_INET_DIAG_DESTROY`.
const UNSUPPORTED: i32 = libc::EOPNOTSUPP;

/// A request to end one socket, as opposed to telling about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destroy(InetRequest);

/// Ends the TCP connections to `peers` whose sockets have one of `cookies`, in the network namespace
/// `netlink` belongs to: their owners get `ECONNABORTED`, their peers a reset. Returns how many
/// there were; one that is gone already is not counted.
///
/// # Errors
/// When the kernel cannot do this at all, or this process may not.
pub fn destroy_tcp(
    netlink: &mut Netlink,
    peers: &BTreeSet<SocketAddr>,
    cookies: &BTreeSet<u64>,
) -> Result<usize> {
    let ports: BTreeSet<u16> = peers.iter().map(SocketAddr::port).collect();
    let mut ended = 0;
    for port in ports {
        for family in [AF_INET, AF_INET6] {
            let found = connected_to(netlink, Transport::Tcp, family, port, usize::MAX)?;
            for socket in found.iter().filter(|socket| is_one_of(socket, peers, cookies)) {
                ended += usize::from(end(netlink, socket)?);
            }
        }
    }
    Ok(ended)
}

fn is_one_of(socket: &InetResponse, peers: &BTreeSet<SocketAddr>, cookies: &BTreeSet<u64>) -> bool {
    let id = &socket.header.socket_id;
    let peer = SocketAddr::new(id.destination_address.to_canonical(), id.destination_port);
    peers.contains(&peer) && cookies.contains(&u64::from_ne_bytes(id.cookie))
}

/// Whether there was something to end.
fn end(netlink: &mut Netlink, socket: &InetResponse) -> Result<bool> {
    let request = InetRequest {
        family: socket.header.family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        // With the cookie in it, no other connection of the same addresses is meant.
        socket_id: socket.header.socket_id.clone(),
    };
    match netlink.request("end a connection (SOCK_DESTROY)", Destroy(request), 0) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) if error.errno() == Some(UNSUPPORTED) => Err(Error::answer(
            "end a connection (SOCK_DESTROY)",
            "this kernel is built without CONFIG_INET_DIAG_DESTROY; connections can be left to \
             drain instead",
        )),
        Err(error) => Err(error),
    }
}

// === impl Destroy ===

impl NetlinkSerializable for Destroy {
    fn message_type(&self) -> u16 {
        SOCK_DESTROY
    }

    fn buffer_len(&self) -> usize {
        Emitable::buffer_len(&self.0)
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.0.emit(buffer);
    }
}

impl NetlinkDeserializable for Destroy {
    type Error = DecodeError;

    /// The kernel answers with an acknowledgement and never with such a message.
    fn deserialize(_: &NetlinkHeader, _: &[u8]) -> std::result::Result<Self, DecodeError> {
        Err(DecodeError::from("a request came back"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::netlink::Family;
    use crate::netns::Netns;

    fn cookie_of(stream: &TcpStream) -> u64 {
        socket2::SockRef::from(stream).cookie().unwrap()
    }

    #[test]
    fn the_connection_with_the_cookie_ends_and_no_other() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let netns = Netns::create().unwrap();
        netns
            .run(|| {
                for address in ["127.0.0.1:0", "[::1]:0"] {
                    one_of_two_ends(&TcpListener::bind(address).unwrap());
                }
            })
            .unwrap();
    }

    fn one_of_two_ends(listener: &TcpListener) {
        let peer = listener.local_addr().unwrap();
        let mut meant = TcpStream::connect(peer).unwrap();
        let other = TcpStream::connect(peer).unwrap();
        let mut accepted = [listener.accept().unwrap().0, listener.accept().unwrap().0];
        let mut netlink = Netlink::open(Family::SockDiag).unwrap();
        let (peers, cookies) = (BTreeSet::from([peer]), BTreeSet::from([cookie_of(&meant)]));
        match destroy_tcp(&mut netlink, &peers, &cookies) {
            Err(error) if error.to_string().contains("CONFIG_INET_DIAG_DESTROY") => {
                eprintln!("skipped: {error}");
                return;
            }
            ended => assert_eq!(ended.unwrap(), 1),
        }
        let error = meant.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        accepted[0].read(&mut [0]).unwrap_err();
        drop(other);
        assert_eq!(accepted[1].read(&mut [0]).unwrap(), 0);
        assert_eq!(destroy_tcp(&mut netlink, &peers, &cookies).unwrap(), 0);
    }
}
