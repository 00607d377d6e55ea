//! The socket of a flow: whose address the target sees.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use wharf_host::datagram::{flow_socket, flow_socket_inside};
use wharf_host::opener::Kind;
use wharf_host::transparent::MARK;

use crate::route::inside::Inside;

/// A flow's socket.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) socket: OwnedFd,
    /// Whether the target sees the client's address.
    pub(super) as_client: bool,
}

/// Opens a socket to `target`, in the namespace `inside` if that is given, from the address `source`
/// if the kernel lets us. The port is never the client's, see [`flow_socket`].
pub(super) fn open(
    inside: Option<&Inside>,
    target: SocketAddr,
    source: Option<IpAddr>,
) -> io::Result<Opened> {
    if let Some(source) = source {
        match open_from(inside, target, Some(source)) {
            Ok(socket) => return Ok(Opened { socket, as_client: true }),
            Err(error) => tracing::debug!(%source, %target, %error, "client address not kept"),
        }
    }
    Ok(Opened { socket: open_from(inside, target, None)?, as_client: false })
}

fn open_from(
    inside: Option<&Inside>,
    target: SocketAddr,
    source: Option<IpAddr>,
) -> io::Result<OwnedFd> {
    let Some(inside) = inside else { return flow_socket(target, source) };
    let socket = inside.open(target, Kind::Datagram)?;
    flow_socket_inside(socket, target, source, MARK.value)
}
