//! Socket options that no crate of ours has a safe wrapper for, as bytes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, socklen_t};

/// Reads option `name` of `level` into `room`; answers how many bytes the kernel has filled.
#[expect(unsafe_code, reason = "getsockopt has no safe form for every option")]
pub(crate) fn get(
    socket: BorrowedFd<'_>,
    (level, name): (c_int, c_int),
    room: &mut [u8],
) -> io::Result<usize> {
    let mut length = socklen_t::try_from(room.len()).map_err(io::Error::other)?;
    let fd = socket.as_raw_fd();
    // SAFETY: `room` and `length` live across the call, and the kernel writes at most `length` bytes,
    // which is the size of `room`; any bytes are valid there.
    // JUSTIFICATION: there is no safe wrapper for these options.
    let result =
        unsafe { libc::getsockopt(fd, level, name, room.as_mut_ptr().cast(), &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(length).map_err(io::Error::other)
}

/// Sets option `name` of `level` to `bytes`.
#[expect(unsafe_code, reason = "setsockopt has no safe form for every option")]
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    (level, name): (c_int, c_int),
    bytes: &[u8],
) -> io::Result<()> {
    let length = socklen_t::try_from(bytes.len()).map_err(io::Error::other)?;
    let fd = socket.as_raw_fd();
    // SAFETY: `bytes` lives across the call, and the kernel reads at most `length` bytes, its size.
    // JUSTIFICATION: there is no safe wrapper for these options.
    let result = unsafe { libc::setsockopt(fd, level, name, bytes.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
