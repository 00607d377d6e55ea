//! Medians, and the ratio of a window to those beside it.

/// The middle and the spread of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// A quarter of the numbers are below.
    pub(crate) low: f64,
    /// A quarter of the numbers are above.
    pub(crate) high: f64,
}

// === impl Spread ===

impl Spread {
    /// `None` when there are no numbers.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().filter(|it| it.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 2)?,
            low: quantile(&sorted, 1)?,
            high: quantile(&sorted, 3)?,
        })
    }
}

/// The median of some numbers.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    Spread::of(numbers).map(|spread| spread.median)
}

/// The value below which `quarter` quarters of the sorted numbers are, between two of them where
/// it falls between.
fn quantile(sorted: &[f64], quarter: usize) -> Option<f64> {
    let quarters = sorted.len().checked_sub(1)? * quarter;
    let (below, part) = (quarters / 4, (quarters % 4) as f64 / 4.0);
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * part)
}

/// What `value` is of the mean of its two neighbours; `None` when they are nothing.
pub(crate) fn ratio(value: f64, before: f64, after: f64) -> Option<f64> {
    let mean = f64::midpoint(before, after);
    (mean > 0.0).then(|| value / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_lie_between_numbers() {
        let spread = Spread::of([5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!(spread, Spread { median: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(median([1.0, 2.0]), Some(1.5));
        assert_eq!(median([7.0, f64::NAN]), Some(7.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_ratio_is_to_both_neighbours() {
        assert_eq!(ratio(3.0, 4.0, 8.0), Some(0.5));
        assert_eq!(ratio(3.0, 0.0, 0.0), None);
    }
}
