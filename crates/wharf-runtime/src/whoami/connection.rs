//! One client: requests in, answers out, until one side has had enough.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::whoami::pages::{self, Body, Page};
use crate::whoami::plain;
use crate::whoami::request::{Bad, Request};

const BLOCK: usize = 64 << 10;

/// A connected client.
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    peer: SocketAddr,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        Self { reader: BufReader::new(stream), peer: plain(peer) }
    }

    /// Serves until the client is done, or asks for something that ends the connection.
    pub(super) fn serve(mut self) -> io::Result<()> {
        loop {
            match self.one() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Bad::Io(error)) => return Err(error),
                Err(Bad::Status(status)) => {
                    return self.send(&Page::text(status, format!("{status}\n")), false, false);
                }
            }
        }
    }

    fn one(&mut self) -> Result<bool, Bad> {
        let Some(request) = Request::read(&mut self.reader)? else { return Ok(false) };
        if request.wants_continue() {
            self.reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = request.body(&mut self.reader)?;
        let page = pages::answer(&request, body, self.peer);
        let keep = request.keeps_alive();
        self.send(&page, request.method == "HEAD", keep)?;
        Ok(keep)
    }

    fn send(&mut self, page: &Page, head_only: bool, keep: bool) -> io::Result<()> {
        let stream = self.reader.get_mut();
        let connection = if keep { "keep-alive" } else { "close" };
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            page.status,
            page.kind,
            page.body.length(),
        )
        .into_bytes();
        match &page.body {
            _ if head_only => stream.write_all(&head),
            Body::Bytes(bytes) => {
                // One segment for a small answer.
                head.extend_from_slice(bytes);
                stream.write_all(&head)
            }
            Body::Filler(length) => {
                stream.write_all(&head)?;
                fill(stream, *length)
            }
        }
    }
}

/// `length` bytes of the alphabet, over and over.
fn fill(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let block: Vec<u8> = (b'a'..=b'z').cycle().take(BLOCK).collect();
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        stream.write_all(block.get(..count).unwrap_or_default())?;
        left -= u64::try_from(count).unwrap_or_default();
    }
    Ok(())
}
