//! The verbs that change and explain what is published while it runs.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Wharf;
use crate::process::Output;
use crate::wait;

/// Longer than any event takes that is not lost.
const EVENT_LIMIT: Duration = Duration::from_secs(10);

/// The daemon's events, followed until this is dropped.
#[derive(Debug)]
pub struct Events {
    stream: UnixStream,
    seen: Arc<Mutex<Vec<Value>>>,
}

// === impl Wharf ===

impl Wharf {
    /// `wharf publish target specs… flags…`, which must succeed; returns what it says.
    ///
    /// # Panics
    /// As [`Wharf::ok`].
    pub fn publish(&self, target: &str, specs: &[&str], flags: &[&str]) -> String {
        self.ok(publish_line(target, specs, flags))
    }

    /// `wharf publish target specs… flags…`, which must fail; returns what it left.
    ///
    /// # Panics
    /// As [`Wharf::fails`].
    pub fn publish_fails(&self, target: &str, specs: &[&str], flags: &[&str]) -> Output {
        self.fails(publish_line(target, specs, flags))
    }

    /// `wharf unpublish target what…` (specs, `--all`, `--drain`), which must succeed; returns
    /// what it says.
    ///
    /// # Panics
    /// As [`Wharf::ok`].
    pub fn unpublish(&self, target: &str, what: &[&str]) -> String {
        self.ok([&["unpublish", target], what].concat())
    }

    /// The publications, as `wharf ports` lists them.
    ///
    /// # Panics
    /// As [`Wharf::json`].
    pub fn ports(&self) -> Vec<Value> {
        match self.json(["ports"]) {
            Value::Array(all) => all,
            other => self.give_up(&["ports"], &format!("not a list: {other}")),
        }
    }

    /// The publications whose host ports are `ports` (`8080`, `8000-8010`).
    ///
    /// # Panics
    /// As [`Wharf::json`].
    pub fn ports_at(&self, ports: &str) -> Vec<Value> {
        let all = self.ports().into_iter();
        all.filter(|it| it.pointer("/host/ports").and_then(Value::as_str) == Some(ports)).collect()
    }

    /// `wharf explain port`, with `--from` when there is somewhere to come from: the exit code, and
    /// what it found.
    ///
    /// # Panics
    /// When it says something that is not JSON.
    pub fn explain(&self, port: &str, from: Option<&str>) -> (i32, Value) {
        let mut line = vec!["explain", port];
        line.extend(from.into_iter().flat_map(|from| ["--from", from]));
        self.judged(line)
    }

    /// `wharf doctor`: the exit code, and what it found.
    ///
    /// # Panics
    /// When it says something that is not JSON.
    pub fn doctor(&self) -> (i32, Value) {
        self.judged(vec!["doctor"])
    }

    /// Makes the file that `container` waits for. The command that makes it may not live to tell: the
    /// container may end as soon as it is there, and what runs in it with it.
    ///
    /// # Panics
    /// When the program cannot be run.
    #[track_caller]
    pub fn lets_go(&self, container: &str, file: &str) {
        let line = ["exec", container, "touch", file];
        if let Err(error) = self.run(line) {
            self.give_up(&line, &format!("{error:#}"));
        }
    }

    /// Follows the events from now on; none that happens later is missed.
    ///
    /// # Errors
    /// When there is no daemon, or none that answers within ten seconds.
    pub fn events(&self) -> Result<Events> {
        Events::follow(&self.run_dir().join("wharf.sock")).context("follow the events")
    }

    /// A verb that prints its finding as JSON, whatever its exit code says of it.
    fn judged(&self, mut line: Vec<&str>) -> (i32, Value) {
        line.extend(["--format", "json"]);
        let output = match self.run(&line) {
            Ok(output) => output,
            Err(error) => self.give_up(&line, &format!("{error:#}")),
        };
        match serde_json::from_str(&output.stdout) {
            Ok(found) => (output.code(), found),
            Err(error) => self.give_up(&line, &format!("{error}: {output:?}")),
        }
    }
}

fn publish_line<'a>(target: &'a str, specs: &[&'a str], flags: &[&'a str]) -> Vec<&'a str> {
    [&["publish"], flags, &[target], specs].concat()
}

/// Reads until the header of the answer has ended.
fn take_head(answer: &mut impl BufRead) -> Result<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(answer.read_line(&mut head)? > 0, "the answer was cut off: {head:?}");
    }
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(())
}

/// Keeps each event of a stream of server-sent events until that ends.
fn keep(answer: impl BufRead, seen: &Mutex<Vec<Value>>) {
    for line in answer.lines().map_while(Result::ok) {
        let Some(text) = line.strip_prefix("data: ") else { continue };
        let event = serde_json::from_str::<Value>(text).ok();
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(event);
    }
}

// === impl Events ===

impl Events {
    fn follow(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(EVENT_LIMIT))?;
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: wharf\r\n\r\n")?;
        let mut answer = BufReader::new(stream.try_clone()?);
        // The daemon subscribes us before it answers.
        take_head(&mut answer)?;
        stream.set_read_timeout(None)?;
        let seen = Arc::<Mutex<Vec<Value>>>::default();
        let sink = Arc::clone(&seen);
        // Not joined: it ends with the connection.
        let _reader: JoinHandle<()> = std::thread::spawn(move || keep(answer, &sink));
        Ok(Self { stream, seen })
    }

    /// The events until now, in their order.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The events of `kind` and `action` until now.
    pub fn of(&self, kind: &str, action: &str) -> Vec<Value> {
        let is = |event: &Value, key: &str, wanted| {
            event.get(key).and_then(Value::as_str) == Some(wanted)
        };
        let all = self.seen().into_iter();
        all.filter(|event| is(event, "kind", kind) && is(event, "action", action)).collect()
    }

    /// Waits until there are `count` events of `kind` and `action`; returns them.
    ///
    /// # Errors
    /// When they do not come within ten seconds; the error holds those that came.
    pub fn wait_for(&self, kind: &str, action: &str, count: usize) -> Result<Vec<Value>> {
        let what = format!("{count} events {kind} {action}");
        let found = wait::until(EVENT_LIMIT, &what, || {
            Some(self.of(kind, action)).filter(|found| found.len() >= count)
        });
        found.with_context(|| format!("{:#?}", self.seen()))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The daemon may have closed it.
        let _closed = self.stream.shutdown(Shutdown::Both);
    }
}
