//! Many times of the same thing, and what is said of them.

use serde_json::{Value, json};

use super::record::rounded;

/// Times in one unit, in the order they were taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Times(pub(crate) Vec<f64>);

/// The middle and the end of many times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Tail {
    pub(crate) p50: f64,
    /// 99 of 100 were no longer.
    pub(crate) p99: f64,
    pub(crate) longest: f64,
    pub(crate) count: usize,
}

// === impl Times ===

impl Times {
    /// Says what is to be said; zeros when there were none.
    pub(crate) fn tail(&self) -> Tail {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |percent| percentile(&sorted, percent);
        Tail { p50: at(50), p99: at(99), longest: at(100), count: sorted.len() }
    }

    /// Adds what was seen elsewhere.
    pub(crate) fn extend(&mut self, more: &[f64]) {
        self.0.extend_from_slice(more);
    }
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

// === impl Tail ===

impl Tail {
    /// As JSON, names with the `unit` at their ends.
    pub(crate) fn json(self, unit: &str) -> Value {
        json!({
            format!("p50_{unit}"): rounded(self.p50),
            format!("p99_{unit}"): rounded(self.p99),
            format!("longest_{unit}"): rounded(self.longest),
            "count": self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_is_above_the_99th_percentile() {
        let times = Times((1..=300).rev().map(f64::from).collect());
        assert_eq!(times.tail(), Tail { p50: 150.0, p99: 297.0, longest: 300.0, count: 300 });
        assert_eq!(Times::default().tail(), Tail::default());
        assert_eq!(Times(vec![7.0]).tail().p99, 7.0);
    }
}
