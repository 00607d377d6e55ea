//! How much a TCP peer may send ahead of what has been read.

use std::io;
use std::os::fd::AsFd;

use crate::sockopt;

const CLAMP: (libc::c_int, libc::c_int) = (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP);

/// Has `socket` offer its peer at most `bytes` (`TCP_WINDOW_CLAMP`). The kernel forgets it whenever it
/// grows the socket's receive buffer or finds that packets need less room than it thought.
///
/// Before Linux 6.7 (58d3aade20cd; stable kernels have got it since) a socket whose window is 0 at
/// that moment keeps it at 0 for good: such kernels may only be asked while nothing waits to be read.
///
/// # Errors
/// When `socket` is no TCP socket.
pub fn clamp(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    sockopt::set(socket.as_fd(), CLAMP, &bytes.to_ne_bytes())
}

/// What `socket` may offer its peer at most, in bytes, at this moment.
///
/// # Errors
/// When `socket` is no TCP socket.
pub fn of(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes = [0; size_of::<libc::c_int>()];
    sockopt::get(socket.as_fd(), CLAMP, &mut bytes)?;
    Ok(usize::try_from(libc::c_int::from_ne_bytes(bytes)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn a_window_is_clamped_lower_and_higher() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        clamp(&far, 16 << 10).unwrap();
        assert_eq!(of(&far).unwrap(), 16 << 10);
        clamp(&far, 2 << 20).unwrap();
        assert_eq!(of(&far).unwrap(), 2 << 20);
    }

    #[test]
    fn datagrams_have_no_window() {
        assert!(of(UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
        assert!(clamp(UdpSocket::bind("127.0.0.1:0").unwrap(), 4096).is_err());
    }
}
