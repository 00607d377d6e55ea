//! Connecting by io_uring, as programs of others do. For tests; the program itself has no use for
//! it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::{IoUring, opcode, types};
use socket2::SockAddr;

use crate::error::{Context, Error, Result};

/// Connects `socket` to `to` and waits for it.
///
/// # Errors
/// When there is no connection, or no io_uring (`ENOSYS`, `EPERM`).
#[expect(unsafe_code, reason = "what is put into a ring must live until it is done")]
pub fn connect(socket: impl AsFd, to: SocketAddr) -> Result<()> {
    let action = || format!("connect to {to} by io_uring");
    let mut ring = IoUring::new(2).during(action)?;
    let address = SockAddr::from(to);
    let fd = types::Fd(socket.as_fd().as_raw_fd());
    let entry = opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build();
    // SAFETY: the address and the descriptor outlive the wait below, which ends with the request.
    // JUSTIFICATION: there is no safe way to put a request into a ring.
    unsafe { ring.submission().push(&entry) }
        .map_err(|_| Error::answer(action(), "the ring is full"))?;
    ring.submit_and_wait(1).during(action)?;
    let done = ring.completion().next();
    let result = done.ok_or_else(|| Error::answer(action(), "the ring is empty"))?.result();
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result)).during(action);
    }
    Ok(())
}
