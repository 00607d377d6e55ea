//! The inside of a container, for tests that make sockets there.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use wharf_host::netns::Netns;

use super::Wharf;
use crate::host::Host;
use crate::snapshot::sockets;
use crate::wait;

/// Longer than a small program takes to begin on a machine that is busy.
const SERVING_LIMIT: Duration = Duration::from_secs(10);

// === impl Wharf ===

impl Wharf {
    /// What `wharf inspect` says of one container.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn inspect(&self, name: &str) -> Value {
        let text = self.ok(["inspect", name]);
        let mut found: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        found.pop().unwrap_or_else(|| self.give_up(&["inspect", name], &text))
    }

    /// One of the settings of the first network of a container as `wharf inspect` has them
    /// (`IPAddress`, `Gateway`, `GlobalIPv6Address`, …), empty when there is none.
    ///
    /// # Panics
    /// As [`Wharf::inspect`].
    pub fn network_setting(&self, container: &str, field: &str) -> String {
        let inspected = self.inspect(container);
        let networks = inspected.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
        let first = networks.and_then(|all| all.values().next());
        let found = first.and_then(|network| network.get(field)).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    }

    /// The line of `wharf ps -a` for the container `name`, if there is one.
    ///
    /// # Panics
    /// When the program does not answer.
    pub fn listed(&self, name: &str) -> Option<Value> {
        let all = self.json(["ps", "-a"]);
        let is_it = |line: &&Value| line.get("name").and_then(Value::as_str) == Some(name);
        all.as_array()?.iter().find(is_it).cloned()
    }

    /// The state of the container `name` as `wharf ps -a` has it, if there is one.
    ///
    /// # Panics
    /// As [`Wharf::listed`].
    pub fn state(&self, name: &str) -> Option<String> {
        Some(self.listed(name)?.get("state")?.as_str()?.to_owned())
    }

    /// The network namespace of the running container `name`, as a host to make sockets on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn container(&self, name: &str) -> Result<Host> {
        let inspected = self.inspect(name);
        let pid = inspected.pointer("/State/Pid").and_then(Value::as_u64).unwrap_or_default();
        let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0);
        let pid = pid.with_context(|| format!("container {name} has no process"))?;
        Ok(self.host().with_inside(name, Netns::of_process(pid)?))
    }

    /// As [`Wharf::container`], once it listens on `port` over both TCP and UDP: a program needs
    /// a moment from its start until it does.
    ///
    /// # Errors
    /// When it does not run, or does not listen in time.
    pub fn serving(&self, name: &str, port: u16) -> Result<Host> {
        let inside = self.container(name)?;
        let end = format!(":{port:04X}");
        wait::until(SERVING_LIMIT, "a container that listens", || {
            let sockets = inside.run(sockets).ok()?;
            let listens =
                |proto| sockets.iter().any(|it| it.starts_with(proto) && it.ends_with(&end));
            (listens("tcp") && listens("udp")).then_some(())
        })?;
        Ok(inside)
    }
}
