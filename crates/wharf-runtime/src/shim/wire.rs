//! What the daemon and a shim say to each other: one JSON object per line, over `shim.sock`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use wharf_host::process::Pid;
use wharf_spec::frame::TerminalSize;

use crate::error::Error;
use crate::exit::Exit;

pub(crate) const SOCKET: &str = "shim.sock";
pub(crate) const IDENTITY: &str = "shim.json";
pub(crate) const SPEC: &str = "spec.json";
/// What libcontainer keeps about the container.
pub(crate) const STATE: &str = "state";
/// What a shim says when it cannot say it over the socket; also what libcontainer reports.
pub(crate) const DIAGNOSTICS: &str = "shim.err";
/// Requests are short; a longer line is not one.
pub(crate) const LINE_LIMIT: usize = 4096;

/// What a shim can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Request {
    /// Make the container, ready to run its command.
    Create,
    /// Run its command.
    Start,
    /// Send the command a signal, by number.
    Kill {
        /// The number.
        signal: i32,
    },
    /// Say how things are.
    State,
    /// Undo a container that was never started.
    Delete,
    /// Make this connection one of frames; see [`wharf_spec::frame`].
    Attach(Attach),
}

/// What a client wants of a container's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// To write to standard input.
    pub stdin: bool,
    /// To see standard output; a terminal has no other.
    pub stdout: bool,
    /// To see standard error.
    pub stderr: bool,
    /// The size of the client's terminal.
    pub size: Option<TerminalSize>,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub(crate) enum Reply {
    /// It is done, or asked for: how things are now.
    State(State),
    /// It could not be done.
    Error {
        /// 126 and 127 as Docker's, 125 for everything else.
        code: u8,
        /// Why.
        message: String,
    },
}

/// How far a shim has brought its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// There is a network namespace and nothing else.
    Ready,
    /// The container exists; its command has not been executed yet.
    Created,
    /// Its command runs.
    Running,
    /// Its command has ended.
    Exited,
}

/// What a shim knows about its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// The process that is number 1 inside, by its number outside.
    pub pid: Option<u32>,
    /// When the command was started.
    pub started_at: Option<Timestamp>,
    /// How it ended.
    pub exit: Option<Exit>,
}

/// Who the shim in a directory is, so that a later daemon can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) shim: Pid,
}

/// Where a command that clients attach to listens.
pub(crate) fn session_socket(id: &str) -> String {
    format!("exec-{id}.sock")
}

/// A directory held open, so that a socket in it can be named however long its path is: the
/// kernel takes 107 bytes.
#[derive(Debug)]
pub(crate) struct SocketDir(File);

// === impl Reply ===

impl Reply {
    /// Why it could not be done.
    pub(crate) fn of(error: &Error) -> Self {
        Self::Error { code: error.exit_code(), message: error.to_string() }
    }
}

// === impl SocketDir ===

impl SocketDir {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        Ok(Self(File::options().read(true).custom_flags(flags).open(dir)?))
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()).into()
    }

    /// Listens under `name`, for root alone.
    pub(crate) fn listen(&self, name: &str) -> io::Result<UnixListener> {
        let path = self.socket(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&path);
        rustix::process::umask(before);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}
