//! What follows from the checks there were: pure, and Docker's rules.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use wharf_runtime::health::HealthSpec;

/// Checks that are remembered, as in Docker.
const REMEMBERED: usize = 5;
/// The code of a check that did not come to an end of its own.
pub(crate) const NOT_RUN: i32 = -1;

/// Whether a container is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not known yet.
    #[default]
    Starting,
    /// The last check that counted went well.
    Healthy,
    /// So many failed in a row.
    Unhealthy,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// When it began (RFC 3339).
    pub(crate) started: String,
    /// When it ended (RFC 3339).
    pub(crate) ended: String,
    /// Its exit code, or [`NOT_RUN`].
    pub(crate) code: i32,
    /// The beginning of what it wrote.
    pub(crate) output: String,
}

/// The health of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) status: Status,
    /// Failures in a row.
    pub(crate) failing_streak: u32,
    /// The last checks, the oldest first.
    pub(crate) log: VecDeque<Probe>,
}

// === impl Health ===

impl Health {
    /// Takes note of a check of a container that has run for `age`; gives the status if it has
    /// changed.
    pub(crate) fn note(
        &mut self,
        spec: &HealthSpec,
        age: Duration,
        probe: Probe,
    ) -> Option<Status> {
        let before = self.status;
        if probe.code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if self.status != Status::Starting || age >= spec.start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= spec.retries {
                self.status = Status::Unhealthy;
            }
        }
        if self.log.len() == REMEMBERED {
            self.log.pop_front();
        }
        self.log.push_back(probe);
        (self.status != before).then_some(self.status)
    }
}

/// How long to wait for the next check.
pub(crate) fn pause(spec: &HealthSpec, status: Status, age: Duration) -> Duration {
    if status == Status::Starting && age < spec.start_period {
        spec.start_interval.min(spec.interval)
    } else {
        spec.interval
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn spec(start_period: Duration) -> HealthSpec {
        HealthSpec {
            test: vec!["CMD".into(), "a".into()],
            interval: 30 * SECOND,
            timeout: SECOND,
            start_period,
            start_interval: 5 * SECOND,
            retries: 3,
        }
    }

    fn after(codes: &[i32], spec: &HealthSpec, age: Duration) -> Health {
        let mut health = Health::default();
        for code in codes {
            let probe = Probe {
                started: String::new(),
                ended: String::new(),
                code: *code,
                output: String::new(),
            };
            health.note(spec, age, probe);
        }
        health
    }

    #[test]
    fn three_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let spec = spec(Duration::ZERO);
        assert_eq!(after(&[1, 1], &spec, SECOND).status, Status::Starting);
        assert_eq!(after(&[1, 1, NOT_RUN], &spec, SECOND).status, Status::Unhealthy);
        assert_eq!(after(&[1, 1, 0, 1, 1], &spec, SECOND).status, Status::Healthy);
        assert_eq!(after(&[1, 1, 1, 0], &spec, SECOND).status, Status::Healthy);
    }

    #[test]
    fn failures_of_the_start_do_not_count() {
        let spec = spec(60 * SECOND);
        assert_eq!(after(&[1; 9], &spec, SECOND).failing_streak, 0);
        assert_eq!(after(&[1; 9], &spec, 61 * SECOND).status, Status::Unhealthy);
        assert_eq!(after(&[0, 1, 1, 1], &spec, SECOND).status, Status::Unhealthy);
    }

    #[test]
    fn only_the_last_checks_are_remembered() {
        assert_eq!(after(&[0; 20], &spec(SECOND), SECOND).log.len(), REMEMBERED);
    }

    #[test]
    fn checks_are_closer_together_during_the_start() {
        let spec = spec(60 * SECOND);
        assert_eq!(pause(&spec, Status::Starting, SECOND), 5 * SECOND);
        assert_eq!(pause(&spec, Status::Starting, 61 * SECOND), 30 * SECOND);
        assert_eq!(pause(&spec, Status::Healthy, SECOND), 30 * SECOND);
    }
}
