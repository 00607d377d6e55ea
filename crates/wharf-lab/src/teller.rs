//! A server that tells every client how it is seen, in the words of `wharf/whoami`.
//!
//! The built-in web server listens on one port; a teller listens on as many as a test needs, in
//! any namespace, and says which of them was reached.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::host::Host;

/// How long the end of a teller may go unnoticed by its thread.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A client that connects and says nothing must not keep the others waiting for long.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// A server on some ports of one namespace; it ends when dropped.
#[derive(Debug)]
pub struct Teller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a teller, or `wharf/whoami`, says of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The host name of who answers.
    pub hostname: String,
    /// The client's address as it is seen there.
    pub source: IpAddr,
    /// The port reached, where the server has several.
    pub port: Option<u16>,
}

struct Ears {
    name: String,
    tcp: Vec<(u16, TcpListener)>,
    udp: Vec<(u16, UdpSocket)>,
}

// === impl Host ===

impl Host {
    /// Answers on `ports` of every address, over TCP (`GET` anything) and UDP, with a JSON object
    /// of `hostname` (this host's name), `remoteAddr` and `port`.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub fn tell(&self, ports: &[u16]) -> Result<Teller> {
        let mut ears = Ears { name: self.name().to_owned(), tcp: Vec::new(), udp: Vec::new() };
        for port in ports {
            // A dual-stack socket: both families.
            let any = format!("[::]:{port}");
            let (tcp, udp) = (self.tcp_listen(&any)?, self.udp_bind(&any)?);
            tcp.set_nonblocking(true).context("listen without waiting")?;
            udp.set_nonblocking(true).context("receive without waiting")?;
            ears.tcp.push((*port, tcp));
            ears.udp.push((*port, udp));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::spawn(move || ears.listen(&asked));
        Ok(Teller { stop, thread: Some(thread) })
    }

    /// Asks the teller or `wharf/whoami` at `address`, over `tcp` or `udp`, what it sees of this
    /// host.
    ///
    /// # Errors
    /// When nobody answers, or not in the words of a teller.
    pub fn told(&self, proto: &str, address: &str) -> Result<Told> {
        let told = if proto == "udp" {
            serde_json::from_slice(&self.udp_ask(address, b"who am I?")?)?
        } else {
            let answer = self.http_get(address, "/api")?;
            ensure!(answer.status == 200, "status {} from {address}", answer.status);
            answer.json()?
        };
        Told::parse(&told).with_context(|| format!("not the words of a teller: {told}"))
    }
}

// === impl Told ===

impl Told {
    pub(crate) fn parse(told: &Value) -> Option<Self> {
        let source: SocketAddr = told.get("remoteAddr")?.as_str()?.parse().ok()?;
        let hostname = told.get("hostname")?.as_str()?.to_owned();
        let port = told.get("port").and_then(Value::as_u64).and_then(|port| port.try_into().ok());
        Some(Self { hostname, source: source.ip(), port })
    }
}

// === impl Teller ===

impl Drop for Teller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A teller that stumbled has failed the test by not answering.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

// === impl Ears ===

impl Ears {
    fn listen(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let tcp = self
                .tcp
                .iter()
                .map(|(_, socket)| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN));
            let udp = self
                .udp
                .iter()
                .map(|(_, socket)| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN));
            let mut all: Vec<PollFd<'_>> = tcp.chain(udp).collect();
            if poll(&mut all, Some(&TICK)).is_ok() {
                self.tcp.iter().for_each(|(port, socket)| self.take(*port, socket));
                self.udp.iter().for_each(|(port, socket)| self.reply(*port, socket));
            }
        }
    }

    fn take(&self, port: u16, listener: &TcpListener) {
        while let Ok((stream, peer)) = listener.accept() {
            // The client may have left.
            let _told = self.tell(port, stream, peer);
        }
    }

    fn tell(&self, port: u16, mut stream: TcpStream, peer: SocketAddr) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(REQUEST_LIMIT))?;
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer)? {
                0 => break,
                count => request.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
        let body = self.words(port, peer);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Ok(stream.write_all((head + &body).as_bytes())?)
    }

    fn reply(&self, port: u16, socket: &UdpSocket) {
        let mut question = [0; 2048];
        while let Ok((_, peer)) = socket.recv_from(&mut question) {
            let _sent = socket.send_to(self.words(port, peer).as_bytes(), peer);
        }
    }

    fn words(&self, port: u16, peer: SocketAddr) -> String {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        json!({ "hostname": self.name, "remoteAddr": peer.to_string(), "port": port }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::{Lab, can_run};

    #[test]
    fn everyone_is_told_who_they_are_and_which_port_they_reached() {
        if !can_run() {
            return;
        }
        let lab = Lab::new("teller").unwrap();
        let (server, client) = (lab.host("server").unwrap(), lab.host("client").unwrap());
        lab.link(&server, &["10.1.0.2/24", "fd01::2/64"], &client, &["10.1.0.1/24", "fd01::1/64"])
            .unwrap();
        let _teller = server.tell(&[80, 81]).unwrap();
        for (address, port) in [("10.1.0.2:80", 80), ("[fd01::2]:81", 81)] {
            let told = client.http_get(address, "/api").unwrap().json().unwrap();
            assert_eq!((&told["hostname"], &told["port"]), (&"server".into(), &port.into()));
            let told: Value =
                serde_json::from_slice(&client.udp_ask(address, b"?").unwrap()).unwrap();
            let seen = told["remoteAddr"].as_str().unwrap();
            assert!(seen.starts_with("10.1.0.1:") || seen.starts_with("[fd01::1]:"), "{seen}");
        }
    }
}
