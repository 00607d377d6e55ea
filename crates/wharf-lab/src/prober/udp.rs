//! One flow of datagrams without a pause.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Pace, Shared};
use crate::teller::Told;

/// Longer than what a teller or `wharf/whoami` says.
const ANSWER: usize = 2_048;

/// Sends to `to` from one socket of the calling thread's network namespace until the pace is over.
///
/// # Errors
/// When there is no socket or no way to `to`.
pub(super) fn probe(to: SocketAddr, mut pace: Pace, shared: &Shared) -> Result<()> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).context("bind a udp socket")?;
    // What comes from anywhere else is not an answer.
    socket.connect(to).with_context(|| format!("udp to {to}"))?;
    socket.set_nonblocking(true).context("receive without waiting")?;
    while !pace.is_over(shared) {
        if pace.is_due() {
            shared.seen().attempts += 1;
            // An error here is the answer to a datagram of before (a closed port, say).
            if let Err(error) = socket.send(b"who is there?") {
                shared.seen().fail(format!("send: {error}"));
            }
        }
        let mut events = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        match poll(&mut events, Some(&pace.pause())) {
            Ok(_) | Err(Errno::INTR) => take(&socket, shared),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn take(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; ANSWER];
    loop {
        let error = match socket.recv(&mut buffer) {
            Ok(length) => {
                let told = serde_json::from_slice(buffer.get(..length).unwrap_or_default()).ok();
                match told.as_ref().and_then(Told::parse) {
                    Some(told) => shared.seen().answer(&told.hostname),
                    None => shared.seen().fail("not the words of a teller".into()),
                }
                continue;
            }
            Err(error) => error,
        };
        if error.kind() != ErrorKind::WouldBlock {
            shared.seen().fail(format!("receive: {error}"));
        }
        return;
    }
}
