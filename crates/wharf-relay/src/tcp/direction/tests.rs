use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use wharf_host::outbox::Outbox;
use wharf_host::window;

use super::*;
use crate::tcp::pipes::Pipes;

/// Writes until nothing more fits; answers how much went.
fn fill(mut stream: &UnixStream, from: usize) -> usize {
    let word = |at: usize| u8::try_from((at * 31 + at / 251) % 256).unwrap();
    let mut sent = 0;
    loop {
        let block: Vec<u8> = (from + sent..from + sent + 4096).map(word).collect();
        match stream.write(&block) {
            Ok(written) => sent += written,
            Err(_) => return sent,
        }
    }
}

#[test]
fn a_receiver_that_does_not_read_keeps_no_pipe_and_loses_no_byte() {
    let budget = |limit| Arc::new(Budget::new(limit));
    let (waiting, descriptors) = (budget(8 << 20), budget(8));
    let mut copier = Copier::new(
        Pipes::new(budget(1), descriptors),
        Arc::clone(&waiting),
        Outbox::without_ring(),
        true,
    );
    let (sender, from) = UnixStream::pair().unwrap();
    let (to, mut receiver) = UnixStream::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    to.set_nonblocking(true).unwrap();
    from.set_nonblocking(true).unwrap();
    let mut direction = Direction { streams: true, ..Direction::default() };
    let count = Count::default();
    let mut sent = 0;
    while !matches!(direction.rest, Rest::Pipe(_)) {
        sent += fill(&sender, sent);
        direction.readable = true;
        direction.run(from.as_fd(), to.as_fd(), &mut copier, &count).unwrap();
    }
    assert!(copier.pipes.take().is_none());
    direction.give_pipe_back(&mut copier).unwrap();
    assert!(copier.pipes.take().is_none(), "it was filled just now");
    direction.give_pipe_back(&mut copier).unwrap();
    assert!(!direction.streams && waiting.used() > 0);
    let pipe = copier.pipes.take().unwrap();
    assert_eq!(pipe.length, 0);
    copier.pipes.put(pipe);

    drop(sender);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        receiver.read_to_end(&mut all).unwrap();
        all
    });
    direction.readable = true;
    while direction.run(from.as_fd(), to.as_fd(), &mut copier, &count).unwrap() != Progress::Over {
        std::thread::sleep(std::time::Duration::from_millis(1));
        direction.readable = true;
    }
    to.shutdown(std::net::Shutdown::Write).unwrap();
    let all = reader.join().unwrap();
    assert_eq!(all.len(), sent);
    assert!(all.iter().zip(0..).all(|(byte, at)| usize::from(*byte) == (at * 31 + at / 251) % 256));
    assert_eq!(waiting.used(), 0);
}

#[test]
fn in_a_crowd_little_is_read_for_anyone() {
    let budget = |limit| Arc::new(Budget::new(limit));
    let (waiting, descriptors) = (budget(BUFFER), budget(8));
    // Pipes have a limit of their own.
    let mut copier = Copier::new(
        Pipes::new(budget(0), descriptors),
        Arc::clone(&waiting),
        Outbox::without_ring(),
        true,
    );
    let _others = waiting.take(BUFFER).unwrap();
    let (sender, from) = UnixStream::pair().unwrap();
    let (to, _does_not_read) = UnixStream::pair().unwrap();
    for stream in [&sender, &from, &to] {
        stream.set_nonblocking(true).unwrap();
    }
    let mut direction = Direction { readable: true, ..Direction::default() };
    let mut sent = 0;
    while matches!(direction.rest, Rest::Nothing) {
        sent += fill(&sender, sent);
        direction.readable = true;
        direction.run(from.as_fd(), to.as_fd(), &mut copier, &Count::default()).unwrap();
    }
    assert!(direction.rest.length() <= LITTLE, "{} bytes wait", direction.rest.length());
}

#[test]
fn a_stream_from_next_door_never_keeps_a_large_window() {
    let budget = |limit| Arc::new(Budget::new(limit));
    let (waiting, pipes) = (budget(BUFFER), Pipes::new(budget(1), budget(8)));
    let mut copier = Copier::new(pipes, waiting, Outbox::without_ring(), true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (from, _) = listener.accept().unwrap();
    if !near::is_next_door(from.as_fd()) {
        return eprintln!("skipped: this machine is too busy for loopback to be next door");
    }
    let (to, mut receiver) = UnixStream::pair().unwrap();
    to.set_nonblocking(true).unwrap();
    let sending = std::thread::spawn(move || {
        (0..96).for_each(|_| sender.write_all(&[7; 1 << 20]).unwrap());
    });
    let reading = std::thread::spawn(move || std::io::copy(&mut receiver, &mut std::io::sink()));
    let (mut direction, count) = (Direction::default(), Count::default());
    let (mut raised, mut lowered) = (0, 0);
    loop {
        direction.readable = true;
        let large = window::of(&from).unwrap() > near::WINDOW;
        if direction.run(from.as_fd(), to.as_fd(), &mut copier, &count).unwrap() == Progress::Over {
            break;
        }
        lowered += u32::from(large && window::of(&from).unwrap() <= near::WINDOW);
        if count.get() >> 25 > raised {
            raised += 1;
            window::clamp(&from, 16 << 20).unwrap();
        }
    }
    drop(to);
    sending.join().unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), 96 << 20);
    assert!(raised >= 2 && lowered >= 2, "raised {raised} times, lowered {lowered} times");
}
