//! Datagrams with the local address they were sent to, one at a time; see [`crate::datagram`].

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::datagram::{self, Path};

pub use crate::datagram::{Arrival, Local, enable_pktinfo as enable, receive};

/// Sends one datagram to `to`, leaving from the local address `from` when one is given.
///
/// `dual` says that the socket is a dual-stack one, for which IPv4 is written as mapped IPv6.
pub fn send(
    socket: impl AsFd,
    payload: &[u8],
    to: SocketAddr,
    from: Option<Local>,
    dual: bool,
) -> io::Result<usize> {
    datagram::send(socket, payload, &Path { to, from, dual }, None)
}
