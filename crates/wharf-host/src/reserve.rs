//! Reserved host ports: really bound sockets behind a drop filter.
//!
//! A reservation holds either every port asked for on every address, or nothing. Until
//! [`Reservation::open`] the sockets drop every packet, so a client never sees a half-made port:
//! its first packet goes unanswered and is sent again. Dropping a reservation frees its ports.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::datagram::{LISTENER_QUEUE, enlarge_buffers};
use crate::error::{Context, Result};
use crate::reserve::filter::DropFilter;

mod filter;
mod free;
pub mod pktinfo;
mod steered;

pub use filter::{close_to_traffic, open_to_traffic};
pub use free::{NoFreePorts, ephemeral_range, pick_free, reserved_ports};
pub use steered::reserve_steered;

/// The kernel cuts this down to net.core.somaxconn.
const BACKLOG: i32 = i32::MAX;
/// The kernel's first descriptor table holds 64; below a few of those growing is not worth it.
const MANY: usize = 256;

/// The transports whose ports can be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP; the sockets listen.
    Tcp,
    /// UDP; the sockets report the address each datagram was sent to.
    Udp,
}

/// One bound socket, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Bound {
    /// The address it is bound to; `::` for a dual-stack socket.
    pub address: IpAddr,
    /// Whether it also serves IPv4 (bound to `::` without `IPV6_V6ONLY`).
    pub dual: bool,
    /// The port it is bound to.
    pub port: u16,
    /// The socket.
    pub socket: OwnedFd,
}

/// Sockets that hold the same ports on every address asked for: port by port, and for each
/// port address by address.
#[derive(Debug)]
pub struct Reservation {
    /// What is held.
    pub sockets: Vec<Bound>,
}

/// The address and port that could not be had, and why.
#[derive(Debug, thiserror::Error)]
#[error("bind {}: {source}", SocketAddr::new(*address, *port))]
pub struct Clash {
    /// The address; for a dual-stack socket the family that is in the way.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// What the kernel said: `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EMFILE`, …
    #[source]
    pub source: io::Error,
}

/// Where one socket is to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    address: IpAddr,
    dual: bool,
}

/// Binds every port from `ports.0` to `ports.1` on every address, or none.
///
/// Both wildcard addresses together take one dual-stack socket per port. Whether the host has
/// IPv6 at all is for the caller to know; without it `::` fails with `EAFNOSUPPORT`.
///
/// # Errors
/// The first address and port that could not be bound; nothing is held then.
pub fn reserve(
    transport: Transport,
    addresses: &[IpAddr],
    ports: (u16, u16),
) -> Result<Reservation, Clash> {
    let places = places(addresses);
    let needed = sockets_needed(addresses, ports);
    let filter = if needed < MANY {
        DropFilter::Each
    } else {
        make_room(needed);
        DropFilter::for_many()
    };
    let mut sockets = Vec::with_capacity(needed);
    for port in ports.0..=ports.1 {
        for place in &places {
            let socket = bind(transport, *place, port, &filter)
                .map_err(|source| clash(transport, *place, port, source))?;
            let Place { address, dual } = *place;
            sockets.push(Bound { address, dual, port, socket: socket.into() });
        }
    }
    Ok(Reservation { sockets })
}

/// The number of descriptors that [`reserve`] would hold for `ports` on `addresses`.
pub fn sockets_needed(addresses: &[IpAddr], ports: (u16, u16)) -> usize {
    places(addresses).len() * (usize::from(ports.1.saturating_sub(ports.0)) + 1)
}

/// Grows the descriptor table once: in a process with threads the kernel waits for an RCU grace
/// period (10 ms and more) at every doubling on the way to thousands of descriptors.
fn make_room(descriptors: usize) {
    let Ok(null) = File::open("/dev/null") else { return };
    let highest = usize::try_from(null.as_raw_fd()).unwrap_or(0) + descriptors;
    let highest = i32::try_from(highest).unwrap_or(i32::MAX);
    // Over the limit of open files this fails, and so will the bind, with a proper error.
    drop(rustix::io::fcntl_dupfd_cloexec(&null, highest));
}

fn places(addresses: &[IpAddr]) -> Vec<Place> {
    let wanted: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let both = wanted.contains(&v4) && wanted.contains(&v6);
    wanted
        .into_iter()
        .filter(|address| !(both && *address == v4))
        .map(|address| Place { address, dual: both && address == v6 })
        .collect()
}

fn bind(transport: Transport, place: Place, port: u16, filter: &DropFilter) -> io::Result<Socket> {
    bind_as(transport, place, port, filter, None)
}

/// The same with a mark that the socket has only while it is bound and begins to listen.
fn bind_as(
    transport: Transport,
    place: Place,
    port: u16,
    filter: &DropFilter,
    mark: Option<u32>,
) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let domain = if place.address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new_raw(domain, kind.nonblocking().cloexec(), Some(protocol))?;
    // Before bind: an unfiltered UDP socket would queue datagrams from its first moment on.
    filter.attach(&socket)?;
    if place.address.is_ipv6() {
        socket.set_only_v6(!place.dual)?;
    }
    match transport {
        Transport::Tcp => socket.set_reuse_address(true)?,
        // No SO_REUSEADDR: with it Linux lets two UDP sockets share a port, unnoticed.
        Transport::Udp => {
            pktinfo::enable(&socket, place.address.is_ipv6(), place.dual)?;
            // Here, for the relay that is to read it may not.
            enlarge_buffers(&socket, LISTENER_QUEUE);
        }
    }
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    socket.bind(&SocketAddr::new(place.address, port).into())?;
    if transport == Transport::Tcp {
        socket.listen(BACKLOG)?;
    }
    if mark.is_some() {
        socket.set_mark(0)?;
    }
    Ok(socket)
}

/// Names the family that is in the way of a dual-stack socket; IPv4 when both are.
fn clash(transport: Transport, place: Place, port: u16, source: io::Error) -> Clash {
    let v4 = Place { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), dual: false };
    let in_use = source.raw_os_error() == Some(libc::EADDRINUSE);
    let address = if place.dual && in_use && bind(transport, v4, port, &DropFilter::Each).is_err() {
        v4.address
    } else {
        place.address
    };
    Clash { address, port, source }
}

// === impl Reservation ===

impl Reservation {
    /// Lets packets in. The filters belong to the sockets, so this works for copies of the
    /// descriptors in other processes, too. Doing it twice changes nothing.
    pub fn open(&self) -> Result<()> {
        for bound in &self.sockets {
            let at = || format!("open {}", SocketAddr::new(bound.address, bound.port));
            open_to_traffic(&bound.socket).during(at)?;
        }
        Ok(())
    }

    /// The addresses held for each port, in the order of the sockets, and whether each socket is
    /// a dual-stack one.
    pub fn places(&self) -> Vec<(IpAddr, bool)> {
        let first = self.sockets.first().map(|bound| bound.port);
        let same = |bound: &&Bound| Some(bound.port) == first;
        self.sockets.iter().take_while(same).map(|b| (b.address, b.dual)).collect()
    }

    /// The lowest and highest port held; `None` when nothing is.
    pub fn ports(&self) -> Option<(u16, u16)> {
        Some((self.sockets.first()?.port, self.sockets.last()?.port))
    }
}

// === impl Clash ===

impl Clash {
    /// Whether somebody else holds the port.
    pub fn is_in_use(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EADDRINUSE)
    }
}

#[cfg(test)]
mod tests;
