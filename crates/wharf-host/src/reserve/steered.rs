//! Ranges that one socket listens for: somebody steers what comes to all of its ports there.

use std::io;
use std::net::IpAddr;

use super::{Bound, Clash, DropFilter, Place, Reservation, Transport, bind_as, clash, places};
use crate::diag;
use crate::netlink::{Family, Netlink};
use crate::transparent::RELAY_MARK;

/// Binds the first of `ports` on every address, in the place of all, unless another socket waits on
/// any of them.
///
/// Who keeps other programs away from ports of steered ranges lets this through, because a range
/// may be bound anew while it is steered. What else is steered is for the caller to know.
///
/// # Errors
/// The first address and port that somebody has, or that cannot be bound; nothing is held then.
pub fn reserve_steered(
    transport: Transport,
    addresses: &[IpAddr],
    ports: (u16, u16),
) -> Result<Reservation, Clash> {
    let places = places(addresses);
    let mut sockets = Vec::with_capacity(places.len());
    for place in &places {
        let marked = Some(RELAY_MARK.value);
        let socket = bind_as(transport, *place, ports.0, &DropFilter::Each, marked)
            .map_err(|source| clash(transport, *place, ports.0, source))?;
        let Place { address, dual } = *place;
        sockets.push(Bound { address, dual, port: ports.0, socket: socket.into() });
    }
    match in_the_way(transport, &places, ports) {
        Some(clash) => Err(clash),
        None => Ok(Reservation { sockets }),
    }
}

/// A socket of somebody's behind the first port, which is bound really.
fn in_the_way(transport: Transport, places: &[Place], ports: (u16, u16)) -> Option<Clash> {
    let listed = Netlink::open(Family::SockDiag)
        .and_then(|mut netlink| diag::bound(&mut netlink, transport));
    let refused = |address, port, source| Some(Clash { address, port, source });
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let address = places.first()?.address;
            return refused(address, ports.0, io::Error::other(error));
        }
    };
    let mut others: Vec<diag::Bound> = listed
        .into_iter()
        .filter(|it| it.port > ports.0 && it.port <= ports.1)
        .filter(|it| places.iter().any(|place| meets(*place, it)))
        .collect();
    others.sort_by_key(|it| it.port);
    let first = others.first()?;
    refused(first.address, first.port, io::Error::from_raw_os_error(libc::EADDRINUSE))
}

/// Whether the two could not both be bound to one port.
fn meets(place: Place, other: &diag::Bound) -> bool {
    let dual = other.address.is_unspecified() && other.address.is_ipv6() && !other.v6_only;
    let same_family = place.dual || dual || place.address.is_ipv4() == other.address.is_ipv4();
    let same_address = place.address == other.address
        || place.address.is_unspecified()
        || other.address.is_unspecified();
    same_family && same_address
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

    use super::*;

    const ANY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

    /// Ports from `port` on, a few of them, and none below 1024.
    fn around(port: u16) -> (u16, u16) {
        (port.saturating_sub(20).max(1024), port.saturating_add(20))
    }

    #[test]
    fn one_socket_is_bound_in_the_place_of_all() {
        let free = (1..50u16)
            .map(|n| (n * 1000, n * 1000 + 300))
            .find_map(|ports| reserve_steered(Transport::Tcp, &ANY, (ports.0 + 24, ports.1)).ok());
        let held = free.unwrap();
        assert_eq!(held.places(), [(ANY[1], true)]);
        assert_eq!(held.sockets.len(), 1);
    }

    #[test]
    fn who_has_a_port_of_the_range_is_in_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let clash = reserve_steered(Transport::Tcp, &ANY, around(port)).unwrap_err();
        assert!(clash.is_in_use(), "{clash}");
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let clash = reserve_steered(Transport::Udp, &ANY, around(port)).unwrap_err();
        assert!(clash.is_in_use(), "{clash}");
    }

    #[test]
    fn other_addresses_and_families_are_in_nobodys_way() {
        let bound = |address: &str, v6_only| diag::Bound {
            cookie: 1,
            address: address.parse().unwrap(),
            port: 2000,
            v6_only,
        };
        let place = |address: &str, dual| Place { address: address.parse().unwrap(), dual };
        assert!(!meets(place("127.0.0.1", false), &bound("127.0.0.2", false)));
        assert!(!meets(place("0.0.0.0", false), &bound("::1", false)));
        assert!(!meets(place("0.0.0.0", false), &bound("::", true)));
        assert!(meets(place("127.0.0.1", false), &bound("::", false)));
        assert!(meets(place("::", true), &bound("127.0.0.1", false)));
        assert!(meets(place("0.0.0.0", false), &bound("127.0.0.1", false)));
    }
}
