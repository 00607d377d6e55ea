//! Commands in running containers: a process of ours joins the container and runs them.

use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::mpsc;
use wharf_api::ExecRequest;
use wharf_api::frame::Frame;
use wharf_runtime::client::exec_command;
use wharf_runtime::spec::ExecSpec;

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::Phase;

/// Pieces of output waiting for a slow reader; past that the command waits, too.
const QUEUE: usize = 16;
const PIECE: usize = 32 << 10;
const SIGNALLED: i32 = 128;

/// Runs a command in the container `name`; gives its output and then its exit code, or nothing but
/// the start when it is to run on its own.
pub(crate) async fn stream(
    daemon: &Arc<Daemon>,
    name: &str,
    request: ExecRequest,
) -> Result<mpsc::Receiver<Bytes>> {
    let id = daemon.id_of(name)?;
    let record = daemon.ledger.container(&id)?;
    if record.phase != Phase::Running {
        return Err(Error::Conflict(format!(
            "container {:?} is not running: start it with `wharf start {}`",
            record.name, record.name
        )));
    }
    if record.paused {
        return Err(Error::Conflict(format!(
            "container {} is paused, unpause the container before exec",
            record.name
        )));
    }
    let detach = request.detach;
    let spec = ExecSpec {
        args: request.command,
        env: request.env,
        workdir: request.workdir,
        user: request.user,
    };
    let exe = wharf_host::process::current_exe();
    let dir = daemon.paths.shim(&id);
    let command = exec_command(&exe, &dir, &spec)?;
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
            Ok(status) => Frame::Exit(code(status)),
            Err(error) => Frame::Failure(format!("waiting for the command: {error}")),
        };
        // The reader may have left; the command has ended all the same.
        let _sent = sender.send(frame.encode()).await;
    });
    if detach {
        return Ok(mpsc::channel(1).1);
    }
    Ok(receiver)
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or(0))
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
