//! The results as text.

use super::Found;
use super::change::{Beside, Change};
use super::first::First;
use super::many::{Case, Many};
use super::times::Times;
use crate::bench::table::short;

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
        first(&found.first);
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

fn first(all: &[First]) {
    println!("\nfirst packet from another host, µs\n");
    let heads = ["connected", "99 %", "answer", "99 %", "to one port", "by the daemon"];
    line("", &heads.map(str::to_owned));
    for first in all {
        let (connect, answer) = (first.connect.tail(), first.answer.tail());
        let microseconds = |milliseconds: f64| format!("{:.0}", milliseconds * 1e3);
        let cells = [
            microseconds(connect.p50),
            microseconds(connect.p99),
            microseconds(answer.p50),
            microseconds(answer.p99),
            first.ratio.map_or_else(nothing, |ratio| format!("{:.2}", ratio.median)),
            first.by_daemon.to_string(),
        ];
        line(&first.case.name(), &cells);
    }
}

fn line(head: &str, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>15}")).collect();
    println!("{head:<32}{}", cells.join(""));
}

fn nothing() -> String {
    "–".to_owned()
}
