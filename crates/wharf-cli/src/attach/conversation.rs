//! Frames with the daemon until the container or command ends, or somebody leaves.

use std::process::ExitCode;

use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wharf_api::client::{ClientError, Connection, FrameReader, FrameWriter, Part};
use wharf_api::frame::{Frame, TerminalSize};
use wharf_api::{ExecRequest, Waited};

use super::input::{Input, Piece};
use super::keys::DetachKeys;
use super::signals::{OnSignal, Signals};
use super::terminal::{self, RawMode};
use super::{Streams, exit_code};
use crate::connect::Session;
use crate::failure::{Exit, Outcome};

/// What somebody wants of an attached container or command.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) streams: Streams,
    /// What is attached to has a terminal.
    pub(crate) tty: bool,
    pub(crate) keys: DetachKeys,
    pub(crate) on_signal: OnSignal,
}

/// What is attached to.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// A container that is started for it.
    Start(&'a str),
    /// A container that runs.
    Running(&'a str),
    /// A command that is run in a container for it.
    Command(&'a str, ExecRequest),
}

/// How a connection came to its end.
enum End {
    Code(i32),
    /// The daemon went without a word.
    Lost,
    /// Somebody here wants to leave.
    Left(ExitCode),
}

/// What came of attaching again.
enum Again {
    Attached(Connection),
    Ended(i32),
}

/// Attaches, stays, and ends with the exit code, or with 0 after leaving.
pub(crate) async fn attach(session: &Session, target: Target<'_>, wish: Wish) -> Outcome {
    let signals = Signals::watch(wish.on_signal)?;
    let mut connection = open(session, &target, &wish).await.map_err(|e| target.failed(e))?;
    if matches!(target, Target::Running(_)) {
        redraw(&mut connection.writer, &wish).await;
    }
    stay(session, target, wish, signals, connection).await
}

/// Attaches again to a container that somebody was attached to when the daemon went.
pub(super) async fn resume(
    session: &Session,
    target: Target<'_>,
    wish: Wish,
    signals: Signals,
) -> Outcome {
    match attach_again(session, &target, None, &wish).await? {
        Again::Ended(code) => Ok(exit_code(code)),
        Again::Attached(connection) => {
            say_what_is_missing(&target, &wish);
            stay(session, target, wish, signals, connection).await
        }
    }
}

async fn stay(
    session: &Session,
    target: Target<'_>,
    wish: Wish,
    mut signals: Signals,
    mut connection: Connection,
) -> Outcome {
    let mut resized = signal(SignalKind::window_change())
        .map_err(|e| Exit::at_run(format!("cannot watch the terminal's size: {e}")))?;
    let raw = match wish.tty && wish.streams.stdin {
        true => Some(
            RawMode::enter().map_err(|e| Exit::at_run(format!("cannot use this terminal: {e}")))?,
        ),
        false => None,
    };
    let keys = wish.tty.then(|| wish.keys.clone());
    let mut input = Input::new(wish.streams.stdin, keys);
    let ended = loop {
        let command = connection.command.take();
        let Connection { reader, writer, .. } = &mut connection;
        let end = tokio::select! {
            biased;
            end = show(reader) => end?,
            left = feed(writer, &mut input, &mut resized, &wish) => End::Left(left),
            ended = signals.obey(session, target.container()) => End::Left(ended?),
        };
        match end {
            End::Code(code) => break exit_code(code),
            End::Left(code) => break code,
            End::Lost => match attach_again(session, &target, command.as_deref(), &wish).await? {
                Again::Ended(code) => break exit_code(code),
                Again::Attached(next) => {
                    connection = Connection { command, ..next };
                    say_what_is_missing(&target, &wish);
                    redraw(&mut connection.writer, &wish).await;
                }
            },
        }
    };
    drop(raw);
    Ok(ended)
}

async fn open(
    session: &Session,
    target: &Target<'_>,
    wish: &Wish,
) -> Result<Connection, ClientError> {
    let client = session.ready().await?;
    match target {
        Target::Start(name) => client.attach(&path(name, "attach", true, wish), &()).await,
        Target::Running(name) => client.attach(&path(name, "attach", false, wish), &()).await,
        Target::Command(name, request) => {
            client.attach(&format!("/v1/containers/{}/exec", Part(name)), request).await
        }
    }
}

fn path(name: &str, what: &str, start: bool, wish: &Wish) -> String {
    let Streams { stdin, stdout, stderr } = wish.streams;
    let unknown = TerminalSize { rows: 0, columns: 0 };
    let size = terminal::size().filter(|_| wish.tty).unwrap_or(unknown);
    format!(
        "/v1/containers/{}/{what}?start={start}&stdin={stdin}&stdout={stdout}&stderr={stderr}&rows={}&columns={}",
        Part(name),
        size.rows,
        size.columns
    )
}

/// The daemon that was attached to is gone, and another can take its place: what is attached to has
/// gone on, unless it has ended meanwhile.
async fn attach_again(
    session: &Session,
    target: &Target<'_>,
    command: Option<&str>,
    wish: &Wish,
) -> Result<Again, Exit> {
    let name = target.container();
    let path = match (target, command) {
        (Target::Command(..), Some(id)) => path(name, &format!("exec/{id}/attach"), false, wish),
        _ => path(name, "attach", false, wish),
    };
    let attached = match session.ready().await {
        Ok(client) => client.attach(&path, &()).await,
        Err(error) => Err(error),
    };
    match (attached, target) {
        (Ok(connection), _) => Ok(Again::Attached(connection)),
        (Err(ClientError::Api(_)), Target::Start(name) | Target::Running(name)) => {
            let path = format!("/v1/containers/{}/wait", Part(name));
            let waited: Waited = session.post(&path, &()).await.map_err(|e| lost(name, &e))?;
            let unknown = || Exit::at_run(format!("{name} goes on: `wharf attach {name}`"));
            waited.exit_code.map(Again::Ended).ok_or_else(unknown)
        }
        (Err(error), _) => Err(lost(name, &error)),
    }
}

/// On a terminal a word would be in the way of what is drawn there, which is drawn anew.
fn say_what_is_missing(target: &Target<'_>, wish: &Wish) {
    if wish.tty {
        return;
    }
    let missing = match target {
        Target::Start(name) | Target::Running(name) => {
            format!("what was written meanwhile is in `wharf logs {name}`")
        }
        Target::Command(..) => "what was written meanwhile is lost".to_owned(),
    };
    eprintln!("wharf: warning: the daemon ended; attached again by the next one: {missing}");
}

fn lost(name: &str, error: &ClientError) -> Exit {
    Exit::at_run(format!("the daemon ended, and {name} cannot be attached to again: {error}"))
}

/// Has a program that draws on its terminal do so again, as Docker does: it is told of a new size,
/// and then of the right one.
async fn redraw(writer: &mut FrameWriter, wish: &Wish) {
    let Some(size) = terminal::size().filter(|_| wish.tty) else { return };
    let other = TerminalSize { rows: size.rows.saturating_add(1), ..size };
    for size in [other, size] {
        // A connection that is lost shows elsewhere.
        let _shown_elsewhere = writer.send(&Frame::Resize(size)).await;
    }
}

/// Shows output to its end.
async fn show(reader: &mut FrameReader) -> Result<End, Exit> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(frame) = reader.next().await? {
        match frame {
            Frame::Stdout(bytes) => {
                stdout.write_all(&bytes).await?;
                stdout.flush().await?;
            }
            Frame::Stderr(bytes) => {
                stderr.write_all(&bytes).await?;
                stderr.flush().await?;
            }
            Frame::Exit(code) => return Ok(End::Code(code)),
            Frame::Failure(text) => return Err(Exit::at_run(text)),
            // The others are ours to send.
            _ => {}
        }
    }
    Ok(End::Lost)
}

/// Sends what is typed, and what becomes of the terminal's size, until somebody leaves.
async fn feed(
    writer: &mut FrameWriter,
    input: &mut Input,
    resized: &mut Signal,
    wish: &Wish,
) -> ExitCode {
    match carry(writer, input, resized, wish).await {
        Ok(()) => ExitCode::SUCCESS,
        // That the connection is lost shows where it is read from.
        Err(_) => std::future::pending().await,
    }
}

async fn carry(
    writer: &mut FrameWriter,
    input: &mut Input,
    resized: &mut Signal,
    wish: &Wish,
) -> Result<(), ClientError> {
    loop {
        let piece = tokio::select! {
            piece = input.next() => piece,
            Some(()) = resized.recv() => {
                if let Some(size) = terminal::size().filter(|_| wish.tty) {
                    writer.send(&Frame::Resize(size)).await?;
                }
                continue;
            }
        };
        match piece {
            Piece::Bytes(bytes) => send_bytes(writer, bytes).await?,
            Piece::End(bytes) => {
                send_bytes(writer, bytes).await?;
                writer.send(&Frame::StdinEnd).await?;
                if !wish.streams.stdout && !wish.streams.stderr {
                    return Ok(());
                }
            }
            Piece::Detach(bytes) => {
                send_bytes(writer, bytes).await?;
                return writer.send(&Frame::Leave).await;
            }
        }
    }
}

async fn send_bytes(writer: &mut FrameWriter, bytes: bytes::Bytes) -> Result<(), ClientError> {
    if bytes.is_empty() {
        return Ok(());
    }
    writer.send(&Frame::Stdin(bytes)).await
}

// === impl Target ===

impl Target<'_> {
    fn container(&self) -> &str {
        match self {
            Self::Start(name) | Self::Running(name) | Self::Command(name, _) => name,
        }
    }

    /// `attach` has no exit codes of its own; the others have Docker's.
    fn failed(&self, error: ClientError) -> Exit {
        match self {
            Self::Running(_) => error.into(),
            Self::Start(_) | Self::Command(..) => Exit::from_run(error),
        }
    }
}
