//! The verbs that change and explain what is published while it runs.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Wharf;
use crate::process::{Output, Process};
use crate::wait;

/// Longer than any event takes that is not lost.
const EVENT_LIMIT: Duration = Duration::from_secs(10);

/// From an open connection to a subscription is one message over a unix socket.
const SUBSCRIBED: Duration = Duration::from_millis(200);

/// `wharf events --format json`, followed until it is dropped.
#[derive(Debug)]
pub struct Events {
    process: Process,
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

    /// Follows the events from now on.
    ///
    /// # Errors
    /// When it does not connect to the daemon within ten seconds.
    pub fn events(&self) -> Result<Events> {
        let mut process = self.spawn(["events", "--format", "json"])?;
        let descriptors = format!("/proc/{}/fd", process.pid());
        wait::until(EVENT_LIMIT, "events that are followed", || {
            (has_socket(&descriptors) || !process.is_running()).then_some(())
        })?;
        std::thread::sleep(SUBSCRIBED);
        anyhow::ensure!(process.is_running(), "wharf events ended: {}", process.stderr());
        Ok(Events { process })
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

/// Whether one of the descriptors in this directory is a connected socket.
fn has_socket(descriptors: &str) -> bool {
    let all = fs::read_dir(descriptors).into_iter().flatten().flatten();
    let mut links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|it| it.to_string_lossy().starts_with("socket:"))
}

// === impl Events ===

impl Events {
    /// The events until now, in their order.
    pub fn seen(&self) -> Vec<Value> {
        let text = self.process.stdout();
        // The last line may not be whole yet.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
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
        found.with_context(|| self.process.stdout() + &self.process.stderr())
    }
}
