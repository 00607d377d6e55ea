//! One error type for everything that asks the kernel for something.

use std::io;

/// What the kernel refused, and what was being asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or netlink request failed.
    #[error("{action}: {source}")]
    Kernel {
        /// What was being done, in lower case, with the names and numbers involved.
        action: String,
        /// The errno the kernel gave.
        #[source]
        source: io::Error,
    },
    /// The kernel answered with something this version does not understand.
    #[error("{action}: unexpected answer from the kernel: {detail}")]
    Answer {
        /// What was being done.
        action: String,
        /// What was wrong with the answer.
        detail: String,
    },
    /// The kernel did not answer in time.
    #[error("{action}: no answer from the kernel within {seconds} s")]
    Timeout {
        /// What was being done.
        action: String,
        /// The limit that passed.
        seconds: u64,
    },
}

/// The result of asking the kernel for something.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Error ===

impl Error {
    /// Wraps an errno with what was being done.
    pub fn kernel(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Kernel { action: action.into(), source: source.into() }
    }

    /// Reports an answer that cannot be understood.
    pub fn answer(action: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Answer { action: action.into(), detail: detail.into() }
    }

    /// The errno behind this error, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL)
        )
    }

    /// Whether the thing to be made exists already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// Adds what was being done to an `io::Result` or `rustix::io::Result`.
pub trait Context<T> {
    /// Names the action that failed; `action` is evaluated on failure only.
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::kernel(action(), e))
    }
}
