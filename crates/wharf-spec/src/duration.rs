//! Durations as Docker's flags take them, which are Go's: `500ms`, `30s`, `1m30s`, `1.5h`.

use std::time::Duration;

/// Units in nanoseconds, the longer names first where one begins with another.
const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3_600e9)];
/// Longer than anything that is waited for, and short of where the arithmetic would lose seconds.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0 * 1e9;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {text:?}: {reason}, like 500ms, 30s or 1m30s")]
pub struct DurationError {
    text: String,
    reason: &'static str,
}

/// Reads a duration: one or more numbers, each with its unit; `0` needs none.
///
/// # Errors
/// It is none, negative, or longer than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let refuse = |reason| DurationError { text: text.to_owned(), reason };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(refuse("it is negative: use a number and a unit"));
    }
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() || text.is_empty() {
        let (part, left) = part(rest).ok_or_else(|| refuse("use a number and a unit"))?;
        nanoseconds += part;
        rest = left;
    }
    if nanoseconds > LONGEST {
        return Err(refuse("it is longer than ten years: use a shorter one"));
    }
    Ok(Duration::from_secs_f64(nanoseconds / 1e9))
}

/// The first number with its unit, in nanoseconds, and what follows.
fn part(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at_checked(end)?;
    let number: f64 = number.parse().ok()?;
    let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some((number * factor, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_in_go() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("2h45m", 9_900_000),
            (".5s", 500),
            ("1000us", 1),
            ("1000µs", 1),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text).unwrap().as_millis(), milliseconds, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_an_example() {
        for text in ["", "5", "s", "-5s", "5 s", "5x", "1m30", "..s", "s5", "1e5s", "99999999h"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("like 500ms"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in ".{0,20}") {
            let _read_or_refused = parse_duration(&text);
        }

        #[test]
        fn numbers_with_units_add_up(hours in 0u64..1000, minutes in 0u64..1000, s in 0u64..1000) {
            let read = parse_duration(&format!("{hours}h{minutes}m{s}s")).unwrap();
            prop_assert_eq!(read.as_secs(), hours * 3600 + minutes * 60 + s);
        }
    }
}
