//! Datagrams are counted by window, and the client asks for the count on the direct path.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wharf_host::datagram::enable_gro;

/// What has arrived of the newest window. Windows are numbered upwards, so that what a proxy has
/// kept back from an older one is told apart.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    window: AtomicU64,
    bytes: AtomicU64,
}

// === impl Tally ===

impl Tally {
    fn add(&self, window: u64, bytes: u64) {
        let newest = self.window.load(Ordering::Acquire);
        if window > newest {
            self.bytes.store(bytes, Ordering::Release);
            self.window.store(window, Ordering::Release);
        } else if window == newest {
            self.bytes.fetch_add(bytes, Ordering::AcqRel);
        }
    }

    fn of(&self, window: u64) -> u64 {
        let same = self.window.load(Ordering::Acquire) == window;
        if same { self.bytes.load(Ordering::Acquire) } else { 0 }
    }
}

/// Counts what arrives, in bundles as QUIC stacks receive it (`UDP_GRO`).
pub(crate) fn sink(socket: UdpSocket, tally: Arc<Tally>) {
    enable_gro(&socket);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            let Some(window) = buffer.first_chunk() else { continue };
            tally.add(u64::from_be_bytes(*window), u64::try_from(length).unwrap_or_default());
        }
    });
}

/// Answers the number of a window with the bytes that arrived of it.
pub(crate) fn answers(listener: TcpListener, tally: Arc<Tally>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tally = Arc::clone(&tally);
            std::thread::spawn(move || drop(answer(stream, &tally)));
        }
    });
}

fn answer(mut stream: TcpStream, tally: &Tally) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut window = [0; 8];
    loop {
        stream.read_exact(&mut window)?;
        stream.write_all(&tally.of(u64::from_be_bytes(window)).to_be_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stragglers_of_an_older_window_do_not_count() {
        let tally = Tally::default();
        tally.add(5, 100);
        tally.add(7, 10);
        tally.add(5, 100);
        tally.add(7, 10);
        assert_eq!((tally.of(7), tally.of(5)), (20, 0));
    }
}
