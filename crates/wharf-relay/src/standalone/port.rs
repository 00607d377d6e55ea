//! A port that is bound: by us, or by whoever started us.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::SocketType;
use rustix::net::sockopt::{ipv6_v6only, socket_acceptconn, socket_type};
use wharf_host::diag;
use wharf_host::reserve::{Transport, pktinfo, reserve};
use wharf_spec::Proto;

use super::error::PortError;

/// What is to be served, and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The protocol.
    pub proto: Proto,
    /// The host's address and port.
    pub listen: SocketAddr,
    /// The target's address and port; its family may be the other one.
    pub target: SocketAddr,
}

/// A bound port; it is free again when this and all copies of its socket are gone.
#[derive(Debug)]
pub struct Port {
    pub(super) forward: Forward,
    /// Whether the socket is bound to `::` and serves IPv4, too.
    pub(super) dual: bool,
    socket: OwnedFd,
}

// === impl Port ===

impl Port {
    /// Binds the port. Packets are dropped until it is served.
    ///
    /// # Errors
    /// When it cannot be bound; the error names who holds it.
    pub fn bind(forward: Forward) -> Result<Self, PortError> {
        let Forward { proto, listen: at, .. } = forward;
        let transport = transport(proto)?;
        let ports = (at.port(), at.port());
        let failed = |source, holder| PortError::Bind { proto, at, source, holder };
        let reservation = reserve(transport, &[at.ip()], ports).map_err(|clash| {
            let held = clash.is_in_use().then(|| diag::holder(transport, at.ip(), at.port()));
            failed(clash.source, held.and_then(Result::ok).flatten())
        })?;
        let bound = reservation.sockets.into_iter().next();
        let nothing = || failed(io::Error::other("nothing was bound"), None);
        Ok(Self { forward, dual: false, socket: bound.ok_or_else(nothing)?.socket })
    }

    /// Takes a port that somebody else has bound: for TCP a listening socket.
    ///
    /// # Errors
    /// When the socket is something else than `forward` says.
    pub fn adopt(forward: Forward, socket: OwnedFd) -> Result<Self, PortError> {
        let Forward { proto, listen: at, .. } = forward;
        let transport = transport(proto)?;
        let dual = examine(transport, at, socket.as_fd())
            .map_err(|reason| PortError::Inherited { proto, at, reason })?;
        Ok(Self { forward, dual, socket })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Forward { proto, listen, .. } = self.forward;
        write!(f, "{listen}/{proto}")
    }
}

fn transport(proto: Proto) -> Result<Transport, PortError> {
    match proto {
        Proto::Tcp => Ok(Transport::Tcp),
        Proto::Udp => Ok(Transport::Udp),
        Proto::Sctp => Err(PortError::Protocol { proto }),
    }
}

/// Checks a socket made by others and gives it what ours have; tells whether it serves both
/// families.
fn examine(transport: Transport, at: SocketAddr, socket: BorrowedFd<'_>) -> Result<bool, String> {
    let kind = socket_type(socket).map_err(|e| format!("is none: {e}"))?;
    match transport {
        Transport::Tcp if kind != SocketType::STREAM => return Err("is no TCP socket".to_owned()),
        Transport::Tcp if !socket_acceptconn(socket).unwrap_or(false) => {
            return Err("does not listen".to_owned());
        }
        Transport::Udp if kind != SocketType::DGRAM => return Err("is no UDP socket".to_owned()),
        _ => {}
    }
    let bound = rustix::net::getsockname(socket).map_err(|e| format!("has no address: {e}"))?;
    let bound = SocketAddr::try_from(bound).map_err(|e| format!("has no IP address: {e}"))?;
    if (bound.ip(), bound.port()) != (at.ip(), at.port()) {
        return Err(format!("is bound to {bound}"));
    }
    let ipv6 = at.is_ipv6();
    let dual = ipv6 && at.ip().is_unspecified() && !ipv6_v6only(socket).unwrap_or(true);
    let prepared = rustix::io::ioctl_fionbio(socket, true).map_err(io::Error::from);
    let prepared = prepared.and_then(|()| match transport {
        Transport::Tcp => Ok(()),
        // Answers leave from the address that was asked, which takes knowing it.
        Transport::Udp => pktinfo::enable(socket, ipv6, dual),
    });
    prepared.map(|()| dual).map_err(|e| format!("cannot be prepared: {e}"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn forward(proto: Proto, listen: SocketAddr) -> Forward {
        Forward { proto, listen, target: "192.0.2.1:80".parse().unwrap() }
    }

    #[test]
    fn a_socket_that_is_not_the_one_announced_is_refused() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, fd) = (tcp.local_addr().unwrap(), || tcp.as_fd().try_clone_to_owned().unwrap());
        let port = Port::adopt(forward(Proto::Tcp, at), fd()).unwrap();
        assert_eq!((port.dual, port.to_string()), (false, format!("{at}/tcp")));
        let error = Port::adopt(forward(Proto::Udp, at), fd()).unwrap_err();
        assert!(error.to_string().ends_with("is no UDP socket"), "{error}");
        let other = SocketAddr::new(at.ip(), at.port() ^ 1);
        let error = Port::adopt(forward(Proto::Tcp, other), fd()).unwrap_err();
        assert!(error.to_string().ends_with(&format!("is bound to {at}")), "{error}");
        let null = std::fs::File::open("/dev/null").unwrap();
        let error = Port::adopt(forward(Proto::Tcp, at), null.into()).unwrap_err();
        assert!(error.to_string().contains("is none: "), "{error}");
    }

    #[test]
    fn a_socket_for_both_families_is_recognised() {
        let udp = UdpSocket::bind("[::]:0").unwrap();
        let at = udp.local_addr().unwrap();
        assert!(Port::adopt(forward(Proto::Udp, at), udp.into()).unwrap().dual);
    }

    #[test]
    fn sctp_is_refused_before_anything_is_bound() {
        let error = Port::bind(forward(Proto::Sctp, "127.0.0.1:9".parse().unwrap())).unwrap_err();
        assert!(matches!(error, PortError::Protocol { proto: Proto::Sctp }));
    }
}
