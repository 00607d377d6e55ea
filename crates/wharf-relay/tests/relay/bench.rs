//! A relay in a network namespace of its own, and the peers around it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_host::link::Links;
use wharf_host::netns::Netns;
use wharf_host::reserve::{Reservation, Transport, reserve};
use wharf_relay::{
    Limits, Listed, Place, Relay, RelayClient, RelayConfig, Route, Source, socket_path,
};
use wharf_spec::{PortRange, Proto};

pub(super) const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
pub(super) const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Bench {
    pub(super) dir: TempDir,
    pub(super) client: RelayClient,
    relay: Option<Relay>,
}

/// Runs `test` beside a relay in a namespace whose loopback has addresses of both families.
pub(super) fn with_relay(limits: Limits, test: impl FnOnce(&mut Bench) + Send) {
    in_netns(|| with_relay_here(limits, test));
}

/// The same in the namespace of the calling thread.
pub(super) fn with_relay_here(limits: Limits, test: impl FnOnce(&mut Bench)) {
    let dir = TempDir::new().unwrap();
    let run_dir = dir.path().to_owned();
    let relay = Relay::start(RelayConfig { limits, ..RelayConfig::new(run_dir) }).unwrap();
    let client = RelayClient::connect(&socket_path(dir.path())).unwrap();
    let mut bench = Bench { dir, client, relay: Some(relay) };
    test(&mut bench);
    bench.relay.take().unwrap().stop();
    assert!(!socket_path(bench.dir.path()).exists());
}

pub(super) fn in_netns(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root for a network namespace");
        return;
    }
    let body = || {
        let mut links = Links::open().unwrap();
        for address in ["192.0.2.1/32", "2001:db8::1/128", "2001:db8::2/128"] {
            links.add_address(1, address.parse().unwrap()).unwrap();
        }
        drop(links);
        for address in ["2001:db8::1", "2001:db8::2"] {
            eventually(|| delivers(address).is_ok());
        }
        test();
    };
    Netns::create().unwrap().run(body).unwrap();
}

/// Whether packets to an own IPv6 address arrive: the kernel makes its routes from a work queue.
fn delivers(address: &str) -> std::io::Result<()> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(10)))?;
    socket.send_to(b"!", socket.local_addr()?)?;
    socket.recv(&mut [0]).map(|_| ())
}

/// A route from `ports` to `target`, and its reservation.
pub(super) fn route(
    transport: Transport,
    addresses: &[IpAddr],
    ports: (u16, u16),
    target: SocketAddr,
) -> (Route, Reservation) {
    let held = reserve(transport, addresses, ports).unwrap();
    let place = |(address, dual)| Place { address, dual };
    let range = PortRange::new(ports.0, ports.1).unwrap();
    let last = target.port() + (ports.1 - ports.0);
    let (target_v4, target_v6) = match target.ip() {
        IpAddr::V4(v4) => (Some(v4), None),
        IpAddr::V6(v6) => (None, Some(v6)),
    };
    let route = Route {
        id: format!("{transport:?}-{}", ports.0),
        proto: if transport == Transport::Tcp { Proto::Tcp } else { Proto::Udp },
        listeners: held.places().into_iter().map(place).collect(),
        target_v4,
        target_v6,
        host_ports: range,
        target_ports: PortRange::new(target.port(), last).unwrap(),
        allow: Vec::new(),
        proxy_protocol: None,
        connect_timeout_ms: None,
        idle_timeout_seconds: None,
        source: Source::Gateway,
        neighbours: Vec::new(),
        inside: false,
        steered: false,
        on_host: true,
    };
    (route, held)
}

pub(super) fn add(client: &mut RelayClient, route: &Route, held: &Reservation) {
    let sockets: Vec<_> = held.sockets.iter().map(|bound| bound.socket.as_fd()).collect();
    client.add(vec![route.clone()], &sockets).unwrap();
}

impl Bench {
    pub(super) fn connect(&self) -> RelayClient {
        RelayClient::connect(&socket_path(self.dir.path())).unwrap()
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Has another relay of this process take the place of the first.
    pub(super) fn replace(&mut self) {
        let config = RelayConfig { take_over: Some(1), ..RelayConfig::new(self.path()) };
        let next = Relay::start(config).unwrap();
        self.relay.replace(next).unwrap().stop();
        self.client = self.connect();
    }

    /// Adds and opens a route, and lets go of our copies of its sockets.
    pub(super) fn publish(&mut self, (route, held): (Route, Reservation)) -> String {
        add(&mut self.client, &route, &held);
        self.client.open(std::slice::from_ref(&route.id)).unwrap();
        route.id
    }

    /// Both wildcards, port 8080, to `target`.
    pub(super) fn publish_8080(&mut self, transport: Transport, target: SocketAddr) -> String {
        self.publish(route(transport, &[V4, V6], (8080, 8080), target))
    }

    pub(super) fn listed(&mut self) -> Listed {
        self.client.list().unwrap().remove(0)
    }

    /// Waits until the only route's counters satisfy `done`.
    pub(super) fn until(&mut self, done: impl Fn(&wharf_relay::RouteStats) -> bool) {
        eventually(|| done(&self.listed().stats));
    }
}

pub(super) fn eventually(done: impl FnMut() -> bool) {
    assert!(happens(done), "did not happen within {PATIENCE:?}");
}

/// Whether it does, for as long as anyone waits.
pub(super) fn happens(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A TCP server that treats each connection with `serve`, on a thread each.
pub(super) fn tcp_target(at: &str, serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            patient(&stream);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Sends everything back, then closes.
pub(super) fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

pub(super) fn connect(to: impl std::net::ToSocketAddrs) -> TcpStream {
    let to = to.to_socket_addrs().unwrap().next().unwrap();
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    patient(&stream);
    stream
}

fn patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

pub(super) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// A UDP server that sends every datagram back.
pub(super) fn udp_echo(at: &str) -> SocketAddr {
    let socket = UdpSocket::bind(at).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            // An answer to a client that is gone comes back as an error.
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                drop(socket.send_to(&buffer[..length], from));
            }
        }
    });
    address
}

pub(super) fn udp_client(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}
