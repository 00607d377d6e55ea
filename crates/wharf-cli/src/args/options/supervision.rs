//! Flags of `run` and `create`: how its program is watched, ended and started again.

use std::time::Duration;

use clap::Args;
use wharf_api::options::{HealthCheck, Supervision};
use wharf_spec::RestartPolicy;
use wharf_spec::duration::parse_duration;

use crate::failure::Exit;

/// How the program of a new container is watched, ended and started again.
#[derive(Debug, Args)]
#[command(next_help_heading = "Supervision")]
pub(crate) struct SupervisionOptions {
    /// When to start it again: no, on-failure, on-failure:MAX, always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Signal that asks the program to end, in place of the image's own
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds from that signal to SIGKILL [default: 10]
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u32>,
    /// Shell line run in the container to find out whether it is healthy
    #[arg(long, value_name = "LINE", conflicts_with = "no_healthcheck")]
    health_cmd: Option<String>,
    /// Time between two checks, as 30s or 1m30s [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    health_interval: Option<Duration>,
    /// Time a check may take [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    health_timeout: Option<Duration>,
    /// Time from the start in which failures do not count [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    health_start_period: Option<Duration>,
    /// Time between two checks during the start period [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    health_start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy [default: 3]
    #[arg(long, value_name = "COUNT")]
    health_retries: Option<u32>,
    /// No health check, not even the image's own
    #[arg(long)]
    no_healthcheck: bool,
}

// === impl SupervisionOptions ===

impl SupervisionOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Supervision, Exit> {
        Ok(Supervision {
            restart: self.restart.as_deref().map(policy).transpose()?,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            health: self.health()?,
        })
    }

    fn health(self) -> Result<HealthCheck, Exit> {
        let milliseconds = |time: Option<Duration>| {
            time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        let health = HealthCheck {
            test: match self.health_cmd {
                _ if self.no_healthcheck => vec!["NONE".into()],
                Some(line) if line.is_empty() => return Err(Exit::at_run(EMPTY_CHECK)),
                Some(line) => vec!["CMD-SHELL".into(), line],
                None => Vec::new(),
            },
            interval_ms: milliseconds(self.health_interval),
            timeout_ms: milliseconds(self.health_timeout),
            start_period_ms: milliseconds(self.health_start_period),
            start_interval_ms: milliseconds(self.health_start_interval),
            retries: self.health_retries,
        };
        let more = HealthCheck { test: Vec::new(), ..health.clone() };
        if self.no_healthcheck && more != HealthCheck::default() {
            return Err(Exit::at_run("--no-healthcheck conflicts with --health-* options"));
        }
        Ok(health)
    }
}

/// Refused here, so that nothing has been started or pulled for a policy that is none.
fn policy(text: &str) -> Result<String, Exit> {
    let policy = text.parse::<RestartPolicy>().map_err(|e| Exit::at_run(e.to_string()))?;
    Ok(policy.to_string())
}

const EMPTY_CHECK: &str =
    "--health-cmd is empty: name a command, or switch the check off with --no-healthcheck";
