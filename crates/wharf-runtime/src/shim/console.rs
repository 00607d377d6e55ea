//! The ends of a container's standard streams: pipes, or a terminal made inside it.
//!
//! A terminal has to come from the container's own `/dev/pts`, where programs look for its name.
//! libcontainer opens it there and sends its master over a unix socket, which the shim reads only
//! afterwards, from the socket's queue: it has one thread, and that one is in libcontainer.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Gid, Uid};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use wharf_host::fdpass::recv_descriptor;
use wharf_spec::frame::TerminalSize;

use crate::error::{Context, Error, Result};
use crate::log::Stream;
use crate::shim::wire::SocketDir;
use crate::user::User;

/// The master was sent before the command could be executed, so it is there.
const MASTER_LIMIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Says in the description of a process whether it gets a terminal.
pub(super) fn ask_for(process: &mut serde_json::Value, tty: bool) {
    if let Some(process) = process.as_object_mut() {
        process.insert("terminal".to_owned(), tty.into());
    }
}

/// What kind of streams there are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) tty: bool,
}

/// The streams' ends on our side.
#[derive(Debug)]
pub(super) struct Ends {
    /// Where standard input is written to, if it is open.
    pub(super) input: Option<OwnedFd>,
    /// Where output is read from.
    pub(super) outputs: Vec<(OwnedFd, Stream)>,
    pub(super) terminal: Option<Terminal>,
}

/// A terminal of which we hold the master.
#[derive(Debug)]
pub(super) struct Terminal {
    master: OwnedFd,
    /// Its other side: while it is open, a master that nobody writes to is only silent. Without it
    /// every read would be an error as soon as the container's programs have closed theirs, and
    /// they may open it again.
    _slave: OwnedFd,
}

/// Ends on our side that come into being with the container.
#[derive(Debug)]
pub(super) enum Coming {
    Pipes(Ends),
    Terminal { socket: ConsoleSocket, stdin: bool },
}

/// Where libcontainer sends the terminal's master.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

// === impl Wanted ===

impl Wanted {
    /// Gives the container its ends, owned by `user`, so that it can open `/dev/stdout` again.
    pub(super) fn give(
        self,
        builder: ContainerBuilder,
        user: &User,
        run_dir: &Path,
    ) -> Result<(ContainerBuilder, Coming)> {
        if self.tty {
            let socket = ConsoleSocket::bind(run_dir)?;
            let builder = builder.with_console_socket(Some(&socket.path));
            return Ok((builder, Coming::Terminal { socket, stdin: self.stdin }));
        }
        let (stdout, out) = output_pipe(user)?;
        let (stderr, err) = output_pipe(user)?;
        let (builder, input) = self.give_input(builder, user)?;
        let outputs = vec![(stdout, Stream::Stdout), (stderr, Stream::Stderr)];
        let ends = Ends { input, outputs, terminal: None };
        Ok((builder.with_stdout(out).with_stderr(err), Coming::Pipes(ends)))
    }

    fn give_input(
        self,
        builder: ContainerBuilder,
        user: &User,
    ) -> Result<(ContainerBuilder, Option<OwnedFd>)> {
        if !self.stdin {
            let null = fs::File::open("/dev/null").during(|| "open /dev/null")?;
            return Ok((builder.with_stdin(null), None));
        }
        let (read, write) = pipe()?;
        own(&read, user)?;
        rustix::io::ioctl_fionbio(&write, true).during(|| "prepare a pipe")?;
        Ok((builder.with_stdin(read), Some(write)))
    }
}

/// The writing end belongs to `user`.
fn output_pipe(user: &User) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe()?;
    own(&write, user)?;
    rustix::io::ioctl_fionbio(&read, true).during(|| "prepare a pipe")?;
    Ok((read, write))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(|| "make a pipe for the container")
}

fn own(end: &OwnedFd, user: &User) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::fs::fchown(end, Some(uid), Some(gid)).during(|| "give the container a pipe")
}

// === impl Coming ===

impl Coming {
    /// Our ends, now that the container exists.
    pub(super) fn take(self, user: &User) -> Result<Ends> {
        let (socket, stdin) = match self {
            Self::Pipes(ends) => return Ok(ends),
            Self::Terminal { socket, stdin } => (socket, stdin),
        };
        let what = || "take over the container's terminal";
        let master = socket.master()?;
        rustix::io::ioctl_fionbio(&master, true).during(what)?;
        // Not by its name, which is one in the container's file system.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).during(what)?;
        rustix::fs::fchown(&slave, Some(Uid::from_raw(user.uid)), None).during(what)?;
        let copy = || master.try_clone().during(what);
        let input = if stdin { Some(copy()?) } else { None };
        let outputs = vec![(copy()?, Stream::Stdout)];
        Ok(Ends { input, outputs, terminal: Some(Terminal { master, _slave: slave }) })
    }
}

// === impl Terminal ===

impl Terminal {
    pub(super) fn resize(&self, size: TerminalSize) {
        // One that is gone needs no size.
        let _set = rustix::termios::tcsetwinsize(&self.master, winsize(size));
    }
}

/// As the kernel has it.
pub(super) fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

// === impl ConsoleSocket ===

impl ConsoleSocket {
    /// Several commands may be on their way into a container, so the name is this process' own.
    fn bind(run_dir: &Path) -> Result<Self> {
        let what = || format!("listen in {}", run_dir.display());
        let name = format!("console-{}.sock", std::process::id());
        let dir = SocketDir::open(run_dir).during(what)?;
        let listener = dir.listen(&name).during(what)?;
        Ok(Self { listener, path: run_dir.join(name) })
    }

    fn master(&self) -> Result<OwnedFd> {
        let what = || "receive the container's terminal";
        let mut fds = [PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&MASTER_LIMIT)).during(what)?;
        if ready == 0 {
            let reason = "it did not come".to_owned();
            return Err(Error::Shim { action: what().to_owned(), reason });
        }
        let (stream, _) = self.listener.accept().during(what)?;
        let limit = std::time::Duration::from_secs(MASTER_LIMIT.tv_sec.unsigned_abs());
        stream.set_nonblocking(false).during(what)?;
        stream.set_read_timeout(Some(limit)).during(what)?;
        Ok(recv_descriptor(&stream)?)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _goes_with_its_directory = fs::remove_file(&self.path);
    }
}
