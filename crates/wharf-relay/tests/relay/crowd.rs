//! Many conversations at once, whose ends move from processor to processor.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use wharf_host::outbox::Outbox;
use wharf_host::reserve::Transport;
use wharf_relay::Limits;

use super::bench::{PATIENCE, connect, happens, tcp_target, with_relay};

const CONVERSATIONS: usize = 32;
/// Bytes of a message; the first two name the processor where the target is.
const MESSAGE: usize = 64;
/// Messages before the ends of a conversation move on.
const STAY: u64 = 200;
/// So many moves of connections have to be survived.
const MOVES: u64 = 100;
/// And so many messages, where there is io_uring, that another loop sends.
const HANDED_ON: u64 = 1000;
/// Messages a second from which loops are crowded for sure: two events each, in two loops that carry
/// 32 legs at most, are a thousand turns a second for each loop even if every turn finds them all. A
/// machine that is slower than that, as one whose every instruction is computed, has loops that go
/// where there is room, and nothing moves.
const CROWDED: u64 = 32_000;

fn be_at(processors: &[usize]) {
    let mut own = CpuSet::new();
    processors.iter().for_each(|nth| own.set(*nth));
    sched_setaffinity(None, &own).unwrap();
}

/// Answers as an echo, from the processor that each message names.
fn from_where_asked(mut stream: TcpStream) {
    let (mut message, mut place) = ([0; MESSAGE], None);
    while stream.read_exact(&mut message).is_ok() {
        let named = usize::from(u16::from_ne_bytes([message[0], message[1]]));
        if place.replace(named) != Some(named) {
            be_at(&[named]);
        }
        if stream.write_all(&message).is_err() {
            return;
        }
    }
}

/// Says something else each time and checks the answer, until told to stop; how often.
fn converse(nth: usize, processors: [usize; 2], to: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut stream = connect(to);
    let (begun, mut said) = (Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) && begun.elapsed() < 2 * PATIENCE {
        let place =
            processors[usize::from((said / STAY).is_multiple_of(2) == nth.is_multiple_of(2))];
        if said.is_multiple_of(STAY) {
            be_at(&[place]);
        }
        // In every fourth conversation the target stays where it is.
        let target = if nth.is_multiple_of(4) { processors[0] } else { place };
        let mut message = [0; MESSAGE];
        message[..2].copy_from_slice(&u16::try_from(target).unwrap().to_ne_bytes());
        message[8..16].copy_from_slice(&said.to_ne_bytes());
        stream.write_all(&message).unwrap();
        let mut heard = [0; MESSAGE];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, message);
        said += 1;
    }
    said
}

#[test]
fn conversations_follow_their_ends_from_loop_to_loop_and_lose_nothing() {
    let allowed = sched_getaffinity(None).unwrap();
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|nth| allowed.is_set(*nth));
    let Some(processors) = allowed.next().zip(allowed.next()).map(<[usize; 2]>::from) else {
        return println!("skipped: there is one processor");
    };
    // Loops stay where there is one for each processor that they may run on.
    be_at(&processors);
    let handed_on = if Outbox::new().has_ring() { HANDED_ON } else { 0 };
    with_relay(Limits { loops: Some(2), ..Limits::default() }, |bench| {
        let target = tcp_target("127.0.0.1:0", from_where_asked);
        bench.publish_8080(Transport::Tcp, target);
        let stop = AtomicBool::new(false);
        let port = SocketAddr::from(([127, 0, 0, 1], 8080));
        let began = Instant::now();
        let (followed, said): (bool, u64) = std::thread::scope(|scope| {
            let stop = &stop;
            let talk = |nth| scope.spawn(move || converse(nth, processors, port, stop));
            let clients: Vec<_> = (0..CONVERSATIONS).map(talk).collect();
            let followed = happens(|| {
                let stats = bench.client.stats().unwrap();
                stats.connections_moved >= MOVES && stats.messages_handed_on >= handed_on
            });
            stop.store(true, Ordering::Relaxed);
            (followed, clients.into_iter().map(|client| client.join().unwrap()).sum())
        });
        if !followed {
            let stats = bench.client.stats().unwrap();
            assert!(said < CROWDED * began.elapsed().as_secs(), "{said} messages: {stats:?}");
            println!("skipped: this machine is too slow for crowds, which alone move connections");
        }
        let bytes = said * MESSAGE as u64;
        bench.until(|stats| stats.connections_open == 0);
        let stats = bench.listed().stats;
        assert_eq!((stats.bytes_in, stats.bytes_out), (bytes, bytes));
        assert_eq!((stats.connections_total, stats.errors), (CONVERSATIONS as u64, 0));
    });
}
