//! Amounts of memory as people write them: `512m`, `1.5g`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// The letters of Docker's units, each 1024 times the one before.
const UNITS: [char; 5] = ['k', 'm', 'g', 't', 'p'];

/// An amount of memory in bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

// === impl Bytes ===

impl FromStr for Bytes {
    type Err = SpecError;

    /// Reads a number, with a fraction if need be, and a unit: `b`, `k`, `m`, `g`, `t` or `p`,
    /// also as `kb` or `KiB`; all of them are powers of 1024, as in Docker.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse =
            || SpecError::argument("size", text, "use a number and a unit, as in 512m or 1.5g");
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
        let number = digits.trim_end();
        let factor = lower.get(digits.len()..).and_then(factor).ok_or_else(refuse)?;
        scale(number, factor).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for Bytes {
    /// As Docker's listings show it: four digits at most, and a binary unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut rest = self.0;
        let mut fraction = 0;
        let mut unit = 0;
        while rest >= 1024 && unit + 1 < names.len() {
            fraction = rest % 1024;
            rest /= 1024;
            unit += 1;
        }
        let name = names.get(unit).copied().unwrap_or_default();
        let decimals: u64 = if rest >= 100 { 10 } else { 100 };
        match fraction * decimals / 1024 {
            0 => f.pad(&format!("{rest}{name}")),
            part if decimals == 10 => f.pad(&format!("{rest}.{part}{name}")),
            part => f.pad(&format!("{}{name}", format!("{rest}.{part:02}").trim_end_matches('0'))),
        }
    }
}

/// What a unit multiplies by.
fn factor(unit: &str) -> Option<u64> {
    let unit = unit.trim_start();
    let letter = unit.trim_end_matches('b').trim_end_matches('i');
    let mut letters = letter.chars();
    match (letters.next(), letters.next()) {
        (None, _) => (unit == "b" || unit.is_empty()).then_some(1),
        (Some(letter), None) => {
            let place = UNITS.iter().position(|known| *known == letter)?;
            let tail = unit.strip_prefix(letter).unwrap_or_default();
            let shift = u32::try_from(place + 1).ok()? * 10;
            ["", "b", "ib"].contains(&tail).then(|| 1 << shift)
        }
        _ => None,
    }
}

/// `number`, which may have a fraction, times `factor`, exactly and rounded down.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !whole.bytes().all(|b| b.is_ascii_digit()) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if number.ends_with('.') || fraction.len() > 15 {
        return None;
    }
    let tens = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let scaled = (whole * tens + part) * u128::from(factor) / tens;
    // The kernel's counters and Docker's are signed.
    u64::try_from(scaled).ok().filter(|bytes| i64::try_from(*bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Option<u64> {
        text.parse::<Bytes>().ok().map(|bytes| bytes.0)
    }

    #[test]
    fn units_are_dockers() {
        let cases = [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32kb", 32 << 10),
            ("32KiB", 32 << 10),
            ("32Mb", 32 << 20),
            ("1.5g", 3 << 29),
            ("32 mb", 32 << 20),
            ("0.5k", 512),
            ("2T", 2 << 40),
            ("1p", 1 << 50),
        ];
        for (text, want) in cases {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "m", "-1", "1x", "1mm", "1.", ".5", "1.2.3", "1 0m", "9999999p", "0x1", "1bk",
            "1ib",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_as_in_dockers_listings() {
        for (bytes, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (7_340_032, "7MiB"),
            (8_000_000, "7.62MiB"),
            (128 << 20, "128MiB"),
            (4_026_531_840, "3.75GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,20}") {
            let _any = text.parse::<Bytes>();
        }

        #[test]
        fn a_plain_number_is_itself(number in 0..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(bytes(&number.to_string()), Some(number));
        }
    }
}
