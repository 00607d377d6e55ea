//! Which options somebody has spoken of: those that nobody speaks of stay as they are.

use super::fields::{Key, fields};
use super::{OPTION_KEYS, PublishOptions};
use crate::spec::{LONG_KEYS, SpecError};

/// The options that a text speaks of, whatever it says of them. `via=auto` speaks of the plane
/// although it asks for nothing but the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaidOptions {
    via: bool,
    source: bool,
    allow: bool,
    proxy_protocol: bool,
}

// === impl SaidOptions ===

impl SaidOptions {
    /// Those of an options text, as flags make it.
    pub fn in_options(text: &str) -> Result<Self, SpecError> {
        match text {
            "" => Ok(Self::default()),
            text => Ok(Self::of(&fields(text, OPTION_KEYS)?)),
        }
    }

    /// Those of a port spec, in its short or its long form.
    pub fn in_spec(text: &str) -> Result<Self, SpecError> {
        match text.split_once(',') {
            Some((first, rest)) if !first.contains('=') => Self::in_options(rest),
            None if !text.contains('=') => Ok(Self::default()),
            _ => Ok(Self::of(&fields(text, LONG_KEYS)?)),
        }
    }

    fn of(fields: &[(Key, &str)]) -> Self {
        let says = |wanted| fields.iter().any(|(key, _)| *key == wanted);
        Self {
            via: says(Key::Via),
            source: says(Key::Source),
            allow: says(Key::Allow),
            proxy_protocol: says(Key::ProxyProtocol),
        }
    }

    /// What is spoken of here or there.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self {
            via: self.via || others.via,
            source: self.source || others.source,
            allow: self.allow || others.allow,
            proxy_protocol: self.proxy_protocol || others.proxy_protocol,
        }
    }

    /// `now` where something was said, and otherwise what was `before`.
    pub fn apply(self, now: PublishOptions, before: &PublishOptions) -> PublishOptions {
        PublishOptions {
            via: if self.via { now.via } else { before.via },
            source: if self.source { now.source } else { before.source },
            allow: if self.allow { now.allow } else { before.allow.clone() },
            proxy_protocol: if self.proxy_protocol {
                now.proxy_protocol
            } else {
                before.proxy_protocol
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(said: SaidOptions, now: &str) -> String {
        let before = "via=relay,source=gateway,allow=10.0.0.0/8,proxy-protocol=v2";
        said.apply(now.parse().unwrap(), &before.parse().unwrap()).to_string()
    }

    #[test]
    fn what_is_not_said_stays() {
        let text = "allow=192.0.2.7";
        let said = SaidOptions::in_options(text).unwrap();
        assert_eq!(
            changed(said, text),
            "via=relay,source=gateway,allow=192.0.2.7/32,proxy-protocol=v2"
        );
        assert_eq!(
            changed(SaidOptions::default(), ""),
            "via=relay,source=gateway,allow=10.0.0.0/8,proxy-protocol=v2"
        );
    }

    #[test]
    fn a_default_that_is_said_is_meant() {
        let text = "via=auto,source=auto,allow=any,proxy-protocol=off";
        assert_eq!(changed(SaidOptions::in_options(text).unwrap(), text), "");
    }

    #[test]
    fn specs_speak_in_both_forms() {
        let via = SaidOptions::in_options("via=auto").unwrap();
        assert_eq!(SaidOptions::in_spec("8080:80").unwrap(), SaidOptions::default());
        assert_eq!(SaidOptions::in_spec("8080:80/udp,via=auto").unwrap(), via);
        assert_eq!(SaidOptions::in_spec("published=8080,target=80,via=auto").unwrap(), via);
        assert_eq!(SaidOptions::in_spec("target=80").unwrap(), SaidOptions::default());
        assert!(SaidOptions::in_spec("8080:80,mode=host").is_err());
    }

    #[test]
    fn two_speakers_say_what_either_says() {
        let both = SaidOptions::in_options("via=nft").unwrap();
        let both = both.and(SaidOptions::in_options("allow=::1").unwrap());
        assert_eq!(both, SaidOptions::in_options("via=auto,allow=any").unwrap());
    }
}
