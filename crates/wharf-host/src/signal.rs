//! Signals of every number, real-time ones among them: rustix and nix take those for the C
//! library's own, and neither sends nor receives them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// The first real-time signal that the C library leaves to programs, as in Docker.
pub const REAL_TIME_MIN: i32 = 34;
/// The last one.
pub const REAL_TIME_MAX: i32 = 64;
/// Those before the C library's own two have names.
const NAMED_MAX: i32 = 31;

/// A signal that programs send to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

// === impl Signal ===

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// SIGTERM.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// SIGCHLD.
    pub const CHILD: Self = Self(libc::SIGCHLD);
    /// SIGTTIN.
    pub const TTIN: Self = Self(libc::SIGTTIN);
    /// SIGTTOU.
    pub const TTOU: Self = Self(libc::SIGTTOU);
    /// SIGTSTP.
    pub const TSTP: Self = Self(libc::SIGTSTP);

    /// The signal with this number, if programs may use it.
    pub fn of_number(number: i32) -> Option<Self> {
        let is_one =
            (1..=NAMED_MAX).contains(&number) || (REAL_TIME_MIN..=REAL_TIME_MAX).contains(&number);
        is_one.then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl From<rustix::process::Signal> for Signal {
    fn from(signal: rustix::process::Signal) -> Self {
        Self(signal.as_raw())
    }
}

/// Sends `signal` to the process of `pidfd`.
///
/// # Errors
/// `ESRCH` when it has ended.
#[expect(unsafe_code, reason = "no safe call sends real-time signals")]
pub fn send(pidfd: impl AsFd, signal: Signal) -> io::Result<()> {
    let (pidfd, none) = (pidfd.as_fd().as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open during the call, and the kernel makes the missing siginfo
    // itself.
    // JUSTIFICATION: rustix has no real-time signals.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal.0, none, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `signal` to our child `pid`, which has not been waited for.
///
/// # Errors
/// When it may not be sent.
#[expect(unsafe_code, reason = "no safe call sends real-time signals")]
pub fn send_to_child(pid: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: kill(2) takes two numbers.
    // JUSTIFICATION: nix and rustix have no real-time signals.
    let sent = unsafe { libc::kill(pid, signal.0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits for any signal and takes it; all must be blocked.
///
/// # Errors
/// When it is one that programs may not use.
#[expect(unsafe_code, reason = "no safe call receives real-time signals")]
pub fn wait_for_any() -> io::Result<Signal> {
    let (mut all, mut number) = (MaybeUninit::<libc::sigset_t>::uninit(), 0);
    // SAFETY: sigfillset initialises the set before sigwait reads it, and both are ours.
    // JUSTIFICATION: nix fails with a real-time signal, and does not tell which.
    let failure = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigwait(all.as_ptr(), &raw mut number)
    };
    match failure {
        0 => Signal::of_number(number).ok_or_else(|| io::ErrorKind::Unsupported.into()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn numbers_that_are_signals() {
        for number in [1, 9, 31, 34, 64] {
            assert_eq!(Signal::of_number(number).unwrap().number(), number);
        }
        for number in [i32::MIN, -1, 0, 32, 33, 65, i32::MAX] {
            assert_eq!(Signal::of_number(number), None, "{number}");
        }
    }

    #[test]
    fn a_real_time_signal_arrives() {
        for by_number in [false, true] {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            let signal = Signal::of_number(REAL_TIME_MIN + 3).unwrap();
            if by_number {
                send_to_child(child.id().try_into().unwrap(), signal).unwrap();
            } else {
                let pid = Pid::from_child(&child);
                send(pidfd_open(pid, PidfdFlags::empty()).unwrap(), signal).unwrap();
            }
            assert_eq!(child.wait().unwrap().signal(), Some(37));
        }
    }
}
