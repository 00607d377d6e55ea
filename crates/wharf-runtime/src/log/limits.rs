//! How much a log may hold, as people say it: `--log-opt max-size=20m --log-opt max-file=5`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const MAX_SIZE: &str = "max-size";
const MAX_FILE: &str = "max-file";
/// Docker's units: powers of a thousand.
const UNITS: [(char, u64); 4] =
    [('k', 1_000), ('m', 1_000_000), ('g', 1_000_000_000), ('t', 1_000_000_000_000)];
/// A rotation renames every one of them.
const FILES_LIMIT: u32 = 1000;

/// When a log's file is full, and how many files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The size of a file in bytes; `None` for no limit.
    pub max_size: Option<u64>,
    /// The number of files, the one that is written to included.
    pub max_files: u32,
}

// === impl Limits ===

impl Limits {
    /// Reads the options of Docker's `json-file` driver.
    ///
    /// # Errors
    /// An option is unknown, or its value is none.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut limits = Self::default();
        for (name, value) in options {
            match name.as_str() {
                MAX_SIZE => limits.max_size = size(value)?,
                MAX_FILE => limits.max_files = count(value)?,
                other => {
                    return Err(Error::Spec(format!(
                        "unknown log opt '{other}' for json-file log driver: use {MAX_SIZE} or {MAX_FILE}"
                    )));
                }
            }
        }
        Ok(limits)
    }
}

impl Default for Limits {
    /// Docker keeps everything, until the disk is full; ours ends at 100 MB, as its `local` driver.
    fn default() -> Self {
        Self { max_size: Some(20_000_000), max_files: 5 }
    }
}

fn size(text: &str) -> Result<Option<u64>> {
    if text == "-1" {
        return Ok(None);
    }
    let invalid = || {
        Error::Spec(format!(
            "invalid value for {MAX_SIZE}: '{text}': use a number of bytes, with k, m or g after it, or -1 for no limit"
        ))
    };
    let plain = text.strip_suffix(['b', 'B']).unwrap_or(text);
    let unit = plain.chars().next_back().map(|last| last.to_ascii_lowercase());
    let unit = UNITS.iter().find(|(name, _)| Some(*name) == unit);
    let digits = plain.get(..plain.len() - usize::from(unit.is_some())).unwrap_or_default();
    let number = digits.trim_end().parse::<u64>().map_err(|_| invalid())?;
    let bytes = number.checked_mul(unit.map_or(1, |(_, factor)| *factor)).ok_or_else(invalid)?;
    if bytes == 0 { Err(invalid()) } else { Ok(Some(bytes)) }
}

fn count(text: &str) -> Result<u32> {
    match text.parse::<u32>() {
        Ok(0) => Err(Error::Spec(format!("{MAX_FILE} cannot be less than 1"))),
        Ok(number) if number <= FILES_LIMIT => Ok(number),
        _ => Err(Error::Spec(format!(
            "invalid value for {MAX_FILE}: '{text}': use a number from 1 to {FILES_LIMIT}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Limits> {
        let owned = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Limits::parse(&owned.collect())
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("1", Some(1)),
            ("10k", Some(10_000)),
            ("10K", Some(10_000)),
            ("10kb", Some(10_000)),
            ("20m", Some(20_000_000)),
            ("3 g", Some(3_000_000_000)),
            ("7b", Some(7)),
            ("-1", None),
        ] {
            assert_eq!(parse(&[("max-size", text)]).unwrap().max_size, bytes, "{text}");
        }
        for text in ["", "m", "ten", "0", "-2", "1.5m", "99999999999t", "10mm", "é", "1é"] {
            let error = parse(&[("max-size", text)]).unwrap_err().to_string();
            assert!(error.starts_with("invalid value for max-size"), "{text}: {error}");
        }
    }

    #[test]
    fn files_are_counted_and_the_rest_is_refused() {
        assert_eq!(parse(&[]).unwrap(), Limits::default());
        assert_eq!(parse(&[("max-file", "1")]).unwrap().max_files, 1);
        for text in ["0", "-1", "many", "1001"] {
            assert!(parse(&[("max-file", text)]).is_err(), "{text}");
        }
        let error = parse(&[("compress", "true")]).unwrap_err().to_string();
        assert!(error.contains("unknown log opt 'compress' for json-file log driver"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_stumble(name in "max-size|max-file|.{0,8}", value: String) {
            let _either_way = Limits::parse(&[(name, value)].into());
        }
    }
}
