//! The number by which eBPF programs know a network namespace.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use crate::error::{Context, Result};
use crate::sockopt;

/// The cookie of the calling thread's network namespace: never zero, and never given to another
/// one while the machine runs.
///
/// # Errors
/// When the kernel is older than 5.14 (`ENOPROTOOPT`).
pub fn cookie() -> Result<u64> {
    let action = || "ask for the cookie of a network namespace (Linux 5.14)";
    // Any socket will do; one that sends to itself needs no interface.
    let socket = UdpSocket::bind("0.0.0.0:0").during(action)?;
    let mut cookie = [0; size_of::<u64>()];
    let option = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE);
    sockopt::get(socket.as_fd(), option, &mut cookie).during(action)?;
    Ok(u64::from_ne_bytes(cookie))
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
