//! A connection for each question, many of them at the same time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::{Pace, Shared};
use crate::http;
use crate::teller::Told;

/// A first packet that is lost is sent again after one second, and after two more.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Connections under way; a limit on descriptors of 1,024 is common.
const FLIGHTS: usize = 800;

/// A connection that is not answered yet.
struct Flight {
    stream: TcpStream,
    began: Instant,
    asked: bool,
    answer: Vec<u8>,
}

/// How far a flight is.
enum Progress {
    Under,
    Answered(String),
    Failed(String),
}

/// Probes `to` from the calling thread's network namespace until the pace is over.
///
/// # Errors
/// When the kernel does not wait for sockets.
pub(super) fn probe(to: SocketAddr, mut pace: Pace, shared: &Shared) -> Result<()> {
    let question = format!("GET /api HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let mut flights: Vec<Flight> = Vec::new();
    loop {
        let over = pace.is_over(shared);
        if over && flights.is_empty() {
            return Ok(());
        }
        if !over && pace.is_due() {
            begin(to, &mut flights, shared);
        }
        wait(&flights, &pace)?;
        flights.retain_mut(|flight| match flight.step(question.as_bytes()) {
            Progress::Under => true,
            Progress::Answered(server) => {
                let mut seen = shared.seen();
                seen.slowest = seen.slowest.max(flight.began.elapsed());
                seen.answer(&server);
                false
            }
            Progress::Failed(reason) => {
                shared.seen().fail(reason);
                false
            }
        });
    }
}

fn begin(to: SocketAddr, flights: &mut Vec<Flight>, shared: &Shared) {
    shared.seen().attempts += 1;
    if flights.len() >= FLIGHTS {
        return shared.seen().fail(format!("{FLIGHTS} connections wait for their answers"));
    }
    match Flight::begin(to) {
        Ok(flight) => flights.push(flight),
        Err(error) => shared.seen().fail(format!("connect: {error}")),
    }
}

fn wait(flights: &[Flight], pace: &Pace) -> Result<()> {
    let mut all: Vec<PollFd<'_>> = flights
        .iter()
        .map(|it| {
            let wanted = if it.asked { PollFlags::IN } else { PollFlags::OUT };
            PollFd::from_borrowed_fd(it.stream.as_fd(), wanted)
        })
        .collect();
    match poll(&mut all, Some(&pace.pause())) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

// === impl Flight ===

impl Flight {
    fn begin(to: SocketAddr) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let began = Instant::now();
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { stream: TcpStream::from(socket), began, asked: false, answer: Vec::new() })
    }

    fn step(&mut self, question: &[u8]) -> Progress {
        match self.advance(question) {
            Ok(true) => self.judge(),
            Ok(false) if self.began.elapsed() < ANSWER_LIMIT => Progress::Under,
            Ok(false) if self.asked => Progress::Failed(format!("no answer in {ANSWER_LIMIT:?}")),
            Ok(false) => Progress::Failed(format!("no connection in {ANSWER_LIMIT:?}")),
            Err(error) => Progress::Failed(error.to_string()),
        }
    }

    /// Does what can be done without waiting; whether the answer is whole or the stream has ended.
    fn advance(&mut self, question: &[u8]) -> io::Result<bool> {
        if !self.asked {
            // `NotConnected`: the handshake is still under way.
            match self.stream.write_all(question) {
                Ok(()) => self.asked = true,
                Err(error) if is_later(&error) => return Ok(false),
                Err(error) => return Err(told("send", &error)),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    self.answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
                Err(error) if is_later(&error) => {
                    let whole = http::told_length(&self.answer);
                    return Ok(whole.is_some_and(|whole| self.answer.len() >= whole));
                }
                Err(error) => return Err(told("read", &error)),
            }
        }
    }

    fn judge(&self) -> Progress {
        let answer = match http::parse(&self.answer) {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return Progress::Failed(format!("status {}", answer.status)),
            Err(error) => return Progress::Failed(format!("{error:#}")),
        };
        let told = answer.json().ok().as_ref().and_then(Told::parse);
        told.map_or_else(
            || Progress::Failed(format!("not the words of a teller: {:?}", answer.text())),
            |told| Progress::Answered(told.hostname),
        )
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}

/// The same error, with what was tried.
fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
