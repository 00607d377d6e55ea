//! The results as text.

use super::Found;
use super::change::{Beside, Change};
use super::many::{Case, Many};
use crate::bench::first;
use crate::bench::table::{nothing, short, wide_line as line};
use crate::bench::times::Times;

/// Prints everything that was measured.
pub(crate) fn print(found: &Found) {
    if !found.changes.is_empty() {
        changes(&found.changes);
    }
    for case in [Case::Scattered, Case::Range] {
        let rows: Vec<&Many> = found.many.iter().filter(|many| many.case == case).collect();
        if !rows.is_empty() {
            many(case, &rows);
        }
    }
    if !found.first.is_empty() {
        first::print("another host", &found.first);
    }
}

fn changes(all: &[Change]) {
    println!("\none port on a running container, ms\n");
    line("", &["median", "99 %", "longest", "calls"].map(str::to_owned));
    for change in all {
        for (name, times) in change.series() {
            line(&format!("{name}, beside {}", change.others), &tail(times));
        }
    }
    println!("\na flow beside it, 64 bytes there and back every 2 ms, ms\n");
    line("", &["median", "99 %", "longest", "gap"].map(str::to_owned));
    for change in all {
        for Beside { plane, changing, quiet } in &change.flows {
            for (what, seen) in [("changes", changing), ("quiet", quiet)] {
                let mut cells = tail(&seen.times);
                if let Some(last) = cells.last_mut() {
                    *last = short(seen.gap);
                }
                line(&format!("{plane}, beside {}, {what}", change.others), &cells);
            }
        }
    }
}

fn tail(times: &Times) -> [String; 4] {
    let tail = times.tail();
    [short(tail.p50), short(tail.p99), short(tail.longest), tail.count.to_string()]
}

fn many(case: Case, rows: &[&Many]) {
    println!("\n{}, s (median); memory for each port, KiB: user + kernel\n", case.name());
    let heads = ["publish", "unpublish", "both", "without ports", "rounds", "memory"];
    line("", &heads.map(str::to_owned));
    for many in rows {
        let seconds = |seconds: f64| format!("{seconds:.3}");
        let memory = many.memory.map_or_else(nothing, |memory| {
            format!("{} + {}", short(memory.user / 1024.0), short(memory.kernel / 1024.0))
        });
        let cells = [
            seconds(many.publish()),
            seconds(many.unpublish()),
            seconds(many.both()),
            many.bare().map_or_else(nothing, seconds),
            many.times().to_string(),
            memory,
        ];
        line(&format!("{} ({} ports)", many.kind.name(), many.ports), &cells);
    }
}
