//! `wharf/whoami`: a small server that shows what it sees of a request, over TCP and UDP.
//!
//! It can be the first process of a container: it ends at once, with 0, when it is asked to.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::whoami::connection::Connection;

mod connection;
mod pages;
mod request;
mod udp;

const DEFAULT_PORT: u16 = 80;
const USAGE: &str = "usage: wharf whoami [--port PORT]";
/// A thread each: enough for a demonstration, too few to exhaust a host.
const CONNECTIONS_LIMIT: usize = 2048;
/// Frames here are small; the default of 2 MiB each would be address space only, but still.
const STACK: usize = 256 << 10;
/// An idle connection goes after this long; so does one whose client does not read.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Connections that wait to be accepted; `net.core.somaxconn` allows as many.
const BACKLOG: i32 = 4096;
/// After a failed accept (no descriptors left, say) the next one would fail, too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Counts a connection for as long as it lives.
struct Slot(Arc<AtomicUsize>);

/// The body of `wharf whoami [--port PORT]`, given the words after `whoami`.
///
/// The result is the exit status: 0 after SIGTERM or SIGINT, 1 when the port cannot be had, 2 for
/// words it does not know.
pub fn run(args: &[String]) -> i32 {
    let Some(port) = port(args) else {
        let _nowhere_else_to_say = writeln!(io::stderr(), "{USAGE}");
        return 2;
    };
    match serve(port) {
        Ok(()) => 0,
        Err(e) => {
            let _nowhere_else_to_say = writeln!(io::stderr(), "whoami: port {port}: {e}");
            1
        }
    }
}

fn port(args: &[String]) -> Option<u16> {
    let words: Vec<&str> = args.iter().flat_map(|word| word.split('=')).collect();
    match words.as_slice() {
        [] => Some(DEFAULT_PORT),
        ["--port" | "-port", port] => port.parse().ok(),
        _ => None,
    }
}

fn serve(port: u16) -> io::Result<()> {
    // Handlers first: without them, signals do not reach the first process of a container.
    let mut asked_to_end = end_signal()?;
    let tcp = listen(port)?;
    // With port 0, UDP takes the number TCP was given.
    let port = tcp.local_addr()?.port();
    let udp = udp::Server::bind(port)?;
    let _nowhere_else_to_say = writeln!(io::stdout(), "Starting up on port {port}");
    spawn("udp", move || udp.run())?;
    spawn("tcp", move || accept(&tcp))?;
    loop {
        match asked_to_end.read(&mut [0; 1]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => return Ok(()),
        }
    }
}

fn end_signal() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, theirs.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, theirs)?;
    Ok(ours)
}

/// Both families on one socket, or IPv4 alone where there is no other.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    // The standard library asks for a queue of 128: a busy machine fills that in a moment, and whose
    // SYN is dropped waits a second. Listening once more only makes it longer.
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn accept(listener: &TcpListener) {
    let count = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok((stream, peer)) => admit(stream, peer, &count),
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

fn admit(mut stream: TcpStream, peer: SocketAddr, count: &Arc<AtomicUsize>) {
    if count.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_LIMIT {
        count.fetch_sub(1, Ordering::Relaxed);
        let _best_effort = stream.write_all(BUSY);
        return;
    }
    let slot = Slot(count.clone());
    let _counted_back_by_the_slot = spawn("connection", move || {
        let _slot = slot;
        let limited = stream
            .set_read_timeout(Some(IDLE_LIMIT))
            .and_then(|()| stream.set_write_timeout(Some(IDLE_LIMIT)))
            .and_then(|()| stream.set_nodelay(true));
        if limited.is_ok() {
            // A client that goes away is none of our errors.
            let _gone = Connection::new(stream, peer).serve();
        }
    });
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    thread.spawn(work).map(|_detached| ())
}

// === impl Slot ===

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An IPv4 client of an IPv6 socket is shown as what it is.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Every address of this network namespace, loopback first.
fn addresses() -> Vec<IpAddr> {
    let all = wharf_host::link::Links::open().and_then(|mut links| links.addresses(None));
    let mut addresses: Vec<IpAddr> =
        all.unwrap_or_default().iter().map(|address| address.net.addr()).collect();
    addresses.sort_by_key(|address| (!address.is_loopback(), *address));
    addresses
}

#[cfg(test)]
mod tests;
