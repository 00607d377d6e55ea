//! Descriptors that whoever started this process opened for it.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first descriptor systemd passes (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The descriptors [`inherited`] was asked for, one bit each.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// The listening unix socket systemd passed to this process, if it did (`sd_listen_fds(3)`).
///
/// To be called once: the socket belongs to whoever asked first.
pub fn unix_listener() -> Option<UnixListener> {
    let var = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if var("LISTEN_PID")? != std::process::id() || var("LISTEN_FDS")? == 0 {
        return None;
    }
    inherited(FIRST).map(UnixListener::from)
}

/// Descriptor `number`, 3 to 63, if this process was started with it; close-on-exec from now on.
/// It belongs to whoever asks first.
///
/// To be called before this process opens anything itself, which would take the number.
#[expect(unsafe_code, reason = "a descriptor given by number has to be taken over")]
pub fn inherited(number: i32) -> Option<OwnedFd> {
    let bit = u32::try_from(number).ok().and_then(|shift| 1u64.checked_shl(shift))?;
    if number < FIRST || ASKED.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return None;
    }
    // SAFETY: the number is not -1, and the borrow ends before anything else here can close it.
    // JUSTIFICATION: whether a number is an open descriptor can only be asked by number.
    let open = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) });
    open.ok()?;
    // SAFETY: it is open, and the bit above makes this the only owner; by the contract of this
    // function nothing else in this process had opened anything yet.
    // JUSTIFICATION: the protocols that use this hand descriptors over by number only.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    let _marked = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
    Some(descriptor)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn a_descriptor_is_taken_over_once() {
        let null = File::open("/dev/null").unwrap();
        let number = rustix::io::fcntl_dupfd_cloexec(&null, 50).unwrap().into_raw_fd();
        let owned = inherited(number).unwrap();
        assert!(rustix::io::fcntl_getfd(&owned).is_ok());
        assert!(inherited(number).is_none());
    }

    #[test]
    fn standard_streams_and_numbers_that_are_none_are_left_alone() {
        for number in [-1, 0, 1, 2, 62, 64, i32::MAX] {
            assert!(inherited(number).is_none(), "{number}");
        }
    }
}
