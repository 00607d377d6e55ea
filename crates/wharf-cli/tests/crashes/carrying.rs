//! Ten gigabytes through a hundred connections, while everything around them changes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wharf_host::netns::Netns;

use super::site::Site;

const CONNECTIONS: usize = 100;
/// Each way, for each connection: ten gigabytes in all.
const SHARE: usize = 50_000_000;
/// Longer than any step of copying can take; a hang must not hold the suite up.
const LIMIT: Duration = Duration::from_secs(60);
/// Not a divisor of anything a proxy works with, so that bytes out of place are seen.
const BLOCK: usize = 1_000_003;

/// Bytes that no other connection has.
fn block(seed: usize) -> Vec<u8> {
    let mut state = u64::try_from(seed).unwrap() * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..BLOCK).map(|_| next().to_le_bytes()[3]).collect()
}

/// What comes at `offset` of a stream of blocks, at most `most` bytes.
fn at(block: &[u8], offset: usize, most: usize) -> &[u8] {
    let place = offset % BLOCK;
    &block[place..(place + most).min(BLOCK)]
}

fn send(mut stream: &TcpStream, block: &[u8]) {
    let mut sent = 0;
    while sent < SHARE {
        let piece = at(block, sent, SHARE - sent);
        stream.write_all(piece).unwrap();
        sent += piece.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn check(mut stream: &TcpStream, block: &[u8], seen: &AtomicUsize) {
    let mut buffer = vec![0; 256 << 10];
    let mut got = 0;
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        let mut checked = 0;
        while checked < read {
            let wanted = at(block, got, read - checked);
            assert!(buffer[checked..checked + wanted.len()] == *wanted, "wrong bytes at {got}");
            checked += wanted.len();
            got += wanted.len();
        }
        seen.fetch_add(read, Ordering::Relaxed);
    }
    assert_eq!(got, SHARE);
}

fn echo(stream: TcpStream) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    let mut buffer = vec![0; 256 << 10];
    while let Ok(read @ 1..) = (&stream).read(&mut buffer) {
        if (&stream).write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

/// Serves `CONNECTIONS` connections in the network of the container `name`.
fn serve(site: &Site, name: &str, port: u16) -> std::thread::JoinHandle<()> {
    let inside = Netns::of_process(u32::try_from(site.pid(name)).unwrap()).unwrap();
    let listener = inside.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let served: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let stream = listener.accept().unwrap().0;
                std::thread::spawn(|| echo(stream))
            })
            .collect();
        served.into_iter().for_each(|thread| thread.join().unwrap());
    })
}

/// Ports come and go, and the daemon is killed twice, as long as bytes flow.
fn disturb(site: &Site, seen: &AtomicUsize) {
    let all = CONNECTIONS * SHARE;
    let mut kills = 0;
    for round in 0u16.. {
        let share = seen.load(Ordering::Relaxed) * 10 / all;
        if share >= 9 && kills == 2 {
            return;
        }
        site.run("passing", 9000 + round % 100);
        if (kills == 0 && share >= 2) || (kills == 1 && share >= 5) {
            assert_eq!(site.wharf.kill9("daemon").unwrap(), 1);
            kills += 1;
        }
        site.wharf.ok(["rm", "-f", "passing"]);
    }
}

#[test]
fn every_byte_of_ten_gigabytes_arrives_while_ports_change_and_the_daemon_is_killed_twice() {
    let Some(site) = Site::new("ten gigabytes") else { return };
    let untouched = site.untouched();
    site.wharf.ok(["run", "-d", "-p", "7000:7000,via=relay", "--name", "echo", "wharf/whoami"]);
    let server = serve(&site, "echo", 7000);
    let relays = site.wharf.pids_of("relay");
    let seen = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let stream = site.remote.tcp("10.1.0.2:7000").unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.set_write_timeout(Some(LIMIT)).unwrap();
            let seen = &seen;
            scope.spawn(move || {
                let block = block(number);
                std::thread::scope(|scope| {
                    scope.spawn(|| send(&stream, &block));
                    check(&stream, &block, seen);
                });
            });
        }
        disturb(&site, &seen);
    });
    server.join().unwrap();
    assert_eq!(site.wharf.pids_of("relay"), relays, "the relay has lived through it");
    let ports = site.wharf.json(["ports"]);
    for counter in ["bytes_in", "bytes_out"] {
        assert_eq!(ports[0][counter], CONNECTIONS * SHARE, "{ports:#}");
    }
    site.wharf.ok(["rm", "-f", "echo"]);
    site.wharf.ok(["shutdown"]);
    site.left_nothing(&untouched);
}
