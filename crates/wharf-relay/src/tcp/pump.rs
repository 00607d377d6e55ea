//! Bytes both ways between two connections, with half-closes kept.
//!
//! An idle connection has no buffer: one per thread is used while bytes are at hand, and only
//! what the other side cannot take at once is kept.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::stats::Count;

/// Large enough that copying is not bound by system calls, small enough for a level 2 cache.
const SCRATCH: usize = 64 << 10;
/// Rounds through the buffer before other connections of the thread get their turn.
const ROUNDS: usize = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// What one turn of copying ended with.
enum Turn {
    /// Nothing more to read now, or time for others.
    Pause,
    /// The receiver could not take this.
    Blocked(Vec<u8>),
    /// The sender is done.
    End,
}

/// Carries bytes until both sides are done; an error of either side ends both, also one of a side
/// that is not being read from any more.
pub(super) async fn both_ways(
    client: &TcpStream,
    target: &TcpStream,
    bytes_in: &Count,
    bytes_out: &Count,
) -> io::Result<()> {
    let inwards = one_way(client, target, bytes_in);
    let outwards = one_way(target, client, bytes_out);
    tokio::select! {
        biased;
        done = async { tokio::try_join!(inwards, outwards) } => done.map(|_| ()),
        error = failure(client) => Err(error),
        error = failure(target) => Err(error),
    }
}

/// Carries bytes until `from` is done, then tells `to` so.
async fn one_way(from: &TcpStream, to: &TcpStream, count: &Count) -> io::Result<()> {
    loop {
        from.readable().await?;
        match turn(from, to, count)? {
            Turn::Pause => {}
            Turn::Blocked(rest) => write_all(to, &rest).await?,
            Turn::End => break,
        }
    }
    SockRef::from(to).shutdown(Shutdown::Write)
}

fn turn(from: &TcpStream, to: &TcpStream, count: &Count) -> io::Result<Turn> {
    BUFFER.with_borrow_mut(|buffer| {
        for _ in 0..ROUNDS {
            let read = match from.try_read(buffer) {
                Ok(0) => return Ok(Turn::End),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Pause),
                Err(e) => return Err(e),
            };
            count.add(read);
            let bytes = buffer.get(..read).unwrap_or_default();
            let written = match to.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                other => other?,
            };
            if written < read {
                return Ok(Turn::Blocked(bytes.get(written..).unwrap_or_default().to_vec()));
            }
        }
        Ok(Turn::Pause)
    })
}

/// Writes all of `bytes`, waiting as often as needed.
pub(super) async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Resolves when the connection is reset or has failed otherwise, though nobody reads from it.
pub(super) async fn failure(stream: &TcpStream) -> io::Error {
    let waited = stream.ready(Interest::ERROR).await;
    let pending = waited.and_then(|_| stream.take_error());
    pending.ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}
