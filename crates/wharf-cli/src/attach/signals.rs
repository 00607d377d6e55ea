//! Signals that reach an attached verb.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use wharf_api::client::Part;

use crate::connect::Session;
use crate::failure::{Exit, Outcome};

/// Signals that reach an attached `wharf run` are meant for the container, as with Docker.
const WATCHED: [(SignalKind, &str); 6] = [
    (SignalKind::interrupt(), "INT"),
    (SignalKind::terminate(), "TERM"),
    (SignalKind::hangup(), "HUP"),
    (SignalKind::quit(), "QUIT"),
    (SignalKind::user_defined1(), "USR1"),
    (SignalKind::user_defined2(), "USR2"),
];
/// A program may ignore the signals that are passed on; this many show that somebody wants out.
const FORCED_END: u32 = 3;

/// What is done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// They are passed on.
    Proxy,
    /// They end the verb, which leaves the terminal as it was.
    Leave,
    /// What they do to any program.
    Default,
}

/// The signals, from the moment they are watched.
pub(super) struct Signals {
    on_signal: OnSignal,
    watched: Vec<(Signal, SignalKind, &'static str)>,
    interrupts: u32,
}

// === impl Signals ===

impl Signals {
    pub(super) fn watch(on_signal: OnSignal) -> Result<Self, Exit> {
        let mut watched = Vec::new();
        for (kind, name) in WATCHED.iter().filter(|_| on_signal != OnSignal::Default) {
            let stream =
                signal(*kind).map_err(|e| Exit::at_run(format!("cannot watch signals: {e}")))?;
            watched.push((stream, *kind, *name));
        }
        Ok(Self { on_signal, watched, interrupts: 0 })
    }

    /// Does with each what is to be done; gives how the verb ends if one ends it.
    pub(super) async fn obey(&mut self, session: &Session, container: &str) -> Outcome {
        loop {
            let (kind, name) = self.next().await;
            if self.on_signal == OnSignal::Leave {
                let code = u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX);
                return Ok(ExitCode::from(code));
            }
            self.interrupts += u32::from(matches!(name, "INT" | "TERM"));
            if self.interrupts >= FORCED_END {
                return Err(Exit::at_run(format!(
                    "interrupted {FORCED_END} times: leaving; the container goes on, end it with `wharf kill {container}`"
                )));
            }
            let path = format!("/v1/containers/{}/kill?signal={name}", Part(container));
            // The container may have ended in the meantime; then there is nobody to tell.
            let _told: Result<serde_json::Value, _> = session.post(&path, &()).await;
        }
    }

    async fn next(&mut self) -> (SignalKind, &'static str) {
        std::future::poll_fn(|context| {
            for (stream, kind, name) in &mut self.watched {
                if let std::task::Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return std::task::Poll::Ready((*kind, *name));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
