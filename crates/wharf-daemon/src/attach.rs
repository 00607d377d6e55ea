//! Clients attached to containers and to commands in them: frames between a client's connection and
//! that of the process that holds the streams.
//!
//! The daemon only carries them, so when it ends, container and command go on, and a client that
//! comes back to the next daemon is attached again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use wharf_api::frame::Frame;
use wharf_runtime::client::Shim;
use wharf_runtime::exit::exit_status;
use wharf_runtime::shim::Attach;

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::logs::Ending;
use crate::record::Phase;
use crate::starting::Cause;

/// Frames on their way to a client, of 64 KiB each at most; past that the container waits.
const QUEUE: usize = 16;
const PIECE: usize = 64 << 10;
/// While a client takes nothing, whether the container has ended is looked at this often.
const END_POLL: Duration = Duration::from_millis(100);
/// A container that has ended is settled in milliseconds, unless something stands in the way.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// The streams of a container or command, as its shim gives them.
#[derive(Debug)]
pub(crate) struct Attached {
    stream: UnixStream,
    of: Whose,
    closing: watch::Receiver<bool>,
}

/// Whose streams they are.
#[derive(Debug)]
pub(crate) enum Whose {
    /// A container's; its exit code is told once it is settled, so that whoever hears it finds
    /// everything done.
    Container { name: String, run_dir: PathBuf, ending: Ending },
    /// A command's.
    Command,
}

// === impl Daemon ===

impl Daemon {
    /// Starts a container and attaches to it, so that nothing it writes is missed.
    pub(crate) fn start_attached(self: &Arc<Self>, name: &str, wants: Attach) -> Result<Attached> {
        let id = self.id_of(name)?;
        self.in_turn(&id, || {
            let record = self.ledger.container(&id)?;
            if record.phase == Phase::Running {
                return Err(Error::Conflict(format!(
                    "container {:?} is already running: attach to it with `wharf attach {}`",
                    record.name, record.name
                )));
            }
            let stream = RefCell::new(None);
            self.start_after(&id, Cause::Hand, &|shim| {
                stream.replace(Some(shim.attach(wants)?));
                Ok(())
            })?;
            let stream = stream.into_inner().ok_or_else(|| gone(&record.name))?;
            self.attached_to_container(&record.name, &id, stream)
        })
    }

    /// Attaches to a container that runs.
    pub(crate) fn attach(&self, name: &str, wants: Attach) -> Result<Attached> {
        let id = self.id_of(name)?;
        let record = self.ledger.container(&id)?;
        if record.is_restarting() {
            return Err(Error::Conflict(
                "you cannot attach to a restarting container, wait until it is running".into(),
            ));
        }
        if record.phase != Phase::Running {
            return Err(Error::Conflict(format!(
                "you cannot attach to a stopped container, start it first: `wharf start -a {}`",
                record.name
            )));
        }
        let shim = Shim::adopt(&self.paths.shim(&id))?.ok_or_else(|| gone(&record.name))?;
        self.attached_to_container(&record.name, &id, shim.attach(wants)?)
    }

    fn attached_to_container(&self, name: &str, id: &str, stream: StdStream) -> Result<Attached> {
        let (run_dir, ending) = (self.paths.shim(id), self.ending(id)?);
        let of = Whose::Container { name: name.to_owned(), run_dir, ending };
        self.attached(stream, of)
    }

    /// Takes the connection to a process that holds streams.
    pub(crate) fn attached(&self, stream: StdStream, of: Whose) -> Result<Attached> {
        let stream = prepare(stream).map_err(Error::io("use the connection to the shim"))?;
        Ok(Attached { stream, of, closing: self.closing.subscribe() })
    }
}

fn prepare(stream: StdStream) -> std::io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn gone(name: &str) -> Error {
    Error::Conflict(format!("container {name:?} has just ended"))
}

// === impl Attached ===

impl Attached {
    /// Only the output, as frames; the client is gone when nobody receives them any more.
    pub(crate) fn output(self) -> mpsc::Receiver<Bytes> {
        let (from, silent) = self.stream.into_split();
        carry_output(from, Some(silent), self.of, self.closing)
    }

    /// Frames in both directions, until one side leaves.
    pub(crate) async fn carry(self, client: impl AsyncRead + AsyncWrite) {
        let (from, to) = self.stream.into_split();
        // Held to the end, so that a daemon that stops waits until the client has been told.
        let _told = self.closing.clone();
        let mut output = carry_output(from, None, self.of, self.closing);
        let (mut spoken, mut heard) = tokio::io::split(client);
        let hearing = async {
            while let Some(frame) = output.recv().await {
                heard.write_all(&frame).await?;
            }
            heard.shutdown().await
        };
        // Either way the other direction has nobody left.
        tokio::select! {
            _ended = hearing => {}
            _left = carry_input(&mut spoken, to) => {}
        }
    }
}

/// Carries a client's frames. A client that goes without a word has ended its input; if the daemon
/// goes instead, the input stays as it is.
async fn carry_input(
    from: &mut (impl AsyncRead + Unpin),
    mut to: OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        while let Some(frame) = Frame::decode(&mut buffer).map_err(std::io::Error::other)? {
            if to.write_all(&frame.encode()).await.is_err() {
                // The program has ended before it was told everything. How it has ended is still to
                // be heard, and whoever hears it comes to an end by that.
                return std::future::pending().await;
            }
            if frame == Frame::Leave {
                return Ok(());
            }
        }
        buffer.reserve(PIECE);
        if from.read_buf(&mut buffer).await? == 0 {
            return to.write_all(&Frame::StdinEnd.encode()).await;
        }
    }
}

