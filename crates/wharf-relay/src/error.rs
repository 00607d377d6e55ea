//! One error type for both sides of the control socket.

use std::io;
use std::path::PathBuf;

use crate::protocol::Refusal;

/// What went wrong with the relay, or in talking to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error(transparent)]
    Host(#[from] wharf_host::Error),
    /// A file or socket of the relay could not be used.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The relay understood a request and refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The two sides do not understand each other.
    #[error("relay protocol: {0}")]
    Protocol(String),
    /// The relay ended, or was ending when asked.
    #[error("the relay closed the connection")]
    Closed,
    /// The relay is there and does not answer.
    #[error(
        "the relay gave no answer within {seconds} s; if it hangs, end its process: it is replaced"
    )]
    Silent {
        /// The limit that passed.
        seconds: u64,
    },
    /// The running relay speaks another version of the protocol.
    #[error("the running relay (pid {pid}) speaks protocol {theirs}, not {ours}; restart it")]
    Version {
        /// The relay's process.
        pid: u32,
        /// Its version.
        theirs: u32,
        /// The version of this program.
        ours: u32,
    },
    /// Another relay serves this run directory.
    #[error("another relay serves {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// There is no relay to be replaced.
    #[error(
        "no relay runs in {}: there is nothing to upgrade; the next published port starts one",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The next relay would have room for less.
    #[error(
        "the next relay may have {ours} open files, and the running one (pid {pid}) {theirs}: raise \
         the limit first (`ulimit -n {theirs}`), or upgrade from where it is higher"
    )]
    FewerFiles {
        /// The relay's process.
        pid: u32,
        /// Its limit.
        theirs: u64,
        /// The limit of who would start the next one.
        ours: u64,
    },
    /// A relay was started but did not answer.
    #[error("the relay did not start within {seconds} s: {log}")]
    NotStarted {
        /// The limit that passed.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// A relay was started and ended at once.
    #[error("the relay did not start: {reason}")]
    Ended {
        /// What it said, or the end of its log.
        reason: String,
    },
}

/// The result of something asked of the relay.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done to an I/O failure.
pub(crate) trait During<T> {
    /// Names the action that failed; `action` is evaluated on failure only.
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::Io { action: action().into(), source: e.into() })
    }
}
