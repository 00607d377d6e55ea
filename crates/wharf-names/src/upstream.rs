//! Other resolvers: the host's, or those a container was given.
//!
//! Questions travel as they came, but for their id: each goes from a socket of its own, connected
//! to one resolver, with a number nobody can guess, so that a forged answer has to hit both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wharf_host::netns::Netns;

use crate::answer::{self, Transport};
use crate::connection;
use crate::host::HostResolvers;

/// Questions of all containers that wait for an answer; each holds a socket.
const PENDING: usize = 2_048;
/// Sockets that are opened at a time, on threads which others need as well.
static OPENING: Semaphore = Semaphore::const_new(16);
/// A resolver that is asked for something it does not know yet may take this long; libc waits 5 s
/// for everything.
const ATTEMPT: Duration = Duration::from_millis(2_200);
/// A datagram may be lost.
const ROUNDS: usize = 2;
const PORT: u16 = 53;
const MESSAGE_LIMIT: usize = 65_535;

/// Resolvers of others.
#[derive(Debug)]
pub(crate) struct Upstream {
    host: HostResolvers,
    pending: Semaphore,
}

/// Whom to ask, and from where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way<'a> {
    /// The host's resolvers, from the host.
    Host,
    /// These, from within a container's namespace: as if it asked itself.
    Inside(&'a [IpAddr], &'a Netns),
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn of(resolv_conf: PathBuf) -> Self {
        Self { host: HostResolvers::of(resolv_conf), pending: Semaphore::new(PENDING) }
    }

    /// The first answer that helps, else the last that does not; `None` when nobody answers.
    pub(crate) async fn ask(
        &self,
        question: &[u8],
        over: Transport,
        way: Way<'_>,
    ) -> Option<Vec<u8>> {
        let _slot = self.pending.try_acquire().ok()?;
        let resolvers = match way {
            Way::Host => self.host.now(),
            Way::Inside(own, _) => own.iter().map(|it| SocketAddr::new(*it, PORT)).collect(),
        };
        let inside = match way {
            Way::Host => None,
            Way::Inside(_, netns) => Some(netns),
        };
        let mut helpless = None;
        for _round in 0..ROUNDS {
            for resolver in &resolvers {
                let asked = attempt(question, *resolver, over, inside);
                match timeout(ATTEMPT, asked).await {
                    Ok(Ok(answer)) if answer::is_helpless(&answer) => helpless = Some(answer),
                    Ok(Ok(answer)) => return Some(answer),
                    Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver is not asked"),
                    Err(_) => tracing::debug!(%resolver, "a resolver does not answer"),
                }
            }
            if helpless.is_some() {
                break;
            }
        }
        helpless
    }
}

async fn attempt(
    question: &[u8],
    resolver: SocketAddr,
    over: Transport,
    inside: Option<&Netns>,
) -> io::Result<Vec<u8>> {
    let id = answer::id(question).ok_or(io::ErrorKind::InvalidData)?;
    let sent = answer::with_id(question.to_vec(), rand::random());
    let told = match over {
        Transport::Udp => by_datagram(&sent, udp(resolver, inside).await?).await?,
        Transport::Tcp => by_connection(&sent, tcp(resolver, inside).await?).await?,
    };
    Ok(answer::with_id(told, id))
}

async fn by_datagram(sent: &[u8], socket: UdpSocket) -> io::Result<Vec<u8>> {
    socket.send(sent).await?;
    let mut buffer = vec![0; MESSAGE_LIMIT];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(told) = buffer.get(..length).filter(|told| answer::fits(sent, told)) {
            return Ok(told.to_vec());
        }
    }
}

async fn by_connection(sent: &[u8], mut stream: TcpStream) -> io::Result<Vec<u8>> {
    connection::write(&mut stream, sent).await?;
    let told = connection::read(&mut stream, MESSAGE_LIMIT).await?;
    if answer::fits(sent, &told) { Ok(told) } else { Err(io::ErrorKind::InvalidData.into()) }
}

async fn udp(resolver: SocketAddr, inside: Option<&Netns>) -> io::Result<UdpSocket> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let open = move || -> io::Result<std::net::UdpSocket> {
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(resolver)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    UdpSocket::from_std(match inside {
        None => open()?,
        Some(netns) => within(netns, open).await?,
    })
}

async fn tcp(resolver: SocketAddr, inside: Option<&Netns>) -> io::Result<TcpStream> {
    let Some(netns) = inside else { return TcpStream::connect(resolver).await };
    // Where a socket was opened is where it connects from: the waiting is done out here.
    let open = match resolver {
        SocketAddr::V4(_) => TcpSocket::new_v4,
        SocketAddr::V6(_) => TcpSocket::new_v6,
    };
    within(netns, open).await?.connect(resolver).await
}

/// Opens a socket inside another namespace, on a thread that is made for it. `open` does not wait.
async fn within<T: Send + 'static>(
    netns: &Netns,
    open: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let _turn = OPENING.acquire().await.map_err(io::Error::other)?;
    let netns = netns.try_clone().map_err(io::Error::other)?;
    let opened = tokio::task::spawn_blocking(move || netns.run(open));
    opened.await.map_err(io::Error::other)?.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wharf_host::link::Links;

    use super::*;

    #[test]
    fn who_waits_for_a_silent_resolver_holds_no_thread_that_others_need() {
        let Ok(netns) = Netns::create() else {
            eprintln!("skipped: making network namespaces needs root");
            return;
        };
        // Nobody answers at this address, nor says that nobody does.
        let mut links = Links::open_in(&netns).unwrap();
        links.add_bridge("silent", None, None).unwrap();
        let silent = links.find("silent").unwrap().unwrap();
        links.add_address(silent.index, "192.0.2.1/24".parse().unwrap()).unwrap();
        links.set_up("silent").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let resolver = SocketAddr::from(([192, 0, 2, 53], PORT));
            let asked = tokio::spawn(async move { tcp(resolver, Some(&netns)).await });
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(!asked.is_finished());
            let before = Instant::now();
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(before.elapsed() < Duration::from_secs(1));
            asked.abort();
        });
    }
}
