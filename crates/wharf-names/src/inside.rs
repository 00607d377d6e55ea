//! Sockets inside a container's network namespace, where its `resolv.conf` looks for a resolver.
//!
//! A container asks 127.0.0.11, port 53, which is its own loopback: no firewall of the host is in
//! the way, no program of the host can hold the port, and networks without a way out have it, too.
//! We listen at another port, and a table of nftables in that namespace exchanges the two, so that
//! a server in the container may take port 53 of every address. The exchange is without state:
//! connection tracking would cost every packet of the container something. Where nftables cannot do
//! that, we listen at port 53 itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use wharf_host::netlink::{Family, Netlink};
use wharf_host::netns::Netns;
use wharf_host::nftables::{BaseHook, Batch, Chain, ChainKind, HookPoint, Ownership, Policy, Rule};

use crate::error::{Error, Result};

/// Where a container looks for a resolver, as in Docker.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// Above what the kernel gives to whoever asks for any port. It is always the same, so that the
/// rules of a daemon that was killed lead to the next one.
const OWN_PORT: u16 = 61_053;
const TABLE: &str = "wharf-names";
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `NF_IP_PRI_MANGLE`: before the container's own filters, which then see the real ports.
const MANGLE: i32 = -150;

const CHAIN: Chain = Chain {
    name: "output",
    base: Some(BaseHook {
        kind: ChainKind::Filter,
        hook: HookPoint::Output,
        priority: MANGLE,
        policy: Policy::Accept,
    }),
};

/// The sockets for one container, and its namespace.
#[derive(Debug)]
pub struct Inside {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    pub(crate) netns: Netns,
}

// === impl Inside ===

impl Inside {
    /// Opens the sockets inside `netns` and leads what is for port 53 to them. What an earlier
    /// daemon led there is led here from now on.
    ///
    /// # Errors
    /// When neither nftables nor port 53 can be had inside.
    pub fn open(netns: Netns) -> Result<Self> {
        let (udp, tcp) = netns.run(open)??;
        Ok(Self { udp, tcp, netns })
    }
}

fn open() -> Result<(UdpSocket, TcpListener)> {
    let udp = listen(OWN_PORT, UdpSocket::bind).or_else(|_| listen(0, UdpSocket::bind))?;
    let tcp = listen(OWN_PORT, TcpListener::bind).or_else(|_| listen(0, TcpListener::bind))?;
    let ports = udp.local_addr().and_then(|udp| Ok((udp.port(), tcp.local_addr()?.port())));
    let led = ports
        .map_err(|source| Error::Listen { address: at(OWN_PORT), source })
        .and_then(|(udp, tcp)| Ok(exchange_ports(udp, tcp)?));
    let sockets = match led {
        Ok(()) => (udp, tcp),
        Err(error) => {
            tracing::debug!(%error, "no nftables inside a container: port 53 itself is taken");
            (listen(PORT, UdpSocket::bind)?, listen(PORT, TcpListener::bind)?)
        }
    };
    let unblocked = sockets.0.set_nonblocking(true).and_then(|()| sockets.1.set_nonblocking(true));
    unblocked.map_err(|source| Error::Listen { address: at(PORT), source })?;
    Ok(sockets)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ADDRESS), port)
}

fn listen<T>(port: u16, bind: impl Fn(SocketAddr) -> std::io::Result<T>) -> Result<T> {
    bind(at(port)).map_err(|source| Error::Listen { address: at(port), source })
}

/// Packets of the container to port 53 of our address go to our port, and answers from there come
/// from port 53.
fn exchange_ports(udp: u16, tcp: u16) -> wharf_host::Result<()> {
    let mut batch = Batch::new(TABLE);
    batch.add_table(Ownership::Shared);
    batch.add_chain(&CHAIN);
    batch.flush_rules();
    for (protocol, own) in [(UDP, udp), (TCP, tcp)] {
        let ours = Rule::new().out_by_loopback().protocol(protocol);
        let to = ours.clone().destination_in(IpAddr::V4(ADDRESS).into()).destination_port(PORT);
        batch.add_rule(&CHAIN, &to.set_destination_port(protocol, own));
        let from = ours.source_in(IpAddr::V4(ADDRESS).into()).source_port(own);
        batch.add_rule(&CHAIN, &from.set_source_port(protocol, PORT));
    }
    batch.commit(&mut Netlink::open(Family::Netfilter)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(5));

    /// A namespace with our sockets in it, made to wait; `None` where that cannot be.
    fn opened() -> Option<(Netns, UdpSocket, TcpListener)> {
        let netns = Netns::create()
            .inspect_err(|error| {
                eprintln!("skipped: making network namespaces needs root: {error}")
            })
            .ok()?;
        let Inside { udp, tcp, .. } = Inside::open(netns.try_clone().unwrap()).unwrap();
        udp.set_nonblocking(false).unwrap();
        udp.set_read_timeout(LIMIT).unwrap();
        tcp.set_nonblocking(false).unwrap();
        Some((netns, udp, tcp))
    }

    #[test]
    fn what_is_for_port_53_comes_to_us_and_our_answers_come_from_there() {
        let Some((netns, udp, tcp)) = opened() else { return };
        assert_eq!(udp.local_addr().unwrap(), at(OWN_PORT));
        let client = netns.run(|| UdpSocket::bind("127.0.0.1:0")).unwrap().unwrap();
        client.set_read_timeout(LIMIT).unwrap();
        client.connect(at(PORT)).unwrap();
        client.send(b"question").unwrap();
        let mut buffer = [0; 16];
        let (length, from) = udp.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"question"[..], client.local_addr().unwrap()));
        udp.send_to(b"answer", from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");

        let mut client = netns.run(|| TcpStream::connect(at(PORT))).unwrap().unwrap();
        let (mut served, _) = tcp.accept().unwrap();
        let long = vec![7; 200_000];
        let sent = long.clone();
        let writer = std::thread::spawn(move || served.write_all(&sent).map(|()| served));
        let mut got = vec![0; long.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, long);
        drop(writer.join().unwrap().unwrap());
    }

    #[test]
    fn port_53_stays_free_for_a_server_inside_and_the_next_daemon_takes_our_place() {
        let Some((netns, udp, tcp)) = opened() else { return };
        let inside = netns.run(|| (UdpSocket::bind("0.0.0.0:53"), TcpListener::bind("0.0.0.0:53")));
        let (_udp, _tcp) = inside.map(|(udp, tcp)| (udp.unwrap(), tcp.unwrap())).unwrap();
        // Somebody holds our port: another will do.
        let second = Inside::open(netns.try_clone().unwrap()).unwrap();
        assert_ne!(second.udp.local_addr().unwrap().port(), OWN_PORT);
        drop((udp, tcp, second));
        let third = Inside::open(netns.try_clone().unwrap()).unwrap();
        assert_eq!(third.udp.local_addr().unwrap(), at(OWN_PORT));
        assert_eq!(third.tcp.local_addr().unwrap(), at(OWN_PORT));
    }
}
