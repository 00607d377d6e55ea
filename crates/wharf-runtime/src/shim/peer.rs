//! One connection to a shim: requests in, replies out, never waiting for the other side.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::error::{Context, Result};
use crate::shim::wire::{LINE_LIMIT, Reply, Request};

/// A connected client.
#[derive(Debug)]
pub(super) struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
    open: bool,
}

// === impl Peer ===

impl Peer {
    pub(super) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true).during(|| "prepare a connection")?;
        Ok(Self { stream, input: Vec::new(), open: true })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// The connection, for frames from now on.
    pub(super) fn take_stream(&mut self) -> Option<UnixStream> {
        self.open = false;
        self.stream.try_clone().ok()
    }

    /// The requests that have arrived whole. A line that is none ends the connection.
    pub(super) fn requests(&mut self) -> Vec<Request> {
        self.fill();
        let mut requests = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push(request),
                Err(_) => self.open = false,
            }
        }
        if self.input.len() > LINE_LIMIT {
            self.open = false;
        }
        requests
    }

    fn fill(&mut self) {
        let mut buffer = [0; LINE_LIMIT];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.open = false,
            Ok(count) => self.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.open = false,
        }
    }

    /// Answers; a client that does not take its answers is dropped.
    pub(super) fn send(&mut self, reply: &Reply) {
        let mut line = serde_json::to_vec(reply).unwrap_or_default();
        line.push(b'\n');
        if self.stream.write_all(&line).is_err() {
            self.open = false;
        }
    }
}
