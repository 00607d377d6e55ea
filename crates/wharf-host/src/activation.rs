//! Sockets that systemd opened for us (`sd_listen_fds(3)`).

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// The first descriptor systemd passes (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The listening unix socket systemd passed to this process, if it did.
///
/// To be called once: the socket belongs to whoever asked first.
#[expect(unsafe_code, reason = "a descriptor given by number has to be taken over")]
pub fn unix_listener() -> Option<UnixListener> {
    let var = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if var("LISTEN_PID")? != std::process::id() || var("LISTEN_FDS")? == 0 {
        return None;
    }
    // SAFETY: LISTEN_PID names this very process, so descriptor 3 was opened for it and nothing else
    // here has taken it over.
    // JUSTIFICATION: the protocol hands descriptors over by number only.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    let _marked = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC);
    Some(socket.into())
}
