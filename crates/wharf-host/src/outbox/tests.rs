use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

/// An outbox with a ring, if this kernel has one for us.
fn outbox() -> Option<Outbox> {
    let outbox = Outbox::new();
    if !outbox.has_ring() {
        eprintln!("skipped: no io_uring here ({})", ring().err().unwrap());
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
            assert!(delivered.left.is_empty() && !delivered.failed);
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
    outbox.settle(|delivered| told.push((delivered.left.to_vec(), delivered.failed)));
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
