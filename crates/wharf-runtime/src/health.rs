//! Health checks: what an image and its user say about one, merged as Docker merges them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Docker's, for what nobody says.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// Docker's least, so that checks do not keep the host busy.
const LEAST: Duration = Duration::from_millis(1);
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What is said about a health check; what is absent is said elsewhere, or nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidHealth {
    /// `["NONE"]`, `["CMD", PROGRAM, ARGUMENT…]`, `["CMD-SHELL", LINE]`, or empty.
    pub test: Vec<String>,
    /// From the end of a check to the next.
    pub interval: Option<Duration>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    /// How long after the start failures do not count.
    pub start_period: Option<Duration>,
    /// As `interval`, while it starts.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
}

/// A health check with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// As the image or the user wrote it.
    pub test: Vec<String>,
    /// From the end of a check to the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How long after the start failures do not count.
    pub start_period: Duration,
    /// As `interval`, while it starts.
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

// === impl HealthSpec ===

impl HealthSpec {
    /// What `asked` says, and `image` where it says nothing; `None` when there is no check.
    ///
    /// # Errors
    /// The test is written in none of the three ways, or a time is too short.
    pub fn merge(image: &SaidHealth, asked: &SaidHealth) -> Result<Option<Self>> {
        check(asked)?;
        let test = if asked.test.is_empty() { &image.test } else { &asked.test };
        if !is_check(test) {
            return Ok(None);
        }
        // Go writes a time that nobody said as 0.
        let time = |pick: fn(&SaidHealth) -> Option<Duration>, default| {
            let said = pick(asked).or(pick(image)).filter(|time| !time.is_zero());
            said.unwrap_or(default)
        };
        let retries = asked.retries.or(image.retries).filter(|retries| *retries > 0);
        Ok(Some(Self {
            test: test.clone(),
            interval: time(|said| said.interval, INTERVAL),
            timeout: time(|said| said.timeout, TIMEOUT),
            start_period: time(|said| said.start_period, Duration::ZERO),
            start_interval: time(|said| said.start_interval, START_INTERVAL),
            retries: retries.unwrap_or(RETRIES),
        }))
    }

    /// The command to run.
    pub fn command(&self) -> Vec<String> {
        let words = self.test.get(1..).unwrap_or_default();
        match self.test.first().map(String::as_str) {
            Some("CMD-SHELL") => {
                SHELL.iter().map(|word| (*word).to_owned()).chain(words.iter().cloned()).collect()
            }
            _ => words.to_vec(),
        }
    }
}

/// Refuses a check that is written wrongly, as Docker does.
///
/// # Errors
/// The test is written in none of the three ways, or a time is too short.
pub fn check(said: &SaidHealth) -> Result<()> {
    let refuse = |text: String| Err(Error::Spec(text));
    match said.test.first().map(String::as_str) {
        None | Some("NONE") => {}
        Some("CMD" | "CMD-SHELL") if said.test.len() > 1 => {}
        Some("CMD" | "CMD-SHELL") => {
            return refuse("a health check needs a command after CMD or CMD-SHELL".into());
        }
        Some(other) => {
            return refuse(format!(
                "unknown type of health check {other:?}: use NONE, CMD or CMD-SHELL"
            ));
        }
    }
    let times = [
        ("interval", said.interval),
        ("timeout", said.timeout),
        ("start period", said.start_period),
        ("start interval", said.start_interval),
    ];
    for (what, time) in times {
        if time.is_some_and(|time| !time.is_zero() && time < LEAST) {
            return refuse(format!("the {what} of a health check cannot be less than 1ms"));
        }
    }
    Ok(())
}

/// Whether there is something to run: an image may say something that a newer program knows.
fn is_check(test: &[String]) -> bool {
    matches!(test.first().map(String::as_str), Some("CMD" | "CMD-SHELL")) && test.len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(test: &[&str]) -> SaidHealth {
        SaidHealth { test: test.iter().map(|w| (*w).to_owned()).collect(), ..Default::default() }
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn what_the_user_says_goes_before_what_the_image_says() {
        let image = SaidHealth { interval: seconds(7), retries: Some(5), ..said(&["CMD", "a"]) };
        let asked = SaidHealth { interval: seconds(2), ..SaidHealth::default() };
        let spec = HealthSpec::merge(&image, &asked).unwrap().unwrap();
        assert_eq!((spec.command(), spec.retries), (vec!["a".to_owned()], 5));
        assert_eq!((spec.interval, spec.timeout), (Duration::from_secs(2), TIMEOUT));
        let own = HealthSpec::merge(&image, &said(&["CMD-SHELL", "b c"])).unwrap().unwrap();
        assert_eq!(own.command(), ["/bin/sh", "-c", "b c"]);
    }

    #[test]
    fn there_need_be_none() {
        let image = said(&["CMD", "a"]);
        assert_eq!(HealthSpec::merge(&image, &said(&["NONE"])).unwrap(), None);
        assert_eq!(HealthSpec::merge(&said(&["NEWER", "a"]), &said(&[])).unwrap(), None);
        assert_eq!(HealthSpec::merge(&said(&[]), &said(&[])).unwrap(), None);
    }

    #[test]
    fn a_check_that_cannot_be_is_refused() {
        for test in [&["CMD"][..], &["RUN", "a"], &["CMD-SHELL"]] {
            assert!(HealthSpec::merge(&said(&[]), &said(test)).is_err(), "{test:?}");
        }
        let short = SaidHealth { timeout: Some(Duration::from_micros(5)), ..said(&["CMD", "a"]) };
        assert!(check(&short).unwrap_err().to_string().contains("timeout"));
    }
}
