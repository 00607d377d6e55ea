//! How far away the other end of a connection is.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::sockopt;

/// Where `tcpi_min_rtt` is in the kernel's `struct tcp_info` (Linux 4.6; the structure only ever
/// grows at its end). The libc crate knows an older, shorter one.
const MIN_RTT: usize = 148;
const LENGTH: usize = MIN_RTT + 4;

/// The shortest round trip of a TCP connection lately, as the kernel has measured it.
///
/// # Errors
/// When `socket` is no TCP socket, nothing was measured yet, or the kernel is older than 4.6.
pub fn shortest(socket: impl AsFd) -> io::Result<Duration> {
    let mut info = [0u8; LENGTH];
    let known = sockopt::get(socket.as_fd(), (libc::IPPROTO_TCP, libc::TCP_INFO), &mut info)?;
    let bytes = info.get(MIN_RTT..known).and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    match u32::from_ne_bytes(bytes) {
        // What it begins with; a connection made from a SYN cookie may stay there for a while.
        u32::MAX => Err(io::ErrorKind::WouldBlock.into()),
        microseconds => Ok(Duration::from_micros(microseconds.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn loopback_is_near() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        for _ in 0..10 {
            near.write_all(b"!").unwrap();
            far.read_exact(&mut [0]).unwrap();
            far.write_all(b"!").unwrap();
            near.read_exact(&mut [0]).unwrap();
        }
        let shortest = shortest(&near).unwrap();
        assert!(shortest > Duration::ZERO && shortest < Duration::from_secs(1), "{shortest:?}");
    }

    #[test]
    fn datagrams_have_no_round_trip() {
        assert!(shortest(UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }
}
