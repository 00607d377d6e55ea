//! What one window of load found.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::cpu;

const BITS_PER_GIGABIT: f64 = 1e9;

/// One window's result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Gigabits, exchanges or connections per second.
    pub(crate) rate: f64,
    /// Bytes that arrived, of bulk loads.
    pub(crate) bytes: u64,
    /// Busy time of all processors, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Median time of one exchange or connection, in microseconds.
    pub(crate) p50_us: Option<f64>,
    /// Time that 99 of 100 exchanges or connections stayed below, in microseconds.
    pub(crate) p99_us: Option<f64>,
    /// The share of datagrams that did not arrive, 0 to 1.
    pub(crate) loss: Option<f64>,
    /// How long it lasted, and the time of each exchange, for whoever joins it with others.
    #[serde(skip)]
    pub(crate) took: Duration,
    #[serde(skip)]
    pub(crate) times: Vec<Duration>,
}

/// The busy time since it was started.
#[derive(Debug)]
pub(crate) struct Meter {
    busy_before: f64,
}

// === impl Window ===

impl Window {
    /// A window in which `bytes` arrived within `took`.
    pub(crate) fn of_bytes(bytes: u64, took: Duration) -> Self {
        let rate = bytes as f64 * 8.0 / BITS_PER_GIGABIT / took.as_secs_f64();
        Self { rate, bytes, took, ..Self::default() }
    }

    /// All of these windows as one, which are of the same kind.
    pub(crate) fn joined(windows: &[Self]) -> Self {
        let took = windows.iter().map(|it| it.took).sum();
        let bytes = windows.iter().map(|it| it.bytes).sum();
        let times: Vec<Duration> = windows.iter().flat_map(|it| it.times.iter().copied()).collect();
        let joined = match bytes {
            0 => Self::of_times(times, took),
            bytes => Self::of_bytes(bytes, took),
        };
        Self { cpu_seconds: windows.iter().map(|it| it.cpu_seconds).sum(), ..joined }
    }

    /// A window of exchanges that took these times.
    pub(crate) fn of_times(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let rate = times.len() as f64 / took.as_secs_f64();
        let (p50_us, p99_us) = (percentile(&times, 50), percentile(&times, 99));
        Self { rate, p50_us, p99_us, took, times, ..Self::default() }
    }

    /// The same with the busy time that `meter` has seen.
    pub(crate) fn with_cpu(self, meter: &Meter) -> Result<Self> {
        let cpu_seconds = cpu::busy_seconds()? - meter.busy_before;
        Ok(Self { cpu_seconds, ..self })
    }

    /// Seconds of processor time for each gigabyte that arrived.
    pub(crate) fn cpu_per_gigabyte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.cpu_seconds / (self.bytes as f64 / 1e9))
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let place = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(place).map(|time| time.as_secs_f64() * 1e6)
}

// === impl Meter ===

impl Meter {
    /// Starts to count.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { busy_before: cpu::busy_seconds()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        let window = Window::of_bytes(250_000_000, Duration::from_secs(2));
        assert!((window.rate - 1.0).abs() < 1e-9);
        let times = (1..=100).map(Duration::from_micros).collect();
        let window = Window::of_times(times, Duration::from_millis(500));
        assert!((window.rate - 200.0).abs() < 1e-9);
        assert_eq!((window.p50_us, window.p99_us), (Some(50.0), Some(99.0)));
    }

    #[test]
    fn joined_windows_have_the_rate_of_their_whole_time() {
        let window = |bytes, seconds| Window {
            cpu_seconds: 0.5,
            ..Window::of_bytes(bytes, Duration::from_secs(seconds))
        };
        let joined = Window::joined(&[window(125_000_000, 1), window(125_000_000, 3)]);
        assert!((joined.rate - 0.5).abs() < 1e-9);
        assert_eq!((joined.bytes, joined.cpu_seconds), (250_000_000, 1.0));
        let second = Duration::from_secs(1);
        let window = |millis| Window::of_times(vec![Duration::from_millis(millis); 3], second);
        let joined = Window::joined(&[window(2), window(1), window(1)]);
        assert!((joined.rate - 3.0).abs() < 1e-9);
        assert_eq!((joined.p50_us, joined.p99_us), (Some(1000.0), Some(2000.0)));
    }

    #[test]
    fn nothing_has_no_percentiles() {
        let window = Window::of_times(Vec::new(), Duration::from_secs(1));
        assert_eq!((window.rate, window.p50_us), (0.0, None));
    }
}
