use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::{opcode, types};
use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::datagram::Local;

/// An outbox with a ring, if this kernel has one for us.
fn outbox() -> Option<Outbox> {
    let outbox = Outbox::new();
    if !outbox.has_ring() {
        eprintln!("skipped: no io_uring here ({})", ring::ring().err().unwrap());
        return None;
    }
    Some(outbox)
}

fn post(outbox: &mut Outbox, message: &[u8], token: u64) -> bool {
    outbox.room()[..message.len()].copy_from_slice(message);
    outbox.post(message.len(), token)
}

#[test]
fn every_message_goes_to_its_socket() {
    let Some(mut outbox) = outbox() else { return };
    let pairs: Vec<_> = (0..MOST).map(|_| UnixStream::pair().unwrap()).collect();
    for round in 0u8..3 {
        for nth in 0..MOST {
            let message = vec![round ^ u8::try_from(nth).unwrap(); nth + 1];
            assert!(post(&mut outbox, &message, nth as u64));
        }
        assert!(!post(&mut outbox, b"one too many", 0));
        let mut told = Vec::new();
        let socket = |token: u64| Some(pairs[usize::try_from(token).unwrap()].0.as_fd());
        outbox.deliver(socket);
        outbox.settle(|delivered| {
            assert!(delivered.left.is_empty() && delivered.error.is_none() && delivered.tried);
            told.push(delivered.token);
        });
        assert!(told.into_iter().eq(0..MOST as u64) && outbox.is_empty());
        for (nth, (_, receiver)) in pairs.iter().enumerate() {
            let (mut receiver, mut message) = (receiver, vec![0; nth + 1]);
            receiver.read_exact(&mut message).unwrap();
            assert_eq!(message, vec![round ^ u8::try_from(nth).unwrap(); nth + 1]);
        }
    }
}

#[test]
fn what_does_not_fit_comes_back_and_nobody_waits() {
    let Some(mut outbox) = outbox() else { return };
    let (mut full, _does_not_read) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 4096]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    let (gone, other) = UnixStream::pair().unwrap();
    drop(other);
    let (good, mut receiver) = UnixStream::pair().unwrap();
    for token in 0..4 {
        assert!(post(&mut outbox, b"hello", token));
    }
    let mut told = Vec::new();
    let sockets = [Some(full.as_fd()), Some(gone.as_fd()), None, Some(good.as_fd())];
    outbox.deliver(|token| sockets[usize::try_from(token).unwrap()]);
    outbox.settle(|delivered| told.push((delivered.left.to_vec(), delivered.failed())));
    let hello = || b"hello".to_vec();
    assert_eq!(told, [(hello(), false), (hello(), true), (hello(), false), (vec![], false)]);
    let mut message = [0; 5];
    receiver.read_exact(&mut message).unwrap();
    assert_eq!(&message, b"hello");
}

#[test]
fn what_is_long_is_not_taken() {
    let Some(mut outbox) = outbox() else { return };
    assert!(!outbox.post(LONGEST + 1, 0));
    let taken = (0..MOST).filter(|_| outbox.post(LONGEST, 0)).count();
    assert_eq!(taken, ROOM / LONGEST);
    assert!(outbox.is_full());
    assert_eq!(outbox.room().len(), ROOM);
}

#[test]
fn datagrams_leave_from_where_they_shall_for_whom_they_are() {
    let Some(mut outbox) = outbox() else { return };
    let listening = UdpSocket::bind("0.0.0.0:0").unwrap();
    let clients = [1, 2, 3].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let asked = ["127.0.0.1", "127.0.0.7", "127.8.8.8"];
    for ((client, from), token) in clients.iter().zip(asked).zip(0..) {
        let local = Local { address: from.parse().unwrap(), interface: 0 };
        let path = Path { to: client.local_addr().unwrap(), from: Some(local), dual: false };
        let length = usize::try_from(token).unwrap();
        assert!(outbox.post_datagram(&b"hello"[..length], token, Some(path)));
        client.connect((from, listening.local_addr().unwrap().port())).unwrap();
    }
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect(listening.local_addr().unwrap()).unwrap();
    assert!(outbox.post_datagram(b"inwards", 3, None));
    outbox.deliver(|token| Some(if token == 3 { connected.as_fd() } else { listening.as_fd() }));
    let mut told = 0;
    outbox.settle(|delivered| {
        assert!(delivered.error.is_none() && delivered.left.is_empty());
        told += 1;
    });
    assert_eq!(told, 4);
    let mut room = [0; 9];
    for (client, length) in clients.iter().zip(0..) {
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(client.recv(&mut room).unwrap(), length);
    }
    listening.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (length, from) = listening.recv_from(&mut room).unwrap();
    assert_eq!((&room[..length], from), (b"inwards".as_slice(), connected.local_addr().unwrap()));
}

#[test]
fn a_datagram_that_fails_says_why_and_harms_no_other() {
    let Some(mut outbox) = outbox() else { return };
    let (gone, other) = ["127.0.0.1:0"; 2].map(|any| UdpSocket::bind(any).unwrap()).into();
    let refused = UdpSocket::bind("127.0.0.1:0").unwrap();
    refused.connect(gone.local_addr().unwrap()).unwrap();
    drop(gone);
    refused.send(b"into the void").unwrap();
    let mut waits = [PollFd::new(&refused, PollFlags::empty())];
    let limit = Duration::from_secs(5).try_into().unwrap();
    assert_eq!(poll(&mut waits, Some(&limit)).unwrap(), 1, "no answer by ICMP");
    let good = UdpSocket::bind("127.0.0.1:0").unwrap();
    good.connect(other.local_addr().unwrap()).unwrap();
    for token in 0..2 {
        assert!(outbox.post_datagram(b"hello", token, None));
    }
    outbox.deliver(|token| Some(if token == 0 { refused.as_fd() } else { good.as_fd() }));
    let mut told = Vec::new();
    outbox.settle(|it| told.push((it.bytes.to_vec(), it.error.map(|error| error.kind()))));
    let hello = || b"hello".to_vec();
    assert_eq!(told, [(hello(), Some(io::ErrorKind::ConnectionRefused)), (hello(), None)]);
}

#[test]
fn without_a_ring_nothing_is_taken() {
    let mut outbox = Outbox::without_ring();
    assert!(!post(&mut outbox, b"hello", 0));
    assert_eq!(outbox.bytes(5), b"hello");
    outbox.deliver(|_| None);
    outbox.settle(|_| panic!("nothing was posted"));
}

/// What the ring is asked for is seen by no seccomp filter, so it must not be able to do it.
#[test]
#[expect(unsafe_code, reason = "what is put into a ring must live until it is done")]
fn the_ring_opens_no_file_and_makes_no_socket() {
    let Some(outbox) = outbox() else { return };
    let mut ring = outbox.ring.unwrap();
    let opened = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), c"/etc/hostname".as_ptr()).build();
    let made = opcode::Socket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0).build();
    let file = File::open("/dev/null").unwrap();
    let written = opcode::Write::new(types::Fd(file.as_raw_fd()), b"x".as_ptr(), 1).build();
    for (what, entry) in [("open", opened), ("socket", made), ("write", written)] {
        // SAFETY: what the entries point to is static.
        // JUSTIFICATION: the test is about the kernel's answer.
        unsafe { ring.submission().push(&entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        assert_eq!(ring.completion().next().unwrap().result(), -libc::EACCES, "{what}");
    }
}
