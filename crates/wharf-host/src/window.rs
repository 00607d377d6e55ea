//! How much a TCP peer may send ahead of what has been read.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has `socket` offer its peer at most `bytes` (`TCP_WINDOW_CLAMP`). The kernel forgets it whenever it
/// grows the socket's receive buffer or finds that packets need less room than it thought.
///
/// Before Linux 6.7 (58d3aade20cd; stable kernels have got it since) a socket whose window is 0 at
/// that moment keeps it at 0 for good: such kernels may only be asked while nothing waits to be read.
///
/// # Errors
/// When `socket` is no TCP socket.
#[expect(unsafe_code, reason = "TCP_WINDOW_CLAMP has no safe wrapper among our crates")]
pub fn clamp(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: `bytes` lives across the call, and `size` is its size.
    // JUSTIFICATION: the option has no safe wrapper among our crates.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_WINDOW_CLAMP,
            (&raw const bytes).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What `socket` may offer its peer at most, in bytes, at this moment.
///
/// # Errors
/// When `socket` is no TCP socket.
#[expect(unsafe_code, reason = "TCP_WINDOW_CLAMP has no safe wrapper among our crates")]
pub fn of(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    let mut size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: both live across the call, and `size` is the size of `bytes`.
    // JUSTIFICATION: the option has no safe wrapper among our crates.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_WINDOW_CLAMP,
            (&raw mut bytes).cast(),
            &raw mut size,
        )
    };
    if result == 0 {
        Ok(usize::try_from(bytes).unwrap_or(0))
    } else {
        Err(io::Error::last_os_error())
    }
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
