//! The socket of a flow: whose address the target sees.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use wharf_host::datagram::flow_socket;

/// A flow's socket.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) socket: OwnedFd,
    /// Whether the target sees the client's address.
    pub(super) as_client: bool,
}

/// Opens a socket to `target`, from the address `source` if the kernel lets us.
///
/// The port is never the client's, see [`flow_socket`].
pub(super) fn open(target: SocketAddr, source: Option<IpAddr>) -> io::Result<Opened> {
    if let Some(source) = source {
        match flow_socket(target, Some(source)) {
            Ok(socket) => return Ok(Opened { socket, as_client: true }),
            Err(error) => tracing::debug!(%source, %target, %error, "client address not kept"),
        }
    }
    Ok(Opened { socket: flow_socket(target, None)?, as_client: false })
}
