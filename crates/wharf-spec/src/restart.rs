//! Restart policies: what is written after `--restart`, and what follows from it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first pause before a restart, and what it is doubled up to; Docker's.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(60);
/// A program that ran for so long before it ended did not fail at its start: the next pause is the
/// first again. Docker's, too.
pub const STEADY: Duration = Duration::from_secs(10);

/// Whether a container is started again after its program has ended. In JSON it is its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0.
    OnFailure {
        /// How many times; any number when absent.
        at_most: Option<u32>,
    },
    /// Always, but not after it was stopped by hand until the daemon starts anew.
    Always,
    /// Always, unless it was stopped by hand.
    UnlessStopped,
}

/// Why a text is no restart policy; the texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartPolicyError {
    /// Too many colons.
    #[error(
        "invalid restart policy format: {0:?}: use no, on-failure[:MAX], always, unless-stopped"
    )]
    Format(String),
    /// What follows the colon is no number.
    #[error("invalid restart policy format: maximum retry count must be an integer: {0:?}")]
    Count(String),
    /// A number below 0.
    #[error("maximum retry count cannot be negative: {0}")]
    Negative(i64),
    /// A number where none belongs.
    #[error("maximum retry count cannot be used with restart policy '{0}'")]
    Countless(String),
    /// No such policy.
    #[error("invalid restart policy '{0}': use no, on-failure[:MAX], always or unless-stopped")]
    Unknown(String),
}

// === impl RestartPolicy ===

impl RestartPolicy {
    /// Whether a program that ended with `code` by itself is started again, after `restarts` of
    /// them since it was last started by hand.
    pub fn answers_end(self, code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { at_most } => code != 0 && at_most.is_none_or(|most| restarts < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Whether a container that has ended is started when the daemon starts.
    pub fn answers_boot(self, stopped_by_hand: bool) -> bool {
        match self {
            Self::No | Self::OnFailure { .. } => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped_by_hand,
        }
    }

    /// Docker's name of it, without a number.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// The number after the colon; 0 when there is none.
    pub fn at_most(self) -> u32 {
        match self {
            Self::OnFailure { at_most } => at_most.unwrap_or(0),
            _ => 0,
        }
    }
}

/// How long to wait before a restart, when the program has ended `in_a_row` times before without
/// having run for [`STEADY`].
pub fn pause(in_a_row: u32) -> Duration {
    let factor = 1u32.checked_shl(in_a_row).filter(|factor| *factor > 0).unwrap_or(u32::MAX);
    PAUSE_FIRST.saturating_mul(factor).min(PAUSE_LAST)
}

impl FromStr for RestartPolicy {
    type Err = RestartPolicyError;

    fn from_str(text: &str) -> Result<Self, RestartPolicyError> {
        let (name, count) = match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err(RestartPolicyError::Format(text.to_owned()));
            }
            Some((name, count)) => (name, Some(most(count)?)),
            None => (text, None),
        };
        let policy = match name {
            // 0 is Docker's way to say that there is no limit.
            "on-failure" => return Ok(Self::OnFailure { at_most: count.filter(|most| *most > 0) }),
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            _ => return Err(RestartPolicyError::Unknown(name.to_owned())),
        };
        match count {
            None => Ok(policy),
            Some(_) => Err(RestartPolicyError::Countless(name.to_owned())),
        }
    }
}

fn most(text: &str) -> Result<u32, RestartPolicyError> {
    let invalid = || RestartPolicyError::Count(text.to_owned());
    let number: i64 = text.parse().map_err(|_| invalid())?;
    match u32::try_from(number) {
        Ok(most) => Ok(most),
        Err(_) if number < 0 => Err(RestartPolicyError::Negative(number)),
        Err(_) => Err(invalid()),
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure { at_most: Some(most) } => write!(f, "on-failure:{most}"),
            other => f.write_str(other.name()),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = RestartPolicyError;

    fn try_from(text: String) -> Result<Self, RestartPolicyError> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> RestartPolicy {
        text.parse().unwrap()
    }

    #[test]
    fn policies_are_read_as_docker_reads_them() {
        assert_eq!(read(""), RestartPolicy::No);
        assert_eq!(read("no"), RestartPolicy::No);
        assert_eq!(read("on-failure:0"), RestartPolicy::OnFailure { at_most: None });
        for text in ["no", "on-failure", "on-failure:5", "always", "unless-stopped"] {
            assert_eq!(read(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_reason() {
        let cases = [
            ("sometimes", "invalid restart policy 'sometimes'"),
            ("always:3", "maximum retry count cannot be used with restart policy 'always'"),
            ("no:1", "maximum retry count cannot be used with restart policy 'no'"),
            ("on-failure:x", "maximum retry count must be an integer"),
            ("on-failure:", "maximum retry count must be an integer"),
            ("on-failure:-1", "maximum retry count cannot be negative"),
            ("on-failure:1:2", "invalid restart policy format"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<RestartPolicy>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn ends_are_answered_as_the_policy_says() {
        assert!(!read("no").answers_end(1, 0));
        assert!(!read("on-failure").answers_end(0, 0));
        assert!(read("on-failure").answers_end(1, 1_000));
        assert!(read("on-failure:2").answers_end(137, 1));
        assert!(!read("on-failure:2").answers_end(137, 2));
        assert!(read("always").answers_end(0, 9) && read("unless-stopped").answers_end(0, 9));
    }

    #[test]
    fn a_new_daemon_starts_what_was_not_stopped_and_what_is_always_to_run() {
        assert!(read("always").answers_boot(true) && !read("unless-stopped").answers_boot(true));
        assert!(read("unless-stopped").answers_boot(false));
        assert!(!read("on-failure").answers_boot(false) && !read("no").answers_boot(false));
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        assert_eq!(pause(0), Duration::from_millis(100));
        assert_eq!(pause(3), Duration::from_millis(800));
        assert_eq!(pause(10), Duration::from_secs(60));
        assert_eq!(pause(u32::MAX), Duration::from_secs(60));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser_and_what_is_read_reads_back(text in ".{0,40}") {
            if let Ok(policy) = text.parse::<RestartPolicy>() {
                prop_assert_eq!(policy.to_string().parse::<RestartPolicy>(), Ok(policy));
            }
        }
    }
}
