//! The server: every service the columns need, in one process.

mod count;
mod held;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use wharf_host::datagram::enlarge_buffers;
use wharf_host::process::raise_descriptor_limit;

use self::count::Tally;
use super::cpu::{End, keep_apart};
use super::order::{LENGTH, Order};
use super::tcp::{BLOCK, MESSAGE, keep_steady};
use crate::bench::column::Service;

const BACKLOG: i32 = 4096;
/// As many as the client opens at a time.
const SHORT_WORKERS: usize = 8;
/// What a server that means to keep up sets; the kernel's default holds 150 datagrams.
const UDP_BUFFER: usize = 16 << 20;

/// Serves until standard input ends, which it does with whoever started this.
pub(crate) fn run(at: IpAddr) -> Result<()> {
    raise_descriptor_limit()?;
    streams(listen(at, Service::Stream)?);
    short(&listen(at, Service::Short)?)?;
    held::start(listen(at, Service::Held)?)?;
    let tally = Arc::new(Tally::default());
    count::sink(bind(at, Service::Sink)?, Arc::clone(&tally));
    count::answers(listen(at, Service::Count)?, tally);
    let echo = bind(at, Service::Echo)?;
    std::thread::spawn(move || return_datagrams(&echo));
    println!("ready");
    io::copy(&mut io::stdin(), &mut io::sink()).context("wait for the end of standard input")?;
    Ok(())
}

fn listen(at: IpAddr, service: Service) -> Result<TcpListener> {
    let address = SocketAddr::new(at, service.port());
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().with_context(|| format!("listen on {address}"))
}

fn bind(at: IpAddr, service: Service) -> Result<UdpSocket> {
    let address = SocketAddr::new(at, service.port());
    let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
    enlarge_buffers(&socket, UDP_BUFFER);
    Ok(socket)
}

fn streams(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is reported by the client.
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut order = [0; LENGTH];
    stream.read_exact(&mut order)?;
    let (order, steady) = Order::decode(order).ok_or(io::ErrorKind::InvalidData)?;
    if steady {
        keep_apart(End::Server).map_err(io::Error::other)?;
        keep_steady(&stream)?;
    }
    match order {
        Order::Receive => receive(stream),
        Order::Send { milliseconds } => send(stream, milliseconds),
        Order::Echo => echo(stream),
    }
}

fn receive(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut total: u64 = 0;
    loop {
        match stream.read(&mut block)? {
            0 => return stream.write_all(&total.to_be_bytes()),
            count => total += u64::try_from(count).unwrap_or_default(),
        }
    }
}

fn send(mut stream: TcpStream, milliseconds: u32) -> io::Result<()> {
    let block = vec![0x5a; BLOCK];
    let end = Instant::now() + Duration::from_millis(milliseconds.into());
    while Instant::now() < end {
        stream.write_all(&block)?;
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}

/// Workers accept for themselves: handing a connection to another thread would cost more than
/// serving it.
fn short(listener: &TcpListener) -> Result<()> {
    for _ in 0..SHORT_WORKERS {
        let listener = listener.try_clone().context("share a listener")?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                drop(answer(stream));
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    // Nobody may keep one of the few workers waiting.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut message = [0; MESSAGE];
    stream.read_exact(&mut message)?;
    stream.write_all(&message)
}

fn return_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        // A client that is gone comes back as an error.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        drop(socket.send_to(buffer.get(..length).unwrap_or_default(), from));
    }
}
