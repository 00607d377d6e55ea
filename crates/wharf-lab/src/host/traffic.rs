//! Real sockets, made on a host and used from anywhere.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::Host;
use crate::http::{self, Response};

/// A first packet that is lost on the way is sent again after one second.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);

/// Longer than any honest answer inside one machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A datagram may be lost while a path is being made; a lasting fault loses them all.
const DATAGRAM_TRIES: usize = 3;
const DATAGRAM_LIMIT: Duration = Duration::from_secs(1);

// === impl Host ===

impl Host {
    /// Opens a TCP connection to `address` (`10.1.0.2:8080`, `[::1]:8080`).
    ///
    /// # Errors
    /// When it is refused or not made within four seconds; the root cause is the `io::Error`.
    pub fn tcp(&self, address: &str) -> Result<TcpStream> {
        let to = parse(address)?;
        let stream = self.run(|| TcpStream::connect_timeout(&to, CONNECT_LIMIT))?;
        prepared(stream.with_context(|| format!("connect {} to {to}", self.name()))?)
    }

    /// As [`Host::tcp`], from the address `source` of this host (port 0 for any).
    ///
    /// # Errors
    /// As [`Host::tcp`]; also when `source` is not an address of this host.
    pub fn tcp_from(&self, source: &str, address: &str) -> Result<TcpStream> {
        let (from, to) = (parse(source)?, parse(address)?);
        let stream = self.run(|| connect_from(from, to))?;
        prepared(stream.with_context(|| format!("connect {} from {from} to {to}", self.name()))?)
    }

    /// Sends `payload` over a new TCP connection, closes that direction, and reads the answer.
    ///
    /// # Errors
    /// As [`Host::tcp`]; also when the connection breaks or falls silent.
    pub fn tcp_ask(&self, address: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let mut stream = self.tcp(address)?;
        stream.write_all(payload).context("send")?;
        stream.shutdown(Shutdown::Write).context("close one direction")?;
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).context("read the answer")?;
        Ok(answer)
    }

    /// Whether a TCP connection to `address` is made.
    pub fn can_connect(&self, address: &str) -> bool {
        self.tcp(address).is_ok()
    }

    /// Fetches `path` from the web server at `address`.
    ///
    /// # Errors
    /// As [`Host::tcp`] and [`http::get`].
    pub fn http_get(&self, address: &str, path: &str) -> Result<Response> {
        http::get(self.tcp(address)?, address, path)
            .with_context(|| format!("GET {path} from {address}, by {}", self.name()))
    }

    /// Listens for TCP connections at `address`.
    ///
    /// # Errors
    /// When the address or port cannot be had.
    pub fn tcp_listen(&self, address: &str) -> Result<TcpListener> {
        let at = parse(address)?;
        let listener = self.run(|| TcpListener::bind(at))?;
        listener.with_context(|| format!("listen on {at} of {}", self.name()))
    }

    /// A UDP socket bound to `address`, with a time limit on reads.
    ///
    /// # Errors
    /// When the address or port cannot be had.
    pub fn udp_bind(&self, address: &str) -> Result<UdpSocket> {
        let at = parse(address)?;
        let socket = self.run(|| UdpSocket::bind(at))?;
        let socket = socket.with_context(|| format!("bind udp {at} of {}", self.name()))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(socket)
    }

    /// A UDP socket that talks to `address` only: what comes from any other address or port is
    /// not seen, so a reply proves where it came from.
    ///
    /// # Errors
    /// When there is no way to `address`.
    pub fn udp(&self, address: &str) -> Result<UdpSocket> {
        let to = parse(address)?;
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = self.run(|| UdpSocket::bind(any))?.context("bind a udp socket")?;
        socket.connect(to).with_context(|| format!("udp from {} to {to}", self.name()))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(socket)
    }

    /// Sends one datagram to `address` and returns the one that `address` answers with.
    ///
    /// # Errors
    /// When three tries of a second each bring no answer, or the port is refused.
    pub fn udp_ask(&self, address: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let mut answer = vec![0; 65_536];
        for _ in 0..DATAGRAM_TRIES {
            // From another port each time: conntrack drops a flow whose answers it could not tell
            // from those of one that it remembers, of the same port of ours to another address that
            // leads to the same target.
            let socket = self.udp(address)?;
            socket.set_read_timeout(Some(DATAGRAM_LIMIT))?;
            socket.send(payload).with_context(|| format!("send to {address}"))?;
            match socket.recv(&mut answer) {
                Ok(length) => {
                    answer.truncate(length);
                    return Ok(answer);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error).with_context(|| format!("ask {address} by udp")),
            }
        }
        bail!("no answer by udp from {address} to {}", self.name())
    }
}

fn parse(address: &str) -> Result<SocketAddr> {
    address.parse().with_context(|| format!("not an address and a port: {address:?}"))
}

fn prepared(stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connect_from(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &from)?;
    // The limit on sending is also the limit on connecting (socket(7)).
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_LIMIT))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}
