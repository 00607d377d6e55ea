//! The results as text.

use super::column::Column;
use super::costs::Costs;
use super::memory::Memory;
use super::statistics::Spread;
use super::summary::{Figure, Summary};

/// Prints rates and ratios, and what else was seen in the windows.
pub(crate) fn print(summary: &Summary) {
    rates(summary);
    let timed = |column: &Column| !column.unit().starts_with("Gbit");
    detail(summary, "median time, µs", timed, |figure| figure.p50_us);
    detail(summary, "99th percentile, µs", timed, |figure| figure.p99_us);
    let percent = |figure: &Figure| figure.loss.map(|loss| loss * 100.0);
    detail(summary, "datagrams lost, %", |column| column.is_udp(), percent);
    let title = "processor time of the whole machine, s/GB";
    detail(summary, title, |column| column.is_bulk(), |figure| figure.cpu_per_gigabyte);
}

fn rates(summary: &Summary) {
    let baseline = summary.baseline();
    println!("\nratio to {baseline} (median of paired ratios), and the median rate\n");
    line("", summary.names.iter().cloned());
    for column in &summary.columns {
        let cell = |name: &String| match summary.figure(*column, name) {
            Some(figure) => with_ratio(figure),
            None => nothing(),
        };
        line(&column.name(), summary.names.iter().map(cell));
    }
}

fn with_ratio(figure: &Figure) -> String {
    let rate = figure.rate.map_or_else(nothing, short);
    figure.ratio.map_or(rate.clone(), |ratio| format!("{:.2} ({rate})", ratio.median))
}

fn detail(
    summary: &Summary,
    title: &str,
    wanted: impl Fn(&Column) -> bool,
    pick: impl Fn(&Figure) -> Option<f64>,
) {
    let mut columns = summary.columns.iter().filter(|column| wanted(column)).peekable();
    if columns.peek().is_none() {
        return;
    }
    println!("\n{title}\n");
    line("", summary.names.iter().cloned());
    for column in columns {
        let cell = |name: &String| {
            summary.figure(*column, name).and_then(&pick).map_or_else(nothing, short)
        };
        line(&column.name(), summary.names.iter().map(cell));
    }
}

fn line(head: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.map(|cell| format!("{cell:>16}")).collect();
    println!("{head:<14}{}", cells.join(""));
}

/// A line of a table whose rows have long names.
pub(crate) fn wide_line(head: &str, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>15}")).collect();
    println!("{head:<32}{}", cells.join(""));
}

/// What stands where nothing was measured.
pub(crate) fn nothing() -> String {
    "–".to_owned()
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

/// Prints start times and memory.
pub(crate) fn print_costs(costs: &[Costs]) {
    if costs.is_empty() {
        return;
    }
    println!(
        "\nstart time of ports, ms; memory of ports and idle connections, KiB: user + kernel\n"
    );
    let heads = ["first port", "each of many", "one more", "per port", "per connection"];
    line("", heads.map(str::to_owned).into_iter());
    for cost in costs {
        let milliseconds = |time: std::time::Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        let cells = [
            milliseconds(cost.first_port),
            format!("{} ({})", milliseconds(cost.each_port), cost.ports),
            cost.another_port.map_or_else(nothing, milliseconds),
            kibibytes(cost.port),
            kibibytes(cost.connection),
        ];
        line(&cost.name, cells.into_iter());
    }
}

fn kibibytes(memory: Memory) -> String {
    format!("{:.1} + {:.1}", memory.user / 1024.0, memory.kernel / 1024.0)
}

/// Prints what the rest of the page is about.
pub(crate) fn print_heading(text: &str) {
    println!("\n# {text}");
}

/// Prints the spread of the ratios, for a comparison of two builds.
pub(crate) fn print_spread(summary: &Summary) {
    for name in summary.others() {
        println!(
            "\nratio of {name} to {}: median (middle half of the pairs)\n",
            summary.baseline()
        );
        for column in &summary.columns {
            let Some(figure) = summary.figure(*column, name) else { continue };
            let rate = figure.ratio.map_or_else(nothing, spread);
            let cost = figure.cpu_ratio.map(|it| format!("   CPU/GB {}", spread(it)));
            println!("{:<14}{rate}{}", column.name(), cost.unwrap_or_default());
        }
    }
}

fn spread(spread: Spread) -> String {
    format!("{:.3} ({:.3} to {:.3})", spread.median, spread.low, spread.high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.123, 12.34, 123.4, 12_345.6].map(short);
        assert_eq!(shown, ["0.12", "12.3", "123", "12.3k"]);
    }
}
