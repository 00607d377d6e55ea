//! The results as files: JSON for programs, a chart for people.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::Local;
use crate::bench::first::First;
use crate::bench::record::{columns_json, requirements_json, rounded, write_files};
use crate::bench::rounds::Plan;
use crate::bench::summary::Summary;
use crate::bench::verdict::Requirement;
use crate::bench::{chart, machine};

const TITLE: &str = "Rate of a process of the host, direct path = 1 (median of paired windows)";

/// What is measured besides.
const PACKAGES: [&str; 2] = ["docker.io", "iptables"];

/// Writes `local.json` and `local.svg` below `docs/benchmarks`.
pub(crate) fn write(plan: &Plan, found: &Local, requirements: &[Requirement]) -> Result<()> {
    let described = describe(plan, found, requirements)?;
    let text = serde_json::to_string_pretty(&described)? + "\n";
    let panels: Vec<(&str, &Summary)> =
        found.paths.iter().map(|(path, summary)| (path.name(), summary)).collect();
    write_files([("local.json", text), ("local.svg", chart::draw(TITLE, &panels))])
}

fn describe(plan: &Plan, found: &Local, requirements: &[Requirement]) -> Result<Value> {
    let paths: Map<String, Value> = found
        .paths
        .iter()
        .map(|(path, summary)| (path.name().to_owned(), columns_json(summary)))
        .collect();
    Ok(json!({
        "machine": machine::describe(&PACKAGES)?,
        "rounds": plan.rounds,
        "busy_processors_before": rounded(found.other_work),
        "window_seconds": plan.window.as_secs_f64(),
        "paths": paths,
        "first_packet": found.first.iter().map(First::json).collect::<Vec<_>>(),
        "requirements": requirements_json(requirements),
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::column::Column;
    use crate::bench::local::way::Path;
    use crate::bench::summary::tests::summary;

    #[test]
    fn every_path_is_written() {
        let figures = summary(&[(Column::Rr1, "direct", 1.0), (Column::Rr1, "ours", 0.99)]);
        let paths = vec![(Path::Loopback6, figures)];
        let plan = Plan { columns: vec![Column::Rr1], rounds: 8, window: Duration::from_secs(1) };
        let written = describe(&plan, &Local { paths, ..Local::default() }, &[]).unwrap();
        let ratio = written.pointer("/paths/::1/rr64x1/figures/ours/ratio/median");
        assert_eq!(ratio, Some(&json!(0.99)));
    }
}