/// Output on its way: what a client takes slowly waits with the container, until that has ended;
/// the rest, which is bounded, then waits here, so that the shim can go.
struct Carrier {
    from: OwnedReadHalf,
    /// Held, because a connection closed on this side would look as if its client had left.
    _silent: Option<OwnedWriteHalf>,
    buffer: BytesMut,
    held: VecDeque<Bytes>,
    has_ended: bool,
}

fn carry_output(
    from: OwnedReadHalf,
    silent: Option<OwnedWriteHalf>,
    of: Whose,
    mut closing: watch::Receiver<bool>,
) -> mpsc::Receiver<Bytes> {
    let (sink, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let buffer = BytesMut::with_capacity(PIECE);
        let carrier =
            Carrier { from, _silent: silent, buffer, held: VecDeque::new(), has_ended: false };
        let farewell = of.farewell();
        let last = tokio::select! {
            last = carrier.run(of, &sink) => last,
            _ = closing.wait_for(|closing| *closing) => Some(Frame::Failure(farewell)),
            () = sink.closed() => None,
        };
        if let Some(frame) = last {
            // The client may have left, which is not worth a word.
            let _sent = sink.send(frame.encode()).await;
        }
    });
    receiver
}

// === impl Carrier ===

impl Carrier {
    /// Gives the last frame.
    async fn run(mut self, of: Whose, sink: &mpsc::Sender<Bytes>) -> Option<Frame> {
        let told = loop {
            let may_read = self.held.is_empty() || self.has_ended;
            let waits = !self.held.is_empty();
            self.buffer.reserve(PIECE);
            tokio::select! {
                read = self.from.read_buf(&mut self.buffer), if may_read => {
                    let ended = !matches!(read, Ok(1..));
                    match self.take_frames() {
                        Ok(None) if ended => break None,
                        Ok(None) => {}
                        Ok(Some(code)) => break Some(code),
                        Err(failure) => return Some(failure),
                    }
                }
                permit = sink.reserve(), if waits => {
                    let frame = self.held.pop_front();
                    permit.ok()?.send(frame.unwrap_or_default());
                }
                () = tokio::time::sleep(END_POLL), if waits && !self.has_ended => {
                    self.has_ended = of.has_ended();
                }
            }
        };
        for frame in std::mem::take(&mut self.held) {
            sink.send(frame).await.ok()?;
        }
        Some(of.last(told).await)
    }

    /// Takes the whole frames that have come; the exit code, if that is the last of them.
    fn take_frames(&mut self) -> Result<Option<i32>, Frame> {
        loop {
            match Frame::decode(&mut self.buffer) {
                Ok(None) => return Ok(None),
                Ok(Some(Frame::Exit(code))) => return Ok(Some(code)),
                Ok(Some(frame)) => self.held.push_back(frame.encode()),
                Err(error) => return Err(Frame::Failure(error.to_string())),
            }
        }
    }
}

// === impl Whose ===

impl Whose {
    fn farewell(&self) -> String {
        match self {
            Self::Container { name, .. } => format!(
                "the daemon stops; container {name:?} goes on: attach again with `wharf attach {name}`"
            ),
            Self::Command => "the daemon stops; the command goes on without you".to_owned(),
        }
    }

    /// Whether no more can come than what is on its way.
    fn has_ended(&self) -> bool {
        match self {
            Self::Container { run_dir, .. } => {
                !run_dir.exists() || matches!(exit_status(run_dir), Ok(Some(_)))
            }
            Self::Command => false,
        }
    }

    /// What there is to say at the end, if the shim has `told` an exit code or not.
    async fn last(self, told: Option<i32>) -> Frame {
        let (name, mut ending) = match (self, told) {
            (Self::Command, Some(code)) => return Frame::Exit(code),
            (Self::Command, None) => {
                return Frame::Failure(
                    "the command was lost: the process beside it was killed".into(),
                );
            }
            (Self::Container { name, ending, .. }, _) => (name, ending),
        };
        // A killed shim tells nothing, and its container has ended with it.
        let limit = if told.is_some() { SETTLE_LIMIT } else { SETTLE_LIMIT / 20 };
        let ended = tokio::time::timeout(limit, ending.wait_for(Option::is_some)).await;
        let code = ended.ok().and_then(|ended| ended.ok().and_then(|code| *code)).or(told);
        code.map_or_else(|| Frame::Failure(let_go(&name)), Frame::Exit)
    }
}

fn let_go(name: &str) -> String {
    format!(
        "nothing of the output of container {name:?} was taken for long, and it goes on without you: see `wharf logs {name}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_heard_by_who_still_has_something_to_say() {
        for _ in 0..50 {
            let (near, far) = StdStream::pair().unwrap();
            let (_sender, closing) = watch::channel(false);
            let stream = prepare(near).unwrap();
            let attached = Attached { stream, of: Whose::Command, closing };
            // The command has failed at once, and nobody reads its input.
            std::io::Write::write_all(&mut &far, &Frame::Exit(127).encode()).unwrap();
            drop(far);
            let (mut client, server) = tokio::io::duplex(PIECE);
            let input = Frame::Stdin(Bytes::from_static(b"in")).encode();
            client.write_all(&input).await.unwrap();
            let carried = tokio::spawn(attached.carry(server));
            let mut told = Vec::new();
            client.read_to_end(&mut told).await.unwrap();
            carried.await.unwrap();
            let frame = Frame::decode(&mut BytesMut::from(told.as_slice())).unwrap();
            assert_eq!(frame, Some(Frame::Exit(127)));
        }
    }
}
