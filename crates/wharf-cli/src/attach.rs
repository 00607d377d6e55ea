//! Containers and commands attached here, and `logs`.
//!
//! Output alone comes as the answer to a request; with standard input or a terminal, the connection
//! becomes one of frames both ways (module `conversation`).

use std::io::Write;
use std::process::ExitCode;

use wharf_api::client::{Output, Part};
use wharf_api::frame::Frame;

use crate::args::{AttachArgs, LogsArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome};

mod conversation;
mod input;
mod keys;
mod moment;
mod signals;
mod terminal;

pub(crate) use conversation::{Target, Wish, attach as converse};
pub(crate) use keys::DetachKeys;
pub(crate) use signals::OnSignal;
use signals::Signals;
pub(crate) use terminal::{expect_on_stdin, size};

/// The streams somebody attaches to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// What a container's streams are.
struct Kind {
    runs: bool,
    tty: bool,
    stdin: bool,
}

/// `wharf attach`.
pub(crate) async fn attach(session: &Session, args: AttachArgs) -> Outcome {
    let keys = DetachKeys::parse(args.attaching.detach_keys.as_deref())?;
    let kind = kind(session, &args.container).await?;
    let stdin = kind.stdin && !args.no_stdin;
    // One that does not run is refused for that.
    if kind.runs && kind.tty && stdin {
        expect_on_stdin()?;
    }
    let streams = Streams { stdin, stdout: true, stderr: true };
    let on_signal = on_signal(kind.tty, args.attaching.sig_proxy);
    let wish = Wish { streams, tty: kind.tty, keys, on_signal };
    converse(session, Target::Running(&args.container), wish).await
}

/// Starts a container that exists and attaches to it; to its standard input if it is `interactive`.
pub(crate) async fn start_existing(
    session: &Session,
    name: &str,
    interactive: bool,
    keys: DetachKeys,
    sig_proxy: bool,
) -> Outcome {
    let kind = kind(session, name).await?;
    let stdin = kind.stdin && interactive;
    if kind.tty && stdin {
        expect_on_stdin()?;
    }
    let streams = Streams { stdin, stdout: true, stderr: true };
    let on_signal = on_signal(kind.tty, sig_proxy);
    start(session, name, Wish { streams, tty: kind.tty, keys, on_signal }).await
}

/// On a terminal, Ctrl-C is a key; other signals are meant for whoever shows it.
pub(crate) fn on_signal(tty: bool, sig_proxy: bool) -> OnSignal {
    if sig_proxy && !tty { OnSignal::Proxy } else { OnSignal::Leave }
}

async fn kind(session: &Session, name: &str) -> Result<Kind, Exit> {
    let path = format!("/v1/containers/{}", Part(name));
    let inspected: serde_json::Value = session.get(&path).await?;
    let is = |field: &str| {
        inspected.pointer(field).and_then(serde_json::Value::as_bool).unwrap_or_default()
    };
    Ok(Kind { runs: is("/State/Running"), tty: is("/Config/Tty"), stdin: is("/Config/OpenStdin") })
}

/// Starts a container, shows its output until it ends, and ends with its exit code.
pub(crate) async fn start(session: &Session, id: &str, wish: Wish) -> Outcome {
    let plain = Streams { stdin: false, stdout: true, stderr: true };
    if wish.tty || wish.streams != plain {
        return converse(session, Target::Start(id), wish).await;
    }
    let mut signals = Signals::watch(wish.on_signal)?;
    let path = format!("/v1/containers/{}/start?attach=true", Part(id));
    let mut output = session.post_output(&path, &()).await.map_err(Exit::from_run)?;
    loop {
        let frame = tokio::select! {
            // That the connection broke says no more than that it ended.
            frame = output.next() => frame.unwrap_or_default(),
            ended = signals.obey(session, id) => return ended,
        };
        match frame {
            Some(Frame::Exit(code)) => return Ok(exit_code(code)),
            Some(Frame::Failure(text)) => return Err(Exit::at_run(text)),
            Some(frame) => show(&frame)?,
            None => return conversation::resume(session, Target::Start(id), wish, signals).await,
        }
    }
}

/// `wharf logs`.
pub(crate) async fn logs(session: &Session, args: LogsArgs) -> Outcome {
    if args.tail != "all" && args.tail.parse::<u64>().is_err() {
        return Err(Exit::failed(format!(
            "invalid value {:?} for --tail: use a number or all",
            args.tail
        )));
    }
    let mut path = format!(
        "/v1/containers/{}/logs?follow={}&tail={}&timestamps={}",
        Part(&args.container),
        args.follow,
        args.tail,
        args.timestamps
    );
    let now = jiff::Timestamp::now();
    for (name, text) in [("since", &args.since), ("until", &args.until)] {
        if let Some(text) = text {
            let moment = moment::parse(text, now).map_err(|why| {
                Exit::failed(format!("invalid value {text:?} for --{name}: {why}"))
            })?;
            path += &format!("&{name}={}", Part(&moment.to_string()));
        }
    }
    let mut output = session.output(&path).await?;
    drain(&mut output).await?;
    Ok(ExitCode::SUCCESS)
}

/// Shows everything up to the end; gives the exit code if the stream carried one.
pub(crate) async fn drain(output: &mut Output) -> Result<Option<i32>, Exit> {
    while let Some(frame) = output.next().await? {
        match frame {
            Frame::Exit(code) => return Ok(Some(code)),
            frame => show(&frame)?,
        }
    }
    Ok(None)
}

fn show(frame: &Frame) -> Result<(), Exit> {
    match frame {
        Frame::Stdout(bytes) => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())?;
        }
        Frame::Stderr(bytes) => std::io::stderr().lock().write_all(bytes)?,
        Frame::Failure(text) => return Err(Exit::failed(text.clone())),
        // The others are an end, or ours to send.
        _ => {}
    }
    Ok(())
}

/// A container's code, as the shell can see it.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}
