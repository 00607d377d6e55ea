//! Limits of processes, as after `--ulimit`: `nofile=1024:2048`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// The limits Docker knows by name; setrlimit(2) has them in upper case.
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A soft and a hard limit of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The kind, as `nofile`.
    pub name: String,
    /// What is in force; `None` for no limit.
    pub soft: Option<u64>,
    /// Up to what the process may raise it; `None` for no limit.
    pub hard: Option<u64>,
}

// === impl Ulimit ===

impl Ulimit {
    /// The kernel's name, as `RLIMIT_NOFILE`.
    pub fn kernel_name(&self) -> String {
        format!("RLIMIT_{}", self.name.to_ascii_uppercase())
    }
}

impl FromStr for Ulimit {
    type Err = SpecError;

    /// Reads `NAME=SOFT[:HARD]`; the hard limit is the soft one when absent, and -1 means none.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse = |reason: String| SpecError::argument("ulimit", text, reason);
        let (name, values) =
            text.split_once('=').ok_or_else(|| refuse("use NAME=SOFT[:HARD]".into()))?;
        if !NAMES.contains(&name) {
            return Err(refuse(format!("invalid ulimit type: use {}", NAMES.join(", "))));
        }
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let value = |text: &str| match text {
            "-1" => Ok(None),
            number => number.parse().map(Some).map_err(|_| {
                refuse(format!("{number:?} is no limit: use a number, or -1 for none"))
            }),
        };
        let (soft, hard) = (value(soft)?, value(hard)?);
        if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
            let shown = |limit: Option<u64>| limit.map_or("-1".into(), |limit| limit.to_string());
            return Err(refuse(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                shown(soft),
                shown(hard)
            )));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |limit: Option<u64>| limit.map_or("-1".into(), |limit| limit.to_string());
        write!(f, "{}={}:{}", self.name, shown(self.soft), shown(self.hard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_in_docker() {
        for (text, canonical) in [
            ("nofile=1024", "nofile=1024:1024"),
            ("nofile=1024:2048", "nofile=1024:2048"),
            ("core=-1", "core=-1:-1"),
            ("core=0:-1", "core=0:-1"),
        ] {
            let limit: Ulimit = text.parse().unwrap();
            assert_eq!(limit.to_string(), canonical);
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
        assert_eq!("nofile=1".parse::<Ulimit>().unwrap().kernel_name(), "RLIMIT_NOFILE");
    }

    #[test]
    fn what_is_no_limit_is_refused_with_the_reason() {
        for (text, reason) in [
            ("nofile", "use NAME=SOFT"),
            ("files=1", "invalid ulimit type"),
            ("nofile=", "is no limit"),
            ("nofile=x", "is no limit"),
            ("nofile=2:1", "less than or equal to hard limit: 2 > 1"),
            ("nofile=-1:1", "less than or equal to hard limit: -1 > 1"),
            ("nofile=1:2:3", "is no limit"),
        ] {
            let error = text.parse::<Ulimit>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
