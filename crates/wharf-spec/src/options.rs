//! How a publication is to be served: the named extensions to Docker's grammar.
//!
//! Their text is `key=value` parts with commas between. A list for `allow` goes on over parts
//! that have no key: `allow=10.0.0.0/8,192.0.2.7,via=nft`.

pub(crate) mod fields;
mod network;
mod said;

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::spec::SpecError;
use fields::{Key, fields};
pub use network::parse_networks;
pub use said::SaidOptions;

/// The keys that may follow a port spec.
pub(crate) const OPTION_KEYS: &[Key] = &[Key::Via, Key::Source, Key::Allow, Key::ProxyProtocol];

/// What is written after `allow=` for no list at all.
const ANYBODY: &str = "any";
/// What is written after `proxy-protocol=` for no header.
const NO_HEADER: &str = "off";

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
    Auto,
    /// The same, and a refusal where no path from outside can keep it.
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
    ($type:ty, $key:literal, $($word:literal => $variant:ident),+ $(; $more:literal)?) => {
        impl FromStr for $type {
            type Err = SpecError;

            fn from_str(text: &str) -> Result<Self, SpecError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(SpecError::OptionValue {
                        key: $key,
                        value: text.to_owned(),
                        wanted: &[$($word),+ $(, $more)?],
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
words!(SourceMode, "source", "auto" => Auto, "client" => Client, "gateway" => Gateway);
words!(ProxyProtocol, "proxy-protocol", "v1" => V1, "v2" => V2; "off");

// === impl PublishOptions ===

impl PublishOptions {
    /// Whether nothing was asked for, so that the text is empty.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is given here, and for the rest what `others` say.
    #[must_use]
    pub fn or(self, others: &Self) -> Self {
        let given = |allow: &Vec<IpNet>| !allow.is_empty();
        Self {
            via: if self.via == Via::default() { others.via } else { self.via },
            source: if self.source == SourceMode::default() { others.source } else { self.source },
            allow: Some(self.allow).filter(given).unwrap_or_else(|| others.allow.clone()),
            proxy_protocol: self.proxy_protocol.or(others.proxy_protocol),
        }
    }

    /// Takes the options among `fields` and leaves the rest.
    pub(crate) fn from_fields(fields: &[(Key, &str)]) -> Result<Self, SpecError> {
        let (mut options, mut anybody) = (Self::default(), false);
        for (key, value) in fields {
            match key {
                Key::Via => options.via = value.parse()?,
                Key::Source => options.source = value.parse()?,
                Key::Allow if *value == ANYBODY => anybody = true,
                Key::Allow => options.allow.push(network::parse(value)?),
                Key::ProxyProtocol if *value == NO_HEADER => {}
                Key::ProxyProtocol => options.proxy_protocol = Some(value.parse()?),
                Key::Published | Key::Target | Key::Protocol => (),
            }
        }
        if anybody {
            options.allow.clear();
        }
        Ok(options)
    }
}

impl FromStr for PublishOptions {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        Self::from_fields(&fields(text, OPTION_KEYS)?)
    }
}

/// Only what differs from the default is written.
impl fmt::Display for PublishOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let mut part = |key: Key, value: &dyn fmt::Display| {
            write!(f, "{comma}{}={value}", key.as_str())?;
            comma = ",";
            Ok(())
        };
        if self.via != Via::default() {
            part(Key::Via, &self.via)?;
        }
        if self.source != SourceMode::default() {
            part(Key::Source, &self.source)?;
        }
        for network in &self.allow {
            part(Key::Allow, network)?;
        }
        self.proxy_protocol.map_or(Ok(()), |version| part(Key::ProxyProtocol, &version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        match text.parse::<PublishOptions>() {
            Ok(options) => options.to_string(),
            Err(error) => format!("refused: {error}"),
        }
    }

    #[test]
    fn options_have_one_canonical_text() {
        assert_eq!(canonical(""), "");
        assert_eq!(canonical("via=auto,source=auto"), "");
        assert_eq!(
            canonical("proxy-protocol=v2,allow=10.0.0.0/8,192.0.2.7,source=gateway,via=relay"),
            "via=relay,source=gateway,allow=10.0.0.0/8,allow=192.0.2.7/32,proxy-protocol=v2",
        );
    }

    #[test]
    fn a_wrong_value_is_told_the_right_ones() {
        let texts = ["via=iptables", "via=", "source=host", "proxy-protocol=v3"];
        insta::assert_snapshot!(texts.map(canonical).join("\n"), @r#"
        refused: invalid value "iptables" for via: use auto, relay, nft, ebpf
        refused: invalid value "" for via: use auto, relay, nft, ebpf
        refused: invalid value "host" for source: use auto, client, gateway
        refused: invalid value "v3" for proxy-protocol: use v1, v2, off
        "#);
    }

    #[test]
    fn a_wrong_key_is_told_the_right_ones() {
        let texts = ["mode=host", "Via=nft", "published=80", "via=nft,source=client,via=nft"];
        insta::assert_snapshot!(texts.map(canonical).join("\n"), @r"
        refused: invalid field key: mode: use via, source, allow, proxy-protocol
        refused: invalid field key: Via: use via, source, allow, proxy-protocol
        refused: invalid field key: published: use via, source, allow, proxy-protocol
        refused: duplicate field key: via: give it once
        ");
    }

    #[test]
    fn a_part_that_is_no_option_is_refused() {
        let texts = ["via", "via=nft,", "=nft", "via=nft,10.0.0.0/8", "allow=10.0.0.0/8,ten"];
        insta::assert_snapshot!(texts.map(canonical).join("\n"), @r"
        refused: invalid publish opts format (should be name=value but got 'via')
        refused: invalid publish opts format (should be name=value but got '')
        refused: invalid publish opts format (should be name=value but got '=nft')
        refused: invalid publish opts format (should be name=value but got '10.0.0.0/8')
        refused: invalid publish opts format (should be name=value but got 'ten')
        ");
    }

    #[test]
    fn allow_may_be_given_again() {
        let again = "allow=10.0.0.0/8,via=nft,allow=fd00::/8,::1";
        assert_eq!(canonical(again), "via=nft,allow=10.0.0.0/8,allow=fd00::/8,allow=::1/128");
    }

    #[test]
    fn what_is_given_goes_before_what_others_say() {
        let given: PublishOptions = "via=relay,allow=10.0.0.0/8".parse().unwrap();
        let others = "via=nft,source=gateway,allow=::/0,proxy-protocol=v2".parse().unwrap();
        assert_eq!(
            given.or(&others).to_string(),
            "via=relay,source=gateway,allow=10.0.0.0/8,proxy-protocol=v2"
        );
        assert_eq!(PublishOptions::default().or(&others), others);
    }

    #[test]
    fn options_are_plain_in_json() {
        let options: PublishOptions = "via=nft,allow=10.0.0.0/8,proxy-protocol=v1".parse().unwrap();
        let json = serde_json::to_string(&options).unwrap();
        insta::assert_snapshot!(
            json,
            @r#"{"via":"nft","source":"auto","allow":["10.0.0.0/8"],"proxy_protocol":"v1"}"#
        );
        assert_eq!(serde_json::from_str::<PublishOptions>(&json).unwrap(), options);
        assert!(serde_json::from_str::<PublishOptions>("{}").unwrap().is_default());
    }
}
