//! How a publication is to be served: the named extensions to Docker's grammar.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// Options of one publication, written after the port spec as `key=value` parts or as flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublishOptions {
    /// Which plane may serve.
    pub via: Via,
    /// Which source address the target is to see.
    pub source: SourceMode,
    /// The networks clients may come from; empty means everyone.
    pub allow: Vec<IpNet>,
    /// The PROXY protocol header to send to the target, if any.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// The plane a person asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The fastest that this host and this publication allow.
    #[default]
    Auto,
    /// The user-space relay only.
    Relay,
    /// Kernel NAT, with the relay as the floor.
    Nft,
    /// eBPF connect hooks.
    Ebpf,
}

/// The source address the target is to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceMode {
    /// The client's own address wherever a path can keep it.
    #[default]
    Client,
    /// Always the gateway of the target's network.
    Gateway,
}

/// A version of the PROXY protocol (haproxy.org, proxy-protocol.txt).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// The text header.
    V1,
    /// The binary header.
    V2,
}

macro_rules! words {
    ($type:ty, $key:literal, $($word:literal => $variant:ident),+) => {
        impl FromStr for $type {
            type Err = SpecError;

            fn from_str(text: &str) -> Result<Self, SpecError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(SpecError::OptionValue {
                        key: $key,
                        value: text.to_owned(),
                        wanted: &[$($word),+],
                    }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(Via, "via", "auto" => Auto, "relay" => Relay, "nft" => Nft, "ebpf" => Ebpf);
words!(SourceMode, "source", "client" => Client, "gateway" => Gateway);
words!(ProxyProtocol, "proxy-protocol", "v1" => V1, "v2" => V2);
