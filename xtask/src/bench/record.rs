//! The results as files: JSON for programs, a chart for people.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::chart;
use super::column::Column;
use super::costs::Costs;
use super::machine;
use super::memory::Memory;
use super::rounds::Plan;
use super::statistics::Spread;
use super::summary::{Figure, Summary};
use super::verdict::Requirement;
use crate::steps::root;

const TITLE: &str = "Rate through a proxy, direct path = 1 (median of paired windows)";

/// The packages whose programs are measured.
const PACKAGES: [&str; 5] = ["docker.io", "haproxy", "nginx-light", "libnginx-mod-stream", "socat"];

/// Everything a run has found.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) plan: &'a Plan,
    /// Processors that were busy with something else before.
    pub(crate) other_work: f64,
    pub(crate) summary: &'a Summary,
    /// Streams between ends that do not pace.
    pub(crate) unpaced: Option<&'a Summary>,
    pub(crate) costs: &'a [Costs],
    pub(crate) requirements: &'a [Requirement],
}

// === impl Record ===

impl Record<'_> {
    /// Writes `relay.json` and `relay.svg` below `docs/benchmarks`.
    pub(crate) fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.json()?)? + "\n";
        write_files([
            ("relay.json", text),
            ("relay.svg", chart::draw(TITLE, &[("", self.summary)])),
        ])
    }

    fn json(&self) -> Result<Value> {
        let costs: Map<String, Value> =
            self.costs.iter().map(|cost| (cost.name.clone(), cost_json(cost))).collect();
        Ok(json!({
            "machine": machine::describe(&PACKAGES)?,
            "rounds": self.plan.rounds,
            "busy_processors_before": rounded(self.other_work),
            "window_seconds": self.plan.window.as_secs_f64(),
            "columns": columns_json(self.summary),
            "columns_by_reno": self.unpaced.map(columns_json),
            "costs": costs,
            "requirements": requirements_json(self.requirements),
        }))
    }
}

/// All columns with everybody's figures.
pub(crate) fn columns_json(summary: &Summary) -> Value {
    let figures = |column: Column| -> Map<String, Value> {
        let named =
            |name: &String| Some((name.clone(), figure_json(summary.figure(column, name)?)));
        summary.names.iter().filter_map(named).collect()
    };
    let column = |column: &Column| {
        (column.name(), json!({ "unit": column.unit(), "figures": figures(*column) }))
    };
    Value::Object(summary.columns.iter().map(column).collect())
}

/// What was required, and whether it was met.
pub(crate) fn requirements_json(requirements: &[Requirement]) -> Vec<Value> {
    requirements.iter().map(|it| json!({ "text": it.text, "met": it.met })).collect()
}

/// Writes files below `docs/benchmarks`.
pub(crate) fn write_files<'a>(files: impl IntoIterator<Item = (&'a str, String)>) -> Result<()> {
    let directory = root().join("docs/benchmarks");
    fs::create_dir_all(&directory).context("make docs/benchmarks")?;
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn figure_json(figure: &Figure) -> Value {
    without_nulls(json!({
        "rate": figure.rate.map(rounded),
        "ratio": figure.ratio.map(spread_json),
        "p50_us": figure.p50_us.map(rounded),
        "p99_us": figure.p99_us.map(rounded),
        "loss": figure.loss.map(rounded),
        "cpu_seconds_per_gigabyte": figure.cpu_per_gigabyte.map(rounded),
        "cpu_ratio": figure.cpu_ratio.map(spread_json),
    }))
}

fn cost_json(cost: &Costs) -> Value {
    let milliseconds = |time: Duration| rounded(time.as_secs_f64() * 1e3);
    without_nulls(json!({
        "first_port_ms": milliseconds(cost.first_port),
        "each_port_ms": milliseconds(cost.each_port),
        "ports": cost.ports,
        "another_port_ms": cost.another_port.map(milliseconds),
        "port_bytes": memory_json(cost.port),
        "connection_bytes": memory_json(cost.connection),
    }))
}

fn memory_json(memory: Memory) -> Value {
    json!({ "user": memory.user.round(), "kernel": memory.kernel.round() })
}

pub(crate) fn spread_json(spread: Spread) -> Value {
    let Spread { median, low, high } = spread;
    json!({ "median": rounded(median), "quartiles": [rounded(low), rounded(high)] })
}

/// Four digits, so that files differ where results do.
pub(crate) fn rounded(number: f64) -> f64 {
    let digits = 10f64.powf(4.0 - number.abs().max(1e-9).log10().ceil());
    (number * digits).round() / digits
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_four_digits() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(rounded(0.123_456), 0.1235));
        assert!(close(rounded(12_345.6), 12_350.0));
        assert!(close(rounded(0.0), 0.0));
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let figure = Figure { rate: Some(1.0), ..Figure::default() };
        assert_eq!(figure_json(&figure), json!({ "rate": 1.0 }));
    }
}
