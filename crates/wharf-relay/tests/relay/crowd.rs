//! Many conversations at once, each between two ends on one processor.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use wharf_host::reserve::Transport;
use wharf_relay::Limits;

use super::bench::{PATIENCE, connect, eventually, tcp_target, with_relay};

const CONVERSATIONS: usize = 32;
/// Bytes of a message; the first says where its conversation is at home.
const MESSAGE: usize = 64;

/// Answers as an echo, from the processor that each message names first.
fn at_home(mut stream: TcpStream) {
    let mut message = [0; MESSAGE];
    let mut home = None;
    while stream.read_exact(&mut message).is_ok() {
        let named = message.first().copied();
        if home != named {
            stay(usize::from(named.unwrap_or(0)));
            home = named;
        }
        if stream.write_all(&message).is_err() {
            return;
        }
    }
}

/// Has the calling thread stay on the `nth` of the processors that it may use.
fn stay(nth: usize) {
    let allowed = sched_getaffinity(None).unwrap();
    let chosen = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).nth(nth).unwrap();
    let mut own = CpuSet::new();
    own.set(chosen);
    sched_setaffinity(None, &own).unwrap();
}

/// Says something else each time and checks the answer, until told to stop; how often.
fn converse(home: u8, to: SocketAddr, stop: &AtomicBool) -> u64 {
    stay(home.into());
    let mut stream = connect(to);
    let (begun, mut said) = (Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) && begun.elapsed() < 2 * PATIENCE {
        let mut message = [home; MESSAGE];
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
fn conversations_go_over_to_the_loop_of_their_ends_and_lose_nothing() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < 2 {
        return println!("skipped: there is one processor");
    }
    let limits = Limits { loops: Some(processors), ..Limits::default() };
    with_relay(limits, |bench| {
        let target = tcp_target("127.0.0.1:0", at_home);
        bench.publish_8080(Transport::Tcp, target);
        let stop = AtomicBool::new(false);
        let port = SocketAddr::from(([127, 0, 0, 1], 8080));
        let said: u64 = std::thread::scope(|scope| {
            let talk = |n: usize| {
                let home = u8::from(n >= CONVERSATIONS / 2);
                let stop = &stop;
                scope.spawn(move || converse(home, port, stop))
            };
            let clients: Vec<_> = (0..CONVERSATIONS).map(talk).collect();
            eventually(|| bench.client.stats().unwrap().connections_moved > 3);
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        let bytes = said * MESSAGE as u64;
        bench.until(|stats| stats.connections_open == 0);
        let stats = bench.listed().stats;
        assert_eq!((stats.bytes_in, stats.bytes_out), (bytes, bytes));
        assert_eq!((stats.connections_total, stats.errors), (CONVERSATIONS as u64, 0));
    });
}
