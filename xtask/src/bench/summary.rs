//! What is left of many samples: one figure for each column and contender.

use std::collections::BTreeMap;

use super::column::Column;
use super::rounds::{Sample, Samples};
use super::statistics::{Spread, median};

/// The medians of one contender in one column.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figure {
    /// In the column's unit.
    pub(crate) rate: Option<f64>,
    /// To the baseline, over all pairs.
    pub(crate) ratio: Option<Spread>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// The share of datagrams that was lost.
    pub(crate) loss: Option<f64>,
    /// Seconds of processor time of the whole machine.
    pub(crate) cpu_per_gigabyte: Option<f64>,
    /// The same, to the baseline.
    pub(crate) cpu_ratio: Option<Spread>,
}

/// All figures of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    pub(crate) columns: Vec<Column>,
    /// The first is the baseline.
    pub(crate) names: Vec<String>,
    figures: BTreeMap<(Column, String), Figure>,
}

// === impl Summary ===

impl Summary {
    /// Reduces all samples.
    pub(crate) fn new(columns: Vec<Column>, names: Vec<String>, samples: &Samples) -> Self {
        let figures =
            samples.iter().map(|(key, samples)| (key.clone(), Figure::of(samples))).collect();
        Self { columns, names, figures }
    }

    /// The name of the baseline.
    pub(crate) fn baseline(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// The names of all but the baseline.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        self.names.iter().skip(1).map(String::as_str)
    }

    /// The figure of `name` in `column`; `None` where it was not measured.
    pub(crate) fn figure(&self, column: Column, name: &str) -> Option<&Figure> {
        self.figures.get(&(column, name.to_owned()))
    }

    /// The median ratio of `name` in `column`.
    pub(crate) fn ratio(&self, column: Column, name: &str) -> Option<f64> {
        Some(self.figure(column, name)?.ratio?.median)
    }
}

// === impl Figure ===

impl Figure {
    fn of(samples: &[Sample]) -> Self {
        let windows = || samples.iter().map(|sample| &sample.window);
        Self {
            rate: median(windows().map(|it| it.rate)),
            ratio: Spread::of(samples.iter().filter_map(|it| it.ratio)),
            p50_us: median(windows().filter_map(|it| it.p50_us)),
            p99_us: median(windows().filter_map(|it| it.p99_us)),
            loss: median(windows().filter_map(|it| it.loss)),
            cpu_per_gigabyte: median(windows().filter_map(|it| it.cpu_per_gigabyte())),
            cpu_ratio: Spread::of(samples.iter().filter_map(|it| it.cpu_ratio)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::agent::Window;

    /// A summary in which everybody has this rate and ratio in these columns.
    pub(crate) fn summary(figures: &[(Column, &str, f64)]) -> Summary {
        let mut samples = Samples::new();
        for (column, name, ratio) in figures {
            let window = Window {
                rate: 10.0 * ratio,
                bytes: 1_000_000_000,
                cpu_seconds: 1.0 / ratio,
                loss: column.is_udp().then_some(1.0 - ratio),
                ..Window::default()
            };
            let sample = Sample { window, ratio: Some(*ratio), cpu_ratio: Some(1.0 / ratio) };
            samples.entry((*column, (*name).to_owned())).or_default().push(sample);
        }
        let mut columns: Vec<Column> = figures.iter().map(|it| it.0).collect();
        columns.dedup();
        let mut names: Vec<String> = Vec::new();
        for (_, name, _) in figures {
            if !names.iter().any(|known| known == name) {
                names.push((*name).to_owned());
            }
        }
        Summary::new(columns, names, &samples)
    }

    #[test]
    fn figures_are_found_by_column_and_name() {
        let summary = summary(&[(Column::Rr1, "direct", 1.0), (Column::Rr1, "ours", 0.9)]);
        assert_eq!(summary.ratio(Column::Rr1, "ours"), Some(0.9));
        assert_eq!(summary.ratio(Column::Rr1, "nobody"), None);
        assert_eq!(summary.others().collect::<Vec<_>>(), ["ours"]);
    }
}
