//! The socket of a flow: whose address the target sees.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use wharf_host::datagram::{flow_socket, flow_socket_inside};
use wharf_host::opener::Kind;
use wharf_host::transparent::MARK;

use crate::route::Inside;

/// How long a helper is left alone that did not answer in its second: everything else in the loop
/// has waited that long.
const REST: Duration = Duration::from_secs(20);

/// A flow's socket.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) socket: OwnedFd,
    /// Whether the target sees the client's address.
    pub(super) as_client: bool,
}

/// Opens sockets of flows.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Until when no helper is asked.
    rest: Option<Instant>,
}

// === impl Sockets ===

impl Sockets {
    /// Opens a socket to `target`, in the namespace `inside` if that is given, from the address
    /// `source` if the kernel lets us. The port is never the client's, see [`flow_socket`].
    pub(super) fn open(
        &mut self,
        inside: Option<&Inside>,
        target: SocketAddr,
        source: Option<IpAddr>,
        now: Instant,
    ) -> io::Result<Opened> {
        if let Some(source) = source {
            match self.open_from(inside, target, Some(source), now) {
                Ok(socket) => return Ok(Opened { socket, as_client: true }),
                Err(error) => tracing::debug!(%source, %target, %error, "client address not kept"),
            }
        }
        let socket = self.open_from(inside, target, None, now)?;
        Ok(Opened { socket, as_client: false })
    }

    fn open_from(
        &mut self,
        inside: Option<&Inside>,
        target: SocketAddr,
        source: Option<IpAddr>,
        now: Instant,
    ) -> io::Result<OwnedFd> {
        let Some(inside) = inside else { return flow_socket(target, source) };
        if self.rest.is_some_and(|rest| now < rest) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let socket = inside.open(target, Kind::Datagram).inspect_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                self.rest = Some(now + REST);
            }
        })?;
        flow_socket_inside(socket, target, source, MARK.value)
    }
}
