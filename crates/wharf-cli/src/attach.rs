//! Output of a container here: attached starts and `logs`.

use std::io::Write;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use wharf_api::client::{Output, Part};
use wharf_api::frame::Frame;

use crate::args::LogsArgs;
use crate::connect::Session;
use crate::failure::{Exit, Outcome};

/// Signals that reach an attached `wharf run` are meant for the container, as with Docker.
const PROXIED: [(SignalKind, &str); 6] = [
    (SignalKind::interrupt(), "INT"),
    (SignalKind::terminate(), "TERM"),
    (SignalKind::hangup(), "HUP"),
    (SignalKind::quit(), "QUIT"),
    (SignalKind::user_defined1(), "USR1"),
    (SignalKind::user_defined2(), "USR2"),
];

/// A program may ignore the signals that are passed on; this many show that somebody wants out.
const FORCED_END: u32 = 3;

/// Starts a container, shows its output until it ends, and ends with its exit code.
pub(crate) async fn start(session: &Session, id: &str) -> Outcome {
    let mut signals = watch_signals()?;
    let path = format!("/v1/containers/{}/start?attach=true", Part(id));
    let mut output = session.post_output(&path, &()).await.map_err(Exit::from_run)?;
    let mut interrupts = 0;
    let kill = |name: &str| format!("/v1/containers/{}/kill?signal={name}", Part(id));
    loop {
        let waiting = signals.iter_mut().map(|(signal, name)| Box::pin(arrival(signal, name)));
        let waiting: Vec<_> = waiting.collect();
        let frame = tokio::select! {
            frame = output.next() => frame.map_err(|_| cut_off())?,
            name = first_of(waiting) => {
                interrupts += u32::from(matches!(name, "INT" | "TERM"));
                if interrupts >= FORCED_END {
                    return Err(Exit::at_run(format!(
                        "interrupted {FORCED_END} times: leaving; the container goes on, end it with `wharf kill {id}`"
                    )));
                }
                // The container may have ended in the meantime; then there is nobody to tell.
                let _told: Result<serde_json::Value, _> = session.post(&kill(name), &()).await;
                continue;
            }
        };
        match frame {
            Some(Frame::Exit(code)) => return Ok(exit_code(code)),
            Some(frame) => show(&frame)?,
            None => return Err(cut_off()),
        }
    }
}

fn cut_off() -> Exit {
    Exit::at_run("the daemon ended the stream; the container goes on, see `wharf ps`")
}

/// `wharf logs`.
pub(crate) async fn logs(session: &Session, args: LogsArgs) -> Outcome {
    if args.tail != "all" && args.tail.parse::<u64>().is_err() {
        return Err(Exit::failed(format!(
            "invalid value {:?} for --tail: use a number or all",
            args.tail
        )));
    }
    let path = format!(
        "/v1/containers/{}/logs?follow={}&tail={}&timestamps={}",
        Part(&args.container),
        args.follow,
        args.tail,
        args.timestamps
    );
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
        Frame::Exit(_) => {}
    }
    Ok(())
}

/// A container's code, as the shell can see it.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

fn watch_signals() -> Result<Vec<(Signal, &'static str)>, Exit> {
    PROXIED
        .iter()
        .map(|(kind, name)| {
            let stream =
                signal(*kind).map_err(|e| Exit::at_run(format!("cannot watch signals: {e}")))?;
            Ok((stream, *name))
        })
        .collect()
}

async fn arrival<'a>(signal: &mut Signal, name: &'a str) -> &'a str {
    match signal.recv().await {
        Some(()) => name,
        None => std::future::pending().await,
    }
}

async fn first_of<'a>(
    mut waiting: Vec<std::pin::Pin<Box<impl Future<Output = &'a str>>>>,
) -> &'a str {
    std::future::poll_fn(|context| {
        for one in &mut waiting {
            if let std::task::Poll::Ready(name) = one.as_mut().poll(context) {
                return std::task::Poll::Ready(name);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
