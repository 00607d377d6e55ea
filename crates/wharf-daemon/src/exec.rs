//! Commands in running containers: a process of ours joins the container and runs them.

use std::process::Stdio;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::mpsc;
use wharf_api::ExecRequest;
use wharf_api::frame::Frame;
use wharf_runtime::client::{attach_to_session, exec_command, exec_detached, exec_session};
use wharf_runtime::exit;
use wharf_runtime::shim::Attach;
use wharf_runtime::spec::{ExecSession, ExecSpec};

use crate::attach::{Attached, Whose};
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase};
use crate::terminal;

/// Pieces of output waiting for a slow reader; past that the command waits, too.
const QUEUE: usize = 16;
const PIECE: usize = 32 << 10;

/// Runs a command in the container `name`; gives its output and then its exit code.
pub(crate) fn stream(
    daemon: &Daemon,
    name: &str,
    request: ExecRequest,
) -> Result<mpsc::Receiver<Bytes>> {
    let record = running(daemon, name)?;
    let exe = wharf_host::process::current_exe();
    let command = exec_command(&exe, &daemon.paths.shim(&record.id), &spec(request, None))?;
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io("start a process in the container"))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let outputs = (sender.clone(), sender.clone());
    tokio::spawn(async move {
        tokio::join!(
            pump(stdout, outputs.0, Frame::Stdout),
            pump(stderr, outputs.1, Frame::Stderr),
        );
        let frame = match child.wait().await {
            Ok(status) => Frame::Exit(exit::code(status)),
            Err(error) => Frame::Failure(format!("waiting for the command: {error}")),
        };
        // The reader may have left; the command has ended all the same.
        let _sent = sender.send(frame.encode()).await;
    });
    Ok(receiver)
}

/// Runs a command in the container `name` on its own: nobody reads what it says, and it does not
/// end with this process.
pub(crate) fn detach(daemon: &Daemon, name: &str, request: ExecRequest) -> Result<()> {
    let record = running(daemon, name)?;
    let exe = wharf_host::process::current_exe();
    Ok(exec_detached(&exe, &daemon.paths.shim(&record.id), &spec(request, None))?)
}

/// A command that clients attach to.
#[derive(Debug)]
pub(crate) struct Session {
    /// What to attach to it by.
    pub(crate) id: String,
    /// The streams of the first client, unless it is to run on its own.
    pub(crate) attached: Option<Attached>,
}

/// Runs a command in the container `name` whose streams clients attach to.
pub(crate) fn session(daemon: &Daemon, name: &str, mut request: ExecRequest) -> Result<Session> {
    let record = running(daemon, name)?;
    let size = terminal::size(request.rows, request.columns);
    let id = format!("{:016x}", rand::random::<u64>());
    let wants = Attach { stdin: request.stdin, stdout: true, stderr: true, size };
    let session = ExecSession {
        id: id.clone(),
        stdin: request.stdin && !request.detach,
        tty: request.tty,
        size,
        awaits_client: !request.detach,
    };
    if !record.spec.env.iter().any(|variable| variable.starts_with("TERM=")) {
        request.env = terminal::with_term(request.env, request.tty);
    }
    let exe = wharf_host::process::current_exe();
    let dir = daemon.paths.shim(&record.id);
    let stream = exec_session(&exe, &dir, &spec(request, Some(session)), wants)?;
    let attached = stream.map(|stream| daemon.attached(stream, Whose::Command)).transpose()?;
    Ok(Session { id, attached })
}

/// Attaches to a command of [`session`] that still runs.
pub(crate) fn attach(daemon: &Daemon, name: &str, id: &str, wants: Attach) -> Result<Attached> {
    let gone = || Error::NotFound { kind: "command", name: id.to_owned() };
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(gone());
    }
    let dir = daemon.paths.shim(&daemon.id_of(name)?);
    let stream = attach_to_session(&dir, id, wants)?.ok_or_else(gone)?;
    daemon.attached(stream, Whose::Command)
}

fn running(daemon: &Daemon, name: &str) -> Result<ContainerRecord> {
    let record = daemon.ledger.container(&daemon.id_of(name)?)?;
    if record.paused {
        return Err(Error::Conflict(format!(
            "container {} is paused, unpause the container before exec",
            record.name
        )));
    }
    if record.phase == Phase::Running {
        return Ok(record);
    }
    if record.is_restarting() {
        return Err(Error::Conflict(format!(
            "container {:?} is restarting: wait until it runs, or see why it ends with `wharf logs {}`",
            record.name, record.name
        )));
    }
    Err(Error::Conflict(format!(
        "container {:?} is not running: start it with `wharf start {}`",
        record.name, record.name
    )))
}

fn spec(request: ExecRequest, session: Option<ExecSession>) -> ExecSpec {
    ExecSpec {
        args: request.command,
        env: request.env,
        workdir: request.workdir,
        user: request.user,
        privileged: request.privileged,
        session,
        ends_with_parent: false,
    }
}

/// Passes output on; when nobody reads it any more it is read away, so that the command does not
/// stand still.
async fn pump(
    output: Option<impl AsyncRead + Unpin>,
    sink: mpsc::Sender<Bytes>,
    frame: fn(Bytes) -> Frame,
) {
    let Some(mut output) = output else { return };
    let mut piece = vec![0; PIECE];
    while let Ok(read) = output.read(&mut piece).await {
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { return };
        let _sent = sink.send(frame(Bytes::copy_from_slice(bytes)).encode()).await;
    }
}
