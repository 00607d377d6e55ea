//! Ethernet hardware addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet hardware address, written `02:42:0a:c9:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// A text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address {0:?}: six hexadecimal bytes with colons are wanted")]
pub struct MacError(String);

// === impl Mac ===

impl Mac {
    /// A unicast address of the locally administered kind that ends in `tail`.
    ///
    /// The prefix is the one container engines use, so that people recognise it.
    pub fn local(tail: [u8; 4]) -> Self {
        let [a, b, c, d] = tail;
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let wrong = || MacError(text.to_owned());
        let byte = |part: &str| {
            let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            if hex { u8::from_str_radix(part, 16).map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let bytes = text.split(':').map(byte).collect::<Result<Vec<u8>, _>>()?;
        <[u8; 6]>::try_from(bytes.as_slice()).map(Self).map_err(|_| wrong())
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let mac = Mac::local([10, 201, 0, 2]);
        assert_eq!(mac.to_string(), "02:42:0a:c9:00:02");
        assert_eq!("02:42:0a:c9:00:02".parse(), Ok(mac));
        let json = serde_json::to_string(&mac).unwrap();
        assert_eq!(serde_json::from_str::<Mac>(&json).unwrap(), mac);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "02:42", "02:42:0a:c9:00:0g", "02:42:0a:c9:00:02:03", "+2:42:0a:c9:00:02"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
