//! A host with a container on a cable of its own and a client on another.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use wharf_ebpf::{EbpfPlane, Obstacle, probe};
use wharf_host::netns::Netns;
use wharf_lab::{Host, Lab, can_run};
use wharf_plan::ebpf::{Connect, EbpfPlan, Steer};
use wharf_spec::{PortRange, Proto, PublicationId};

/// Where the container is, and the bridge's end of the cable to it.
pub(crate) const WEB4: &str = "10.77.0.2";
pub(crate) const WEB6: &str = "fd77::2";
pub(crate) const GATEWAY4: &str = "10.77.0.1";
pub(crate) const GATEWAY6: &str = "fd77::1";
/// The host's own addresses.
pub(crate) const HOST4: &str = "10.1.0.2";
pub(crate) const HOST6: &str = "fd01::2";

/// Longer than any answer inside one machine.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// Long enough to see that there is none.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// When it is dropped, nothing of the plane is left.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) web: Host,
    pub(crate) client: Host,
    pub(crate) place: PathBuf,
    _lab: Lab,
}

/// A scene, or `None` and the reason printed, where there can be none.
pub(crate) fn scene(name: &str) -> Option<Scene> {
    if !can_run() {
        return None;
    }
    let lab = Lab::new(name).unwrap();
    let [host, web, client] = ["host", "web", "client"].map(|name| lab.host(name).unwrap());
    match host.run(probe).unwrap() {
        Ok(()) => {}
        // A kernel that knows all that is needed and does not like a program is a fault of ours.
        Err(refused @ Obstacle::Refused { .. }) => panic!("{refused}"),
        Err(obstacle) => {
            eprintln!("skipped: {obstacle}");
            return None;
        }
    }
    let (near4, far4) = (format!("{GATEWAY4}/24"), format!("{WEB4}/24"));
    let (near6, far6) = (format!("{GATEWAY6}/64"), format!("{WEB6}/64"));
    lab.link(&host, &[&near4, &near6], &web, &[&far4, &far6]).unwrap();
    lab.link(&host, &["10.1.0.2/24", "fd01::2/64"], &client, &["10.1.0.1/24", "fd01::1/64"])
        .unwrap();
    web.default_route_via(GATEWAY4).unwrap();
    web.default_route_via(GATEWAY6).unwrap();
    let place = lab.directory().join("ebpf");
    Some(Scene { host, web, client, place, _lab: lab })
}

/// Every address of the host but those of loopback.
pub(crate) fn addresses() -> Vec<IpAddr> {
    [GATEWAY4, GATEWAY6, HOST4, HOST6].map(|text| text.parse().unwrap()).into()
}

pub(crate) fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

pub(crate) fn id(text: &str) -> PublicationId {
    PublicationId(text.into())
}

/// Host port `port` on every address to `target` (`10.77.0.2:80`), for everyone.
pub(crate) fn connect(port: u16, target: &str) -> Connect {
    let target: SocketAddr = target.parse().unwrap();
    Connect {
        publication: id("web"),
        proto: Proto::Tcp,
        host: None,
        ports: PortRange::single(port),
        target: target.ip(),
        target_ports: PortRange::single(target.port()),
        from: Vec::new(),
        keeps_host: false,
    }
}

pub(crate) fn datagrams(port: u16, target: &str) -> Connect {
    Connect { proto: Proto::Udp, ..connect(port, target) }
}

pub(crate) fn steer(proto: Proto, host: &str, range: PortRange) -> Steer {
    Steer { publication: id("wide"), proto, host: host.parse().unwrap(), ports: range }
}

pub(crate) fn plan(connects: impl IntoIterator<Item = Connect>) -> EbpfPlan {
    EbpfPlan { connects: connects.into_iter().collect(), ..EbpfPlan::default() }
}

pub(crate) fn steered(steers: impl IntoIterator<Item = Steer>) -> EbpfPlan {
    EbpfPlan { steers: steers.into_iter().collect(), ..EbpfPlan::default() }
}

/// Who answered, and whose address it saw, as the servers below say it.
pub(crate) fn said(stream: TcpStream) -> String {
    let mut stream = stream;
    let mut text = String::new();
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Tells each client of `listener` `name` and the client's address, and hangs up.
pub(crate) fn serve(listener: TcpListener, name: &str) {
    let name = name.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let peer = stream.peer_addr().unwrap().ip().to_canonical();
            // A client may have gone; the next one is answered all the same.
            let _gone = write!(stream, "{name} {peer}");
        }
    });
}

/// Keeps each client of `listener` and answers whatever it says by the same.
pub(crate) fn echo(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

/// Answers each datagram with `name` and the sender's address.
pub(crate) fn answer(socket: UdpSocket, name: &str) {
    let name = name.to_owned();
    socket.set_read_timeout(None).unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut bytes) {
            let text = format!("{name} {}", from.ip().to_canonical());
            let _gone = socket.send_to(text.as_bytes(), from);
        }
    });
}

/// Sends to `to` from an unconnected socket and gives the answer and where it came from.
pub(crate) fn exchange(socket: &UdpSocket, to: &str) -> Option<(String, SocketAddr)> {
    let to: SocketAddr = to.parse().unwrap();
    socket.send_to(b"who?", to).unwrap();
    let mut bytes = [0; 2048];
    let (length, from) = socket.recv_from(&mut bytes).ok()?;
    Some((String::from_utf8_lossy(&bytes[..length]).into_owned(), from))
}

// === impl Scene ===

impl Scene {
    /// The plane of the host, with its addresses.
    pub(crate) fn plane(&self) -> EbpfPlane {
        let mut plane = self.plane_of(self.host.netns());
        plane.set_local_addresses(addresses()).unwrap();
        plane
    }

    pub(crate) fn plane_of(&self, netns: &Netns) -> EbpfPlane {
        netns.run(|| EbpfPlane::open(&self.place)).unwrap().unwrap()
    }

    /// A plane that leads to the container, with a server there that says `web` on port 80.
    pub(crate) fn leading(&self, wanted: &EbpfPlan) -> EbpfPlane {
        serve(self.web.tcp_listen("0.0.0.0:80").unwrap(), "web");
        serve(self.listen6(&self.web, 80), "web");
        let mut plane = self.plane();
        plane.apply(wanted).unwrap();
        plane
    }

    /// Listens on the wildcard address of IPv6 alone.
    pub(crate) fn listen6(&self, host: &Host, port: u16) -> TcpListener {
        let make = || {
            let kind = socket2::Type::STREAM;
            let socket = socket2::Socket::new(socket2::Domain::IPV6, kind, None).unwrap();
            socket.set_only_v6(true).unwrap();
            let at: SocketAddr = format!("[::]:{port}").parse().unwrap();
            socket.bind(&at.into()).unwrap();
            socket.listen(128).unwrap();
            TcpListener::from(socket)
        };
        host.run(make).unwrap()
    }

    /// What a client on the host is told at `address`, and what it takes for its peer.
    pub(crate) fn ask(&self, address: &str) -> (String, String) {
        let stream = self.host.tcp(address).unwrap();
        let peer = stream.peer_addr().unwrap().to_string();
        (said(stream), peer)
    }

    /// An unconnected UDP socket of the host that does not wait long.
    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let socket = self.host.udp_bind(address).unwrap();
        socket.set_read_timeout(Some(ANSWER)).unwrap();
        socket
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Err(errors) = wharf_ebpf::dismantle(&self.place) {
            eprintln!("not dismantled: {errors:?}");
        }
    }
}
