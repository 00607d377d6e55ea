//! What a run has found, as a table, as requirements, and as a file.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Act, Found, Shown};
use crate::bench::engine::Kind;
use crate::bench::machine;
use crate::bench::record::{requirements_json, rounded, write_files};
use crate::bench::statistics::median;
use crate::bench::table::{nothing, short, wide_line as line};
use crate::bench::verdict::{self, Requirement};

/// Bytes that the process beside a container may take at most.
const HOLDER: f64 = 4.0 * 1024.0 * 1024.0;
const PACKAGES: [&str; 5] = ["docker.io", "containerd", "runc", "podman", "conmon"];

// === impl Shown ===

impl Shown {
    /// The median of an act, in milliseconds.
    fn time(&self, act: usize) -> Option<f64> {
        median(self.times.iter().filter_map(|row| row.get(act)).map(|it| it.as_secs_f64() * 1e3))
    }

    /// How many times as long another takes: the median over the rounds.
    fn times_of(&self, other: &Self, act: usize) -> Option<f64> {
        let pairs = self.times.iter().zip(&other.times);
        median(pairs.filter_map(|(own, others)| {
            Some(others.get(act)?.as_secs_f64() / own.get(act)?.as_secs_f64())
        }))
    }
}

/// Prints everything that was measured, and what is required.
pub(super) fn print(found: &Found) {
    println!("\na container with a cached image, ms (median)\n");
    let heads = Act::ALL.map(|act| act.name().to_owned());
    line("", &heads);
    for shown in &found.shown {
        let cells = (0..heads.len()).map(|act| shown.time(act).map_or_else(nothing, short));
        line(shown.kind.name(), &cells.collect::<Vec<_>>());
    }
    println!("\nmemory for each container that runs, KiB\n");
    line("", &["user", "kernel", "holder RSS"].map(str::to_owned));
    for shown in &found.shown {
        let memory = |pick: fn(&crate::bench::memory::Memory) -> f64| {
            shown.memory.as_ref().map_or_else(nothing, |memory| short(pick(memory) / 1024.0))
        };
        let holder = shown.holder.map_or_else(nothing, |bytes| short(bytes / 1024.0));
        line(shown.kind.name(), &[memory(|it| it.user), memory(|it| it.kernel), holder]);
    }
    verdict::print(&judge(found));
}

fn judge(found: &Found) -> Vec<Requirement> {
    let Some(ours) = found.shown.iter().find(|shown| shown.kind == Kind::Ours) else {
        return Vec::new();
    };
    let peers = found.shown.iter().filter(|shown| shown.kind != Kind::Ours);
    let mut judged: Vec<Requirement> = peers
        .flat_map(|peer| {
            let starts = Act::ALL.iter().enumerate().filter(|(_, act)| act.starts());
            starts.filter_map(|(index, act)| {
                let times = ours.times_of(peer, index)?;
                let (act, name) = (act.name(), peer.kind.name());
                let text = format!("{act}: {name} takes {times:.2} times as long, at least 1");
                Some(Requirement { text, met: times >= 1.0 })
            })
        })
        .collect();
    judged.extend(ours.holder.map(|bytes| Requirement {
        text: format!("a shim has {:.0} KiB of memory, less than 4096", bytes / 1024.0),
        met: bytes < HOLDER,
    }));
    judged
}

// === impl Act ===

impl Act {
    fn starts(self) -> bool {
        matches!(self, Self::Detached | Self::Attached)
    }
}

/// Writes `run.json` below `docs/benchmarks`.
pub(super) fn write(found: &Found) -> Result<()> {
    let text = serde_json::to_string_pretty(&describe(found)?)? + "\n";
    write_files([("run.json", text)])
}

fn describe(found: &Found) -> Result<Value> {
    let engines: Map<String, Value> =
        found.shown.iter().map(|it| (it.kind.name().to_owned(), engine_json(it))).collect();
    Ok(json!({
        "machine": machine::describe(&PACKAGES)?,
        "rounds": found.rounds,
        "busy_processors_before": rounded(found.other_work),
        "engines": engines,
        "requirements": requirements_json(&judge(found)),
    }))
}

fn engine_json(shown: &Shown) -> Value {
    let times: Map<String, Value> = Act::ALL
        .iter()
        .enumerate()
        .filter_map(|(index, act)| {
            Some((act.name().to_owned(), rounded(shown.time(index)?).into()))
        })
        .collect();
    json!({
        "median_ms": times,
        "user_bytes_per_container": shown.memory.map(|memory| memory.user.round()),
        "kernel_bytes_per_container": shown.memory.map(|memory| memory.kernel.round()),
        "holder_resident_bytes": shown.holder.map(f64::round),
    })
}
