//! Ranges of ports, the unit everything else counts in.

use std::fmt;
use std::num::{IntErrorKind, ParseIntError};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// One or more consecutive ports, both ends included; never reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u16, u16)", into = "(u16, u16)")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is not a port and not a range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("value is empty")]
    Empty,
    #[error("invalid syntax")]
    Syntax,
    #[error("value out of range (0–65535)")]
    OutOfRange,
    #[error("range is reversed")]
    Reversed,
}

// === impl PortRange ===

impl PortRange {
    /// A range from `first` to `last`, both included; `None` when reversed.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// A range of one port.
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// The number of ports, 1 to 65,536.
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// Whether the range is one port.
    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Whether `port` lies in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether the two ranges share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Every port, ascending.
    pub fn iter(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// The port at the same place in `other` as `port` has in `self`; `None` when `port` is
    /// outside or the ranges differ in length.
    pub fn map(self, port: u16, other: Self) -> Option<u16> {
        (self.contains(port) && self.count() == other.count())
            .then(|| other.first + (port - self.first))
    }

    /// The ports that both ranges have.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// Reads `n` or `a-b` by Docker's rule for numbers: decimal, leading zeros and one plus sign
    /// are fine.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        match text.split_once('-') {
            None => number(text).map(Self::single),
            Some((first, last)) => {
                Self::new(number(first)?, number(last)?).ok_or(Malformed::Reversed)
            }
        }
    }

    /// The fewest ranges that hold the same ports, ascending, none touching another.
    pub(crate) fn merged(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable();
        let mut merged: Vec<Self> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(held) if range.first <= held.last.saturating_add(1) => {
                    held.last = held.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        merged
    }

    /// The ports that are in none of `covered`, which must be as [`merged`](Self::merged) leaves
    /// it.
    pub(crate) fn without(self, covered: &[Self]) -> Vec<Self> {
        let mut left = Vec::new();
        let mut next = Some(self.first);
        let from = covered.partition_point(|range| range.last < self.first);
        for hole in covered.iter().skip(from).take_while(|range| range.first <= self.last) {
            let before = hole.first.checked_sub(1).zip(next);
            left.extend(before.and_then(|(last, first)| Self::new(first, last)));
            next = hole.last.checked_add(1);
        }
        left.extend(next.and_then(|first| Self::new(first, self.last)));
        left
    }
}

// === impl Malformed ===

impl From<ParseIntError> for Malformed {
    fn from(error: ParseIntError) -> Self {
        match error.kind() {
            IntErrorKind::Empty => Self::Empty,
            IntErrorKind::PosOverflow => Self::OutOfRange,
            _ => Self::Syntax,
        }
    }
}

fn number(text: &str) -> Result<u16, Malformed> {
    Ok(text.parse::<u16>()?)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl TryFrom<(u16, u16)> for PortRange {
    type Error = String;

    fn try_from((first, last): (u16, u16)) -> Result<Self, String> {
        Self::new(first, last).ok_or_else(|| format!("reversed port range {first}-{last}"))
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(range: PortRange) -> Self {
        (range.first, range.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    #[test]
    fn numbers_are_read_as_docker_reads_them() {
        assert_eq!(PortRange::parse("80"), Ok(range(80, 80)));
        assert_eq!(PortRange::parse("+80-00090"), Ok(range(80, 90)));
        assert_eq!(PortRange::parse("0"), Ok(range(0, 0)));
        assert_eq!(PortRange::parse("65535"), Ok(range(65535, 65535)));
        assert_eq!(PortRange::parse("65536"), Err(Malformed::OutOfRange));
        assert_eq!(PortRange::parse("99999999999999999999999"), Err(Malformed::OutOfRange));
        assert_eq!(PortRange::parse("80-"), Err(Malformed::Empty));
        assert_eq!(PortRange::parse("-80"), Err(Malformed::Empty));
        assert_eq!(PortRange::parse("90-80"), Err(Malformed::Reversed));
        for text in ["1-2-3", "0x50", " 80", "80 ", "8_0", "+", "++80", "٨٠"] {
            assert_eq!(PortRange::parse(text), Err(Malformed::Syntax), "{text:?}");
        }
    }

    #[test]
    fn merging_joins_what_touches() {
        let merged = PortRange::merged(vec![range(90, 95), range(80, 82), range(83, 84)]);
        assert_eq!(merged, [range(80, 84), range(90, 95)]);
        let top = PortRange::merged(vec![range(65535, 65535), range(0, 65535)]);
        assert_eq!(top, [range(0, 65535)]);
    }

    #[test]
    fn what_is_left_of_a_range() {
        let covered = [range(10, 19), range(30, 39)];
        assert_eq!(range(0, 50).without(&covered), [range(0, 9), range(20, 29), range(40, 50)]);
        assert_eq!(range(15, 35).without(&covered), [range(20, 29)]);
        assert_eq!(range(12, 18).without(&covered), []);
        assert_eq!(range(0, 65535).without(&[range(0, 65535)]), []);
        assert_eq!(range(40, 50).without(&covered), [range(40, 50)]);
    }

    #[test]
    fn the_ports_two_ranges_share() {
        assert_eq!(range(80, 90).intersection(range(85, 99)), Some(range(85, 90)));
        assert_eq!(range(80, 84).intersection(range(85, 99)), None);
    }
}
