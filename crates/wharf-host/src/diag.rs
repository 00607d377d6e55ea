//! Which process holds a port.
//!
//! Answers come from the kernel's socket table (`sock_diag`) and `/proc`, at the moment of
//! asking; a holder may be gone a moment later. A holder outside our view of `/proc` has no pid.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};

mod bound;
mod connected;
mod destroy;
mod waiting;

pub use self::bound::{Bound, bound};
pub use self::connected::connected;
pub use self::destroy::destroy_tcp;
pub use self::waiting::{Waiting, has_open, process_of, waiting};
use crate::error::Result;
use crate::netlink::{Family, Netlink};
use crate::reserve::Transport;

/// `TCP_BOUND_INACTIVE` of the kernel (6.8 and later): bound, but neither listening nor
/// connected. Older kernels do not list such sockets.
const BOUND_INACTIVE: u32 = 1 << 13;
/// A name in an error message is not worth more time than this, however many processes run.
const SCAN_LIMIT: Duration = Duration::from_millis(500);

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process, if it can be seen from here.
    pub pid: Option<u32>,
    /// Its name (`/proc/PID/comm`).
    pub name: Option<String>,
    /// The inode of the socket.
    pub inode: u32,
}

/// Finds who holds `port` on `address`, or on an address that overlaps it, in the calling
/// thread's network namespace; `None` when nobody does.
pub fn holder(transport: Transport, address: IpAddr, port: u16) -> Result<Option<Holder>> {
    let mut netlink = Netlink::open(Family::SockDiag)?;
    // Listeners first: they are few, and mostly they are what is in the way.
    for states in wanted_states(transport) {
        for family in [AF_INET, AF_INET6] {
            for socket in sockets(&mut netlink, transport, family, port, &states)? {
                let inode = socket.header.inode;
                if overlaps(address, &socket) && inode != 0 {
                    let pid = find_pid(inode);
                    return Ok(Some(Holder { pid, name: pid.and_then(name), inode }));
                }
            }
        }
    }
    Ok(None)
}

/// Whether anything waits for clients on one of `ports` (both ends included), in the network
/// namespace `netlink` belongs to.
pub fn is_awaited(netlink: &mut Netlink, transport: Transport, ports: (u16, u16)) -> Result<bool> {
    let states = match transport {
        Transport::Tcp => StateFlags::LISTEN,
        // What a UDP socket without a peer counts as.
        Transport::Udp => StateFlags::CLOSE,
    };
    for family in [AF_INET, AF_INET6] {
        let found = listed(netlink, transport, family, 0, &states)?;
        let port = |socket: &InetResponse| socket.header.socket_id.source_port;
        if found.iter().any(|socket| (ports.0..=ports.1).contains(&port(socket))) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn wanted_states(transport: Transport) -> Vec<StateFlags> {
    let rest = StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT;
    match transport {
        Transport::Tcp => {
            vec![StateFlags::LISTEN, StateFlags::from_bits_retain(rest.bits() | BOUND_INACTIVE)]
        }
        Transport::Udp => vec![StateFlags::all()],
    }
}

fn sockets(
    netlink: &mut Netlink,
    transport: Transport,
    family: u8,
    port: u16,
    states: &StateFlags,
) -> Result<Vec<InetResponse>> {
    let mut found = listed(netlink, transport, family, port, states)?;
    found.retain(|socket| socket.header.socket_id.source_port == port);
    Ok(found)
}

fn listed(
    netlink: &mut Netlink,
    transport: Transport,
    family: u8,
    port: u16,
    states: &StateFlags,
) -> Result<Vec<InetResponse>> {
    listed_at_most(netlink, transport, family, (port, 0), states, usize::MAX)
}

/// The sockets of one family in one of `states` whose own port and whose peer's are these; 0 is any.
fn listed_at_most(
    netlink: &mut Netlink,
    transport: Transport,
    family: u8,
    ports: (u16, u16),
    states: &StateFlags,
    limit: usize,
) -> Result<Vec<InetResponse>> {
    let id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = InetRequest {
        family,
        protocol: match transport {
            Transport::Tcp => IPPROTO_TCP,
            Transport::Udp => IPPROTO_UDP,
        },
        extensions: ExtensionFlags::empty(),
        states: states.clone(),
        // The kernel filters a dump by both, unless they are 0.
        socket_id: SocketId { source_port: ports.0, destination_port: ports.1, ..id },
    };
    let request = SockDiagMessage::InetRequest(request);
    let found = netlink.dump_at_most("list sockets", request, limit)?;
    let found = found.into_iter().filter_map(|message| match message {
        SockDiagMessage::InetResponse(socket) => Some(*socket),
        _ => None,
    });
    Ok(found.collect())
}

/// Whether a socket would keep `wanted` from being bound.
fn overlaps(wanted: IpAddr, socket: &InetResponse) -> bool {
    let v6_only = socket.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true)));
    match (wanted, socket.header.socket_id.source_address) {
        (IpAddr::V4(_), IpAddr::V6(held)) if held.is_unspecified() => !v6_only,
        (_, held) => same_family_overlap(wanted, held.to_canonical()),
    }
}

fn same_family_overlap(wanted: IpAddr, held: IpAddr) -> bool {
    wanted.is_ipv4() == held.is_ipv4()
        && (wanted.is_unspecified() || held.is_unspecified() || wanted == held)
}

/// Looks through every process's descriptors for the socket.
fn find_pid(inode: u32) -> Option<u32> {
    let deadline = Instant::now() + SCAN_LIMIT;
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc")
        .ok()?
        .take_while(|_| Instant::now() < deadline)
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds(*pid, &wanted))
}

fn holds(pid: u32, wanted: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|link| link.as_os_str() == wanted)
}

fn name(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listener_is_found_by_every_address_it_is_in_the_way_of() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let me = Some(std::process::id());
        for address in ["127.0.0.1", "0.0.0.0"] {
            let found = holder(Transport::Tcp, ip(address), port).unwrap().unwrap();
            assert_eq!(found.pid, me);
            assert!(found.name.is_some());
        }
        assert_eq!(holder(Transport::Tcp, ip("127.0.0.2"), port).unwrap(), None);
        assert_eq!(holder(Transport::Tcp, ip("::"), port).unwrap(), None);
    }

    #[test]
    fn a_dual_stack_socket_is_in_the_way_of_ipv4() {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = holder(Transport::Udp, ip("127.0.0.1"), port).unwrap().unwrap();
        assert_eq!(found.pid, Some(std::process::id()));
        assert_eq!(holder(Transport::Tcp, ip("127.0.0.1"), port).unwrap(), None);
    }

    #[test]
    fn a_bound_udp_socket_is_found() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(holder(Transport::Udp, ip("0.0.0.0"), port).unwrap().is_some());
    }

    #[test]
    fn a_port_is_awaited_once_something_listens_in_the_range() {
        let mut netlink = Netlink::open(Family::SockDiag).unwrap();
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let around = (port.saturating_sub(1), port.saturating_add(1));
        assert!(is_awaited(&mut netlink, Transport::Tcp, around).unwrap());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        assert!(is_awaited(&mut netlink, Transport::Udp, (port, port)).unwrap());
        drop(udp);
        assert!(!is_awaited(&mut netlink, Transport::Udp, (port, port)).unwrap());
    }
}
