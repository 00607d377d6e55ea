//! The machine a result belongs to.

use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::steps::read;

/// Processor, memory, kernel, and the versions of the `packages` that were measured.
pub(crate) fn describe(packages: &[&str]) -> Result<Value> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let packages: serde_json::Map<String, Value> =
        packages.iter().map(|package| ((*package).to_owned(), version(package).into())).collect();
    Ok(json!({
        "processor": field(&cpu, "model name"),
        "processors": std::thread::available_parallelism()?.get(),
        "memory": field(&memory, "MemTotal"),
        "kernel": kernel.trim(),
        "system": system(),
        "packages": packages,
        "wharf": env!("CARGO_PKG_VERSION"),
    }))
}

fn version(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    read(query.args(["--show", "--showformat=${Version}", package])).ok()
}

fn system() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_trimmed() {
        let text = "processor\t: 0\nmodel name\t: A CPU\nmodel name\t: another\n";
        assert_eq!(field(text, "model name"), Some("A CPU"));
        assert_eq!(field(text, "flags"), None);
    }
}
