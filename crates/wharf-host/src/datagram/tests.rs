use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::*;
use crate::link::{Change, Links, Veth};
use crate::netns::Netns;
use crate::reserve::{Reservation, Transport, reserve};
use crate::route::{MAIN_TABLE, Route, RouteKind};

mod coalesce;
mod foreign;
mod trains;

/// The client's and the host's address for each family; the host has `.3` and `::3`, too.
const CLIENT: [&str; 2] = ["10.9.0.1", "fd00:9::1"];
const HOST: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const SECOND: [&str; 2] = ["10.9.0.3", "fd00:9::3"];
/// The sizes at which things change: nothing, the MTU, the most that there is.
const SIZES: [usize; 7] = [0, 1, 1399, 1400, 1401, 9000, 65_507];

/// Two namespaces joined by a veth pair.
struct Pair {
    client: Netns,
    host: Netns,
}

// === impl Pair ===

impl Pair {
    fn new(mtu: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root for a network namespace");
            return None;
        }
        let (client, host) = (Netns::create().unwrap(), Netns::create().unwrap());
        let mut links = Links::open_in(&client).unwrap();
        let (name, peer_name, peer_netns) = ("c", "h", &host);
        let (peer_mac, mtu, master) = (None, Some(mtu), None);
        links.add_veth(Veth { name, peer_name, peer_netns, peer_mac, mtu, master }).unwrap();
        let mut host_links = Links::open_in(&host).unwrap();
        set_up(&mut links, "c", &CLIENT);
        set_up(&mut host_links, "h", &[HOST, SECOND].concat());
        assert!(links.settle("c").unwrap() && host_links.settle("h").unwrap());
        Some(Self { client, host })
    }

    /// A dual-stack listener of the host, as the relay has it.
    fn listener(&self, port: u16) -> Reservation {
        let wildcards = ["0.0.0.0", "::"].map(|address| address.parse().unwrap());
        let held = || reserve(Transport::Udp, &wildcards, (port, port)).unwrap();
        let held = self.host.run(held).unwrap();
        assert!(enable_gro(&held.sockets[0].socket));
        enlarge_buffers(&held.sockets[0].socket, 4 << 20);
        held.open().unwrap();
        held
    }

    fn flow(&self, target: SocketAddr) -> OwnedFd {
        self.client.run(|| flow_socket(target, None).unwrap()).unwrap()
    }
}

fn set_up(links: &mut Links, name: &str, addresses: &[&str]) {
    let link = links.index(name).unwrap();
    links.set_up(name).unwrap();
    for address in addresses {
        let length = if address.contains(':') { 64 } else { 24 };
        links.add_address(link, format!("{address}/{length}").parse().unwrap()).unwrap();
    }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
}

/// Whether something can be read within two seconds.
fn readable(socket: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 2, tv_nsec: 0 })).unwrap() > 0
}

/// Receives at an unconnected socket, with a wait.
fn arrival(socket: impl AsFd, buffer: &mut [u8]) -> Arrival {
    assert!(readable(&socket), "nothing arrived");
    receive(&socket, buffer).unwrap()
}

/// Receives at a connected socket, with a wait.
fn answer(socket: impl AsFd, buffer: &mut [u8]) -> Received {
    assert!(readable(&socket), "nothing arrived");
    receive_connected(&socket, buffer).unwrap()
}

#[test]
fn every_size_goes_there_and_back_by_the_address_that_was_asked() {
    let Some(pair) = Pair::new(1500) else { return };
    let held = pair.listener(8053);
    let listener = &held.sockets[0].socket;
    let mut buffer = vec![0; BUFFER];
    for asked in [HOST, SECOND].concat() {
        let flow = pair.flow(at(asked, 8053));
        let most_v6 = asked.contains(':').then_some(65_527);
        for size in SIZES.into_iter().chain(most_v6) {
            let sent = pattern(size);
            assert_eq!(send_connected(&flow, &sent, None).unwrap(), size);
            let got = arrival(listener, &mut buffer);
            assert_eq!((got.length, got.truncated, got.segment), (size, false, None));
            assert!(buffer[..size] == sent[..], "{asked}: {size} bytes differ");
            assert_eq!(got.to.unwrap().address.to_string(), asked);
            assert_eq!(got.from.is_ipv6(), asked.contains(':'));
            let path = Path { to: got.from, from: got.to, dual: true };
            send(listener, &sent, &path, None).unwrap();
            // A connected socket takes nothing that comes from another address.
            let got = answer(&flow, &mut buffer);
            assert_eq!((got.length, got.truncated, got.segment), (size, false, None));
            assert!(buffer[..size] == sent[..], "{asked}: {size} bytes differ on the way back");
        }
    }
    let error = receive(listener, &mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_listener_of_one_family_works_as_well() {
    let Some(pair) = Pair::new(1500) else { return };
    let mut buffer = vec![0; BUFFER];
    for family in [0, 1] {
        let any = if family == 0 { "0.0.0.0" } else { "::" };
        let any: IpAddr = any.parse().unwrap();
        let held = pair.host.run(|| reserve(Transport::Udp, &[any], (80, 80)).unwrap()).unwrap();
        held.open().unwrap();
        let listener = &held.sockets[0].socket;
        assert!(enable_gro(listener));
        let flow = pair.flow(at(SECOND[family], 80));
        let sent = pattern(5 * 1200 + 1);
        let train = Train::new(&sent, Some(1200));
        assert_eq!(send_train(&flow, train, None, &mut Segmentation::default()).datagrams, 6);
        let got = arrival(listener, &mut buffer);
        assert_eq!((got.length, got.segment), (6001, Some(1200)));
        let path = Path { to: got.from, from: got.to, dual: false };
        let train = Train::new(&buffer[..got.length], got.segment);
        let back = send_train(listener, train, Some(&path), &mut Segmentation::default());
        assert_eq!((back.datagrams, back.bytes), (6, 6001));
        let got = answer(&flow, &mut buffer);
        assert_eq!((got.length, got.segment), (6001, Some(1200)));
        assert!(buffer[..6001] == sent[..]);
    }
}

#[test]
fn a_small_buffer_is_noticed() {
    let Some(pair) = Pair::new(1500) else { return };
    let held = pair.listener(80);
    let flow = pair.flow(at(HOST[0], 80));
    send_connected(&flow, b"12345", None).unwrap();
    let got = arrival(&held.sockets[0].socket, &mut [0; 4]);
    assert_eq!((got.length, got.truncated), (4, true));
}
