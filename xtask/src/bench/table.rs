//! The results as text.

use super::column::Column;
use super::rounds::{Sample, Samples};
use super::statistics::{Spread, median};

/// One line for each column: the ratio and the rate of every contender.
pub(crate) fn print(columns: &[Column], baseline: &str, names: &[String], samples: &Samples) {
    println!("\nrates (median), and their ratio to {baseline} (median of paired ratios)\n");
    line("", [baseline].into_iter().chain(names.iter().map(String::as_str)).map(str::to_owned));
    for column in columns {
        let of = |name: &str| samples.get(&(*column, name.to_owned())).map(Vec::as_slice);
        let base = of(baseline).map(rate).unwrap_or_default();
        let others = names.iter().map(|name| of(name).map(figure).unwrap_or_else(nothing));
        line(&column.name(), std::iter::once(base).chain(others));
    }
}

fn line(head: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.map(|cell| format!("{cell:>16}")).collect();
    println!("{head:<14}{}", cells.join(""));
}

fn nothing() -> String {
    "–".to_owned()
}

fn rate(samples: &[Sample]) -> String {
    median(samples.iter().map(|it| it.window.rate)).map_or_else(nothing, short)
}

fn figure(samples: &[Sample]) -> String {
    let ratio = median(samples.iter().filter_map(|it| it.ratio));
    let ratio = ratio.map_or_else(nothing, |ratio| format!("{ratio:.2}"));
    format!("{ratio} ({})", rate(samples))
}

/// Three digits are as much as a benchmark knows.
pub(crate) fn short(number: f64) -> String {
    match number {
        big if big >= 1000.0 => format!("{:.1}k", big / 1000.0),
        big if big >= 100.0 => format!("{big:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    }
}

/// What else was seen in the windows of each column: times, losses, processor time.
pub(crate) fn print_details(columns: &[Column], names: &[String], samples: &Samples) {
    let detail = |title: &str, wanted: &[Column], pick: &dyn Fn(&Sample) -> Option<f64>| {
        if wanted.is_empty() {
            return;
        }
        println!("\n{title}\n");
        line("", names.iter().cloned());
        for column in wanted {
            let cell = |name: &String| {
                let found = samples.get(&(*column, name.clone()))?;
                median(found.iter().filter_map(pick)).map(short)
            };
            line(&column.name(), names.iter().map(|name| cell(name).unwrap_or_else(nothing)));
        }
    };
    let chosen = |keep: &dyn Fn(&Column) -> bool| -> Vec<Column> {
        columns.iter().copied().filter(|column| keep(column)).collect()
    };
    let timed = chosen(&|column| !column.unit().starts_with("Gbit"));
    detail("median time, µs", &timed, &|sample| sample.window.p50_us);
    detail("99th percentile, µs", &timed, &|sample| sample.window.p99_us);
    let lossy = chosen(&|column| column.is_udp());
    detail("datagrams lost, %", &lossy, &|sample| sample.window.loss.map(|loss| loss * 100.0));
    let bulk = chosen(&|column| column.is_bulk());
    detail("processor time of the whole machine, s/GB", &bulk, &|sample| {
        sample.window.cpu_per_gigabyte()
    });
}

/// The spread of the ratios, for a comparison of two builds.
pub(crate) fn print_spread(columns: &[Column], name: &str, samples: &Samples) {
    println!("\nratio of {name} to the release build: median, and the middle half of the pairs\n");
    for column in columns {
        let Some(found) = samples.get(&(*column, name.to_owned())) else { continue };
        let ratios = Spread::of(found.iter().filter_map(|it| it.ratio));
        let costs = Spread::of(found.iter().filter_map(|it| it.cpu_ratio));
        let text = |spread: Spread| {
            format!("{:.3}  ({:.3} to {:.3})", spread.median, spread.low, spread.high)
        };
        let cost = costs.map(|it| format!("   CPU/GB {}", text(it))).unwrap_or_default();
        println!("{:<14}{}{cost}", column.name(), ratios.map_or_else(nothing, text));
    }
}
