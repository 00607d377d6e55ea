//! The client's side of TCP loads: a thread for each connection, all of them begin together.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::SockRef;

use super::order::{LENGTH, Order};
use super::window::{Meter, Window};

/// Enough that the call costs nothing beside the copy.
pub(crate) const BLOCK: usize = 256 << 10;
/// The length of a small message.
pub(crate) const MESSAGE: usize = 64;
/// What a steady stream's sender may have under way: about what the kernel's tuning begins with. With
/// what it ends with, which is chance, the pace changes threefold.
const UNDER_WAY: usize = 256 << 10;
/// A proxy that is silent for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends over `streams` connections; the time is taken until the server has said what it received.
pub(crate) fn upload(
    to: SocketAddr,
    streams: usize,
    lasting: Duration,
    steady: bool,
) -> Result<Window> {
    let order = Order::Receive.encode(steady);
    let (bytes, window) = together(to, streams, order, |stream| {
        if steady {
            keep_steady(stream)?;
        }
        send(stream, lasting)
    })?;
    Window::of_bytes(bytes.iter().sum(), window.took).with_cpu(&window.meter)
}

/// Receives over `streams` connections until the server closes them.
pub(crate) fn download(
    to: SocketAddr,
    streams: usize,
    lasting: Duration,
    steady: bool,
) -> Result<Window> {
    let milliseconds = u32::try_from(lasting.as_millis()).context("a window so long")?;
    let order = Order::Send { milliseconds }.encode(steady);
    let (bytes, window) = together(to, streams, order, receive)?;
    Window::of_bytes(bytes.iter().sum(), window.took).with_cpu(&window.meter)
}

/// Sends 64 bytes back and forth over `connections` connections.
pub(crate) fn exchange(to: SocketAddr, connections: usize, lasting: Duration) -> Result<Window> {
    let order = Order::Echo.encode(false);
    let (times, window) = together(to, connections, order, |stream| echoes(stream, lasting))?;
    Window::of_times(times.concat(), window.took).with_cpu(&window.meter)
}

/// Opens connections, `workers` at a time, for one exchange each.
pub(crate) fn connect(to: SocketAddr, workers: usize, lasting: Duration) -> Result<Window> {
    let meter = Meter::start()?;
    let begun = Instant::now();
    let times: Result<Vec<_>> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..workers).map(|_| scope.spawn(move || visits(to, begun + lasting))).collect();
        workers.into_iter().map(|worker| joined(worker.join())).collect()
    });
    Window::of_times(times?.concat(), begun.elapsed()).with_cpu(&meter)
}

struct Span {
    took: Duration,
    meter: Meter,
}

/// Runs `work` on a connection each, and measures from the moment all of them are ready.
fn together<T: Send>(
    to: SocketAddr,
    count: usize,
    order: [u8; LENGTH],
    work: impl Fn(&mut TcpStream) -> io::Result<T> + Sync,
) -> Result<(Vec<T>, Span)> {
    let streams: io::Result<Vec<_>> = (0..count).map(|_| opened(to)).collect();
    let streams = streams.with_context(|| format!("connect to {to}"))?;
    let start = Barrier::new(count + 1);
    let body = |mut stream: TcpStream| {
        start.wait();
        stream.write_all(&order)?;
        work(&mut stream)
    };
    let body = &body;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(move || body(stream))).collect();
        let meter = Meter::start()?;
        let begun = Instant::now();
        start.wait();
        let done: Result<Vec<T>> =
            threads.into_iter().map(|thread| joined(thread.join())).collect();
        Ok((done?, Span { took: begun.elapsed(), meter }))
    })
}

fn joined<T>(outcome: std::thread::Result<io::Result<T>>) -> Result<T> {
    match outcome {
        Ok(outcome) => outcome.context("a connection broke"),
        Err(_panic) => bail!("a thread of the client panicked"),
    }
}

/// A connection whose every wait is limited.
pub(crate) fn opened(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Limits what the sending end of a stream has under way.
pub(crate) fn keep_steady(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_send_buffer_size(UNDER_WAY)
}

fn send(stream: &mut TcpStream, lasting: Duration) -> io::Result<u64> {
    let block = vec![0x5a; BLOCK];
    let end = Instant::now() + lasting;
    while Instant::now() < end {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count))
}

fn receive(stream: &mut TcpStream) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(total),
            count => total += u64::try_from(count).unwrap_or_default(),
        }
    }
}

fn echoes(stream: &mut TcpStream, lasting: Duration) -> io::Result<Vec<Duration>> {
    let mut message = [0x5a; MESSAGE];
    let mut times = Vec::with_capacity(1 << 16);
    let mut now = Instant::now();
    let end = now + lasting;
    while now < end {
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let after = Instant::now();
        times.push(after - now);
        now = after;
    }
    Ok(times)
}

fn visits(to: SocketAddr, end: Instant) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(1 << 14);
    let mut now = Instant::now();
    while now < end {
        visit(to)?;
        let after = Instant::now();
        times.push(after - now);
        now = after;
    }
    Ok(times)
}

/// One connection; the server closes first, so that the client's ports are free at once.
pub(crate) fn visit(to: SocketAddr) -> io::Result<()> {
    let mut stream = opened(to)?;
    let mut message = [0x5a; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message)?;
    match stream.read(&mut message)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}
