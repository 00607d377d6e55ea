//! How a network's containers meet the world outside their bridge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The gateway mode of one family of a network; the names are Docker's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Published ports are translated, what leaves gets the host's address, and nothing else of a
    /// container can be reached from outside.
    #[default]
    Nat,
    /// As `Nat`, but container addresses can be reached from outside on every port.
    NatUnprotected,
    /// Containers keep their addresses; a published port is opened on the container's own.
    Routed,
    /// The bridge has no address, so that not even the host is reached; for internal networks.
    Isolated,
}

// === impl GatewayMode ===

impl GatewayMode {
    const ALL: [Self; 4] = [Self::Nat, Self::NatUnprotected, Self::Routed, Self::Isolated];

    /// The name as written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::NatUnprotected => "nat-unprotected",
            Self::Routed => "routed",
            Self::Isolated => "isolated",
        }
    }
}

impl fmt::Display for GatewayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for GatewayMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mode = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        mode.ok_or_else(|| Error::Mode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_json_and_back() {
        for mode in GatewayMode::ALL {
            assert_eq!(mode.to_string().parse::<GatewayMode>().unwrap(), mode);
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
        assert!("NAT".parse::<GatewayMode>().is_err());
    }
}
