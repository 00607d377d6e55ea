//! What comes at once goes on at once, and each datagram as it was.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wharf_host::datagram::{
    BUFFER, Path, Segmentation, Train, enable_gro, enlarge_buffers, flow_socket, receive,
    receive_connected, send_train,
};
use wharf_host::reserve::Transport;
use wharf_relay::Limits;

use super::super::bench::*;

const ASKED: &str = "127.0.0.1:8080";

fn wait(socket: impl AsFd) {
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "nothing came");
}

/// A server that sends everything back as it comes: trains as trains.
fn train_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(enable_gro(&socket));
    enlarge_buffers(&socket, 4 << 20);
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; BUFFER];
        loop {
            wait(&socket);
            while let Ok(got) = receive(&socket, &mut buffer) {
                let path = Path { to: got.from, from: got.to, dual: false };
                let train = Train::new(&buffer[..got.length], got.segment);
                send_train(&socket, train, Some(&path), &mut Segmentation::default());
            }
        }
    });
    address
}

/// The `number`th datagram of a conversation.
fn numbered(number: u32, length: usize) -> Vec<u8> {
    let mut datagram = number.to_be_bytes().repeat(length / 4 + 1);
    datagram.truncate(length.max(4));
    datagram
}

#[test]
fn a_burst_keeps_its_order_and_its_boundaries() {
    with_relay(Limits::default(), |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let client = udp_client("127.0.0.1:0");
        enlarge_buffers(&client, 4 << 20);
        let lengths = [900, 900, 900, 4, 900, 1200, 1200, 13, 13, 9000];
        let sent: Vec<Vec<u8>> = (0..200)
            .zip(lengths.into_iter().cycle())
            .map(|(number, length)| numbered(number, length))
            .collect();
        // Fewer at a time than a plain program's socket holds.
        for burst in sent.chunks(40) {
            for datagram in burst {
                client.send_to(datagram, ASKED).unwrap();
            }
            let mut buffer = vec![0; BUFFER];
            for datagram in burst {
                let length = client.recv(&mut buffer).unwrap();
                assert!(&buffer[..length] == datagram, "{length} bytes for {}", datagram.len());
            }
        }
        bench.until(|stats| stats.datagrams_out == 200);
        let stats = bench.listed().stats;
        let bytes: usize = sent.iter().map(Vec::len).sum();
        let bytes = u64::try_from(bytes).unwrap();
        assert_eq!((stats.bytes_in, stats.bytes_out), (bytes, bytes));
        assert_eq!((stats.datagrams_in, stats.datagrams_dropped), (200, 0));
    });
}

#[test]
fn trains_go_as_trains_there_and_back() {
    with_relay(Limits::default(), |bench| {
        bench.publish_8080(Transport::Udp, train_echo());
        let client = flow_socket(ASKED.parse().unwrap(), None).unwrap();
        let sent: Vec<u8> = (0..12).flat_map(|number| numbered(number, 1400)).collect();
        let mut buffer = vec![0; BUFFER];
        for length in [12 * 1400, 11 * 1400 + 1, 1400] {
            let train = Train::new(&sent[..length], Some(1400));
            let gone = send_train(&client, train, None, &mut Segmentation::default());
            assert_eq!(gone.bytes, length);
            let mut back = Vec::new();
            while back.len() < length {
                wait(&client);
                let got = receive_connected(&client, &mut buffer).unwrap();
                assert!(got.length == length || got.segment == Some(1400) || got.length <= 1400);
                back.extend_from_slice(&buffer[..got.length]);
            }
            assert!(back == sent[..length]);
        }
        bench.until(|stats| stats.datagrams_out == 25);
        let stats = bench.listed().stats;
        assert_eq!((stats.datagrams_in, stats.bytes_in), (25, 33_601));
        assert_eq!((stats.datagrams_dropped, stats.flows_total), (0, 1));
    });
}

#[test]
fn conversations_in_one_burst_stay_apart() {
    with_relay(Limits { loops: Some(1), ..Limits::default() }, |bench| {
        bench.publish_8080(Transport::Udp, udp_echo("127.0.0.1:0"));
        let clients: Vec<UdpSocket> = (0..8).map(|_| udp_client("127.0.0.1:0")).collect();
        for round in 0..5 {
            for (number, client) in (round * 8..).zip(&clients) {
                for _ in 0..3 {
                    client.send_to(&numbered(number, 500), ASKED).unwrap();
                }
            }
            for (number, client) in (round * 8..).zip(&clients) {
                let mut buffer = [0; 1000];
                for _ in 0..3 {
                    let length = client.recv(&mut buffer).unwrap();
                    assert!(buffer[..length] == numbered(number, 500)[..]);
                }
            }
        }
        assert_eq!(bench.listed().stats.flows_total, 8);
    });
}
