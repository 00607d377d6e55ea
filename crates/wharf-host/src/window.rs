//! How much a TCP peer may send ahead of what has been read.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has `socket` offer its peer at most `bytes` (`TCP_WINDOW_CLAMP`). The kernel forgets it when it
/// grows the socket's receive buffer, so it holds for a while only.
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[expect(unsafe_code, reason = "TCP_WINDOW_CLAMP has no safe wrapper among our crates")]
    fn clamped_to(socket: impl AsFd) -> libc::c_int {
        let (mut bytes, mut length) = (0, libc::socklen_t::try_from(size_of::<i32>()).unwrap());
        // SAFETY: both live across the call, and `length` is the size of `bytes`.
        // JUSTIFICATION: the test asks the kernel whether it has understood.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_WINDOW_CLAMP,
                (&raw mut bytes).cast(),
                &raw mut length,
            )
        };
        assert_eq!(result, 0);
        bytes
    }

    #[test]
    fn a_window_is_clamped_and_given_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        clamp(&far, 16 << 10).unwrap();
        assert_eq!(clamped_to(&far), 16 << 10);
        clamp(&far, 2 << 20).unwrap();
        assert_eq!(clamped_to(&far), 2 << 20);
    }

    #[test]
    fn datagrams_have_no_window() {
        assert!(clamp(UdpSocket::bind("127.0.0.1:0").unwrap(), 4096).is_err());
    }
}
