//! The number by which eBPF programs know a network namespace.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::error::{Context, Result};

/// The cookie of the calling thread's network namespace: never zero, and never given to another
/// one while the machine runs.
///
/// # Errors
/// When the kernel is older than 5.14 (`ENOPROTOOPT`).
#[expect(unsafe_code, reason = "SO_NETNS_COOKIE has no safe wrapper among our crates")]
pub fn cookie() -> Result<u64> {
    let action = || "ask for the cookie of a network namespace (Linux 5.14)";
    // Any socket will do; one that sends to itself needs no interface.
    let socket = UdpSocket::bind("0.0.0.0:0").during(action)?;
    let mut cookie = 0u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(0);
    // SAFETY: `cookie` and `length` live across the call, and `length` is the size of `cookie`.
    // JUSTIFICATION: the option has no safe wrapper among our crates.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()).during(action) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn each_namespace_has_a_cookie_of_its_own() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let (here, other) = (cookie().unwrap(), Netns::create().unwrap());
        let there = other.run(cookie).unwrap().unwrap();
        assert_ne!(here, there);
        assert_eq!(there, other.run(cookie).unwrap().unwrap());
    }
}
