//! Bytes in JSON as hexadecimal digits, two for each.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

pub(super) fn serialize<S: Serializer>(
    bytes: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => serializer.serialize_str(&encode(bytes)),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error>
where
    D: Deserializer<'de>,
{
    let digits = Option::<String>::deserialize(deserializer)?;
    let decoded = |digits: String| {
        decode(&digits).ok_or_else(|| D::Error::custom("expected pairs of hexadecimal digits"))
    };
    digits.map(decoded).transpose()
}

fn encode(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

fn decode(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.chars().map(digit).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn digit(digit: char) -> Option<u8> {
    digit.to_digit(16)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
        assert_eq!(encode(b"\x00\xffa"), "00ff61");
        assert_eq!(decode("0Ff"), None);
        assert_eq!(decode("0g"), None);
    }
}
