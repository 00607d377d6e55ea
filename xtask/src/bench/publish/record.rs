//! The results as files: JSON for programs, a chart for people.

use anyhow::Result;
use serde_json::{Value, json};

use super::change::{Beside, Change, Seen};
use super::many::Many;
use super::{Found, chart};
use crate::bench::first::First;
use crate::bench::machine;
use crate::bench::memory::Memory;
use crate::bench::record::{requirements_json, rounded, write_files};
use crate::bench::verdict::Requirement;

/// Writes `publish.json` and `publish.svg` below `docs/benchmarks`.
pub(crate) fn write(found: &Found, requirements: &[Requirement]) -> Result<()> {
    let text = serde_json::to_string_pretty(&describe(found, requirements)?)? + "\n";
    write_files([("publish.json", text), ("publish.svg", chart::draw(&found.many))])
}

fn describe(found: &Found, requirements: &[Requirement]) -> Result<Value> {
    Ok(json!({
        "machine": machine::describe(&PACKAGES)?,
        "rounds": found.rounds,
        "busy_processors_before": rounded(found.other_work),
        "one_port": found.changes.iter().map(change_json).collect::<Vec<_>>(),
        "many_ports": found.many.iter().map(many_json).collect::<Vec<_>>(),
        "first_packet": found.first.iter().map(First::json).collect::<Vec<_>>(),
        "requirements": requirements_json(requirements),
    }))
}

/// What is measured besides, and what it takes along.
const PACKAGES: [&str; 6] = ["docker.io", "containerd", "runc", "podman", "netavark", "iptables"];

fn change_json(change: &Change) -> Value {
    let calls: serde_json::Map<String, Value> = change
        .series()
        .into_iter()
        .map(|(name, times)| (name.to_owned(), times.tail().json("ms")))
        .collect();
    let flows: Vec<Value> = change.flows.iter().map(flow_json).collect();
    json!({ "other_ports": change.others, "calls": calls, "flows_beside": flows })
}

fn flow_json(Beside { plane, changing, quiet }: &Beside) -> Value {
    let seen = |seen: &Seen| {
        let mut value = seen.times.tail().json("ms");
        if let Value::Object(fields) = &mut value {
            fields.insert("longest_gap_ms".to_owned(), rounded(seen.gap).into());
        }
        value
    };
    json!({ "plane": plane, "while_ports_change": seen(changing), "while_nothing_does": seen(quiet) })
}

fn many_json(many: &Many) -> Value {
    let memory =
        |Memory { user, kernel }: Memory| json!({ "user": user.round(), "kernel": kernel.round() });
    json!({
        "case": many.case.name(),
        "who": many.kind.name(),
        "ports": many.ports,
        "rounds": many.times(),
        "publish_s": rounded(many.publish()),
        "unpublish_s": rounded(many.unpublish()),
        "both_s": rounded(many.both()),
        "without_ports_s": many.bare().map(rounded),
        "port_bytes": many.memory.map(memory),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::engine::Kind;
    use crate::bench::publish::many::Case;

    #[test]
    fn everything_found_is_written() {
        let mut change = Change { others: 10, ..Change::default() };
        change.api.publish.extend(&[2.0; 100]);
        change.flows = vec![Beside { plane: "nft", ..Beside::default() }];
        let many = vec![Many::of(Case::Range, Kind::Docker, 3.0)];
        let found = Found { rounds: 8, changes: vec![change], many, ..Found::default() };
        let written = describe(&found, &[]).unwrap();
        let at = |pointer| written.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(at("/one_port/0/calls/publish, API/p99_ms"), json!(2.0));
        assert_eq!(at("/one_port/0/flows_beside/0/while_ports_change/longest_gap_ms"), json!(0.0));
        assert_eq!(at("/many_ports/0/both_s"), json!(3.0));
        assert_eq!(at("/rounds"), json!(8));
    }
}
