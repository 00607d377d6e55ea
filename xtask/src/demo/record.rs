//! What was there before the demonstration, so that it can be put back.
//!
//! The record lies in the state directory: it goes with what it tells about, and another clone of
//! the repository finds it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

const FILE: &str = "demo.json";

/// Parameters that Wharf may switch on.
const FORWARDING: [&str; 2] =
    ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    state: PathBuf,
    run: PathBuf,
    content: Value,
}

// === impl Record ===

impl Record {
    /// Looks at the machine before anything is added. What an earlier demonstration found, and
    /// nobody has taken away since, still counts.
    pub(crate) fn begin() -> Result<Self> {
        match Self::read()? {
            Some(earlier) => Ok(earlier),
            None => Ok(Self::observe(&directory("STATE"), &directory("RUN"))),
        }
    }

    /// The record of a demonstration that is up.
    pub(crate) fn read() -> Result<Option<Self>> {
        Self::read_from(&directory("STATE"), &directory("RUN"))
    }

    /// Notes the name of the container.
    pub(crate) fn name(&mut self, container: &str) {
        if let Some(content) = self.content.as_object_mut() {
            content.insert("container".to_owned(), json!(container));
        }
    }

    /// Keeps the record.
    pub(crate) fn write(&self) -> Result<()> {
        fs::create_dir_all(&self.state)
            .with_context(|| format!("make {}", self.state.display()))?;
        let path = self.state.join(FILE);
        fs::write(&path, self.content.to_string())
            .with_context(|| format!("write {}", path.display()))
    }

    /// Whether the whole of Wharf on this machine is the demonstration's.
    pub(crate) fn is_ours(&self) -> bool {
        self.content.get("state") == Some(&json!("absent"))
    }

    /// The name of the container.
    pub(crate) fn container(&self) -> &str {
        self.content.get("container").and_then(Value::as_str).unwrap_or(super::NAME)
    }

    /// Removes the record and leaves everything else.
    pub(crate) fn forget(&self) -> Result<()> {
        absent_is_fine(fs::remove_file(self.state.join(FILE)), &self.state)
    }

    /// Puts back what Wharf's own shutdown does not: directories that were not there, and
    /// forwarding that was off.
    pub(crate) fn restore(&self) -> Result<()> {
        self.forget()?;
        for (directory, key) in [(&self.state, "state"), (&self.run, "run")] {
            if self.content.get(key) == Some(&json!("absent")) {
                absent_is_fine(fs::remove_dir_all(directory), directory)?;
            } else {
                println!("{} was there before and stays", directory.display());
            }
        }
        for parameter in FORWARDING {
            let before = self.content.get(parameter).and_then(Value::as_str);
            if before == Some("0") && value(parameter).as_deref() == Some("1") {
                fs::write(parameter, "0").with_context(|| format!("set {parameter}"))?;
            }
        }
        Ok(())
    }

    fn observe(state: &Path, run: &Path) -> Self {
        let presence = |it: &Path| json!(if it.exists() { "present" } else { "absent" });
        let mut content = Map::new();
        content.insert("state".to_owned(), presence(state));
        content.insert("run".to_owned(), presence(run));
        for parameter in FORWARDING {
            content.insert(parameter.to_owned(), json!(value(parameter)));
        }
        Self { state: state.to_owned(), run: run.to_owned(), content: Value::Object(content) }
    }

    fn read_from(state: &Path, run: &Path) -> Result<Option<Self>> {
        let path = state.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("read {}", path.display()))?,
        };
        let content = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        Ok(Some(Self { state: state.to_owned(), run: run.to_owned(), content }))
    }
}

/// The directory the program itself would use.
fn directory(kind: &str) -> PathBuf {
    let set = std::env::var_os(format!("WHARF_{kind}_DIR")).filter(|value| !value.is_empty());
    let default = if kind == "RUN" { "/run/wharf" } else { "/var/lib/wharf" };
    set.map_or_else(|| PathBuf::from(default), PathBuf::from)
}

fn value(parameter: &str) -> Option<String> {
    Some(fs::read_to_string(parameter).ok()?.trim().to_owned())
}

fn absent_is_fine(outcome: std::io::Result<()>, place: &Path) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("remove {}", place.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_were_absent_go_and_others_stay() {
        let place = std::env::temp_dir().join(format!("xtask-record-{}", std::process::id()));
        let (state, run) = (place.join("state"), place.join("run"));
        fs::create_dir_all(&run).unwrap();
        let mut record = Record::observe(&state, &run);
        record.name("web7");
        record.write().unwrap();
        fs::write(state.join("ledger"), "x").unwrap();
        let record = Record::read_from(&state, &run).unwrap().unwrap();
        assert_eq!(record.container(), "web7");
        record.restore().unwrap();
        assert!(!state.exists() && run.exists());
        assert_eq!(Record::read_from(&state, &run).unwrap(), None);
        fs::remove_dir_all(&place).unwrap();
    }
}
