//! A host with two bridges, containers and a client, each a network namespace.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, id};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use wharf_host::netns::Netns;

/// Long enough for anything that works here, short enough to wait out what is dropped.
const ANSWER: Duration = Duration::from_millis(700);

pub(crate) struct Lab {
    pub(crate) host: Netns,
    pub(crate) client: Netns,
    /// On `br1`: 10.1.0.2, fd00:1::2.
    pub(crate) web: Netns,
    /// On `br1`: 10.1.0.3, fd00:1::3.
    pub(crate) neighbour: Netns,
    /// On `br2`: 10.2.0.2, fd00:2::2.
    pub(crate) stranger: Netns,
}

/// Whether tests that make namespaces can run; says so if not.
pub(crate) fn available() -> bool {
    let root = is_root();
    let works = root && Netns::create().is_ok();
    if !works {
        eprintln!("SKIPPED: this test makes network namespaces and must run as root");
    }
    works
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:\t0\t0"))
}

/// Runs a command inside a namespace and gives its output.
pub(crate) fn sh(netns: &Netns, script: &str) -> String {
    let run = || Command::new("sh").args(["-ec", script]).output().unwrap();
    let output = netns.run(run).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

// === impl Lab ===

impl Lab {
    pub(crate) fn build() -> Self {
        let [host, client, web, neighbour, stranger] =
            std::array::from_fn(|_| Netns::create().unwrap());
        sh(&host, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        for (bridge, v4, v6) in
            [("br1", "10.1.0.1/24", "fd00:1::1/64"), ("br2", "10.2.0.1/24", "fd00:2::1/64")]
        {
            sh(&host, &format!("ip link add {bridge} type bridge"));
            up(&host, bridge, &[v4, v6]);
        }
        plug(&host, "up0", &client, "");
        up(&host, "up0", &["192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64", "2001:db8::2/64"]);
        up(&client, "eth0", &["192.0.2.10/24", "2001:db8::10/64"]);
        route(&client, "192.0.2.1", "2001:db8::1");
        let places = [
            (&web, "web", "br1", 1, 2),
            (&neighbour, "neigh", "br1", 1, 3),
            (&stranger, "str", "br2", 2, 2),
        ];
        for (netns, name, bridge, net, number) in places {
            // Hairpin: where br_netfilter is active, a rewritten packet back to its sender is
            // bridged, and a bridge sends nothing out of the port it came in by without it.
            let port = format!(
                "ip link set {name} master {bridge} up; ip link set {name} type bridge_slave hairpin on"
            );
            plug(&host, name, netns, &port);
            let addresses = [format!("10.{net}.0.{number}/24"), format!("fd00:{net}::{number}/64")];
            up(netns, "eth0", &addresses.each_ref().map(String::as_str));
            route(netns, &format!("10.{net}.0.1"), &format!("fd00:{net}::1"));
        }
        let lab = Self { host, client, web, neighbour, stranger };
        lab.settle();
        lab
    }

    /// Waits until everyone can be reached. A bridge sends nothing to a port before it has noticed
    /// that its link is up, and a first packet that is lost is sent again after a second only.
    fn settle(&self) {
        for (netns, addresses) in [
            (&self.client, ["192.0.2.1", "2001:db8::1"]),
            (&self.web, ["10.1.0.1", "fd00:1::1"]),
            (&self.neighbour, ["10.1.0.1", "fd00:1::1"]),
            (&self.stranger, ["10.2.0.1", "fd00:2::1"]),
        ] {
            for address in addresses {
                let answered = (0..10).any(|_| ping(netns, address));
                assert!(answered, "{address} cannot be reached");
            }
        }
    }
}

/// A veth pair: `name` in `host`, `eth0` in `inside`.
fn plug(host: &Netns, name: &str, inside: &Netns, then: &str) {
    let fd = inside.as_fd().as_raw_fd();
    let path = format!("/proc/{}/fd/{fd}", id());
    sh(host, &format!("ip link add {name} type veth peer name eth0 netns {path}\n{then}"));
}

fn up(netns: &Netns, link: &str, addresses: &[&str]) {
    let mut script = format!("sysctl -qw net.ipv6.conf.{link}.accept_dad=0\n");
    for address in addresses {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        script += &format!("ip addr add {address} dev {link} {nodad}\n");
    }
    sh(netns, &format!("{script}ip link set {link} up"));
}

fn route(netns: &Netns, v4: &str, v6: &str) {
    sh(netns, &format!("ip route add default via {v4}\nip -6 route add default via {v6} dev eth0"));
}

/// Answers on TCP and UDP with who asked and which port was reached: `"192.0.2.10 at 80"`.
pub(crate) fn serve(netns: &Netns, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let bind = || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap());
    let (tcp, udp) = netns.run(bind).unwrap();
    let says = move |peer: IpAddr| format!("{peer} at {}", address.port());
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            // The asker may be gone by now.
            let _written = stream.write_all(says(peer).as_bytes());
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 64];
        loop {
            let (_, peer) = udp.recv_from(&mut buffer).unwrap();
            let _sent = udp.send_to(says(peer.ip()).as_bytes(), peer);
        }
    });
}

/// Asks over TCP; `None` if nobody answers.
pub(crate) fn tcp(netns: &Netns, to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    let connected = netns.run(|| TcpStream::connect_timeout(&to, ANSWER)).unwrap();
    let mut stream = connected.inspect_err(|error| eprintln!("tcp {to}: {error}")).ok()?;
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Asks over UDP; `None` if nobody answers.
pub(crate) fn udp(netns: &Netns, to: &str) -> Option<String> {
    ask(&udp_socket(netns, to))
}

/// A UDP socket towards `to`, to ask more than once from the same port.
pub(crate) fn udp_socket(netns: &Netns, to: &str) -> UdpSocket {
    let to: SocketAddr = to.parse().unwrap();
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = netns.run(|| UdpSocket::bind(any)).unwrap().unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(ANSWER)).unwrap();
    socket
}

/// Sends one datagram and waits for the answer.
pub(crate) fn ask(socket: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 64];
    socket.send(b"who am I?").ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Sends an echo request and tells whether the reply came.
pub(crate) fn ping(netns: &Netns, to: &str) -> bool {
    let address: IpAddr = to.parse().unwrap();
    let (domain, protocol, request) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128),
    };
    sh(netns, "sysctl -qw net.ipv4.ping_group_range='0 0'");
    let open = || Socket::new(domain, Type::DGRAM, Some(protocol)).unwrap();
    let socket = netns.run(open).unwrap();
    socket.set_read_timeout(Some(ANSWER)).unwrap();
    socket.connect(&SocketAddr::new(address, 0).into()).unwrap();
    socket.send(&[request, 0, 0, 0, 0, 0, 0, 1]).is_ok()
        && socket.recv(&mut [MaybeUninit::uninit(); 64]).is_ok()
}
