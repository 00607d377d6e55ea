//! The `key=value` parts of a spec, told apart before their values are read.

use crate::options::network;
use crate::spec::SpecError;

/// The name of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Published,
    Target,
    Protocol,
    Via,
    Source,
    Allow,
    ProxyProtocol,
}

// === impl Key ===

impl Key {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Target => "target",
            Self::Protocol => "protocol",
            Self::Via => "via",
            Self::Source => "source",
            Self::Allow => "allow",
            Self::ProxyProtocol => "proxy-protocol",
        }
    }
}

/// Splits `text` into parts whose keys are among `keys`, each at most once but for `allow`.
pub(crate) fn fields<'a>(text: &'a str, keys: &[Key]) -> Result<Vec<(Key, &'a str)>, SpecError> {
    let mut fields: Vec<(Key, &str)> = Vec::new();
    for part in text.split(',') {
        let field = match part.split_once('=') {
            Some((name, value)) if !name.is_empty() => (named(name, keys)?, value),
            _ if goes_on(&fields, part) => (Key::Allow, part),
            _ => return Err(SpecError::PublishFormat(part.to_owned())),
        };
        if field.0 != Key::Allow && fields.iter().any(|(key, _)| *key == field.0) {
            return Err(SpecError::DuplicateKey(field.0.as_str()));
        }
        fields.push(field);
    }
    Ok(fields)
}

/// Whether `part` carries on the list of the `allow` just before it.
fn goes_on(fields: &[(Key, &str)], part: &str) -> bool {
    fields.last().is_some_and(|(key, _)| *key == Key::Allow) && network::parse(part).is_ok()
}

fn named(name: &str, keys: &[Key]) -> Result<Key, SpecError> {
    keys.iter().copied().find(|key| key.as_str() == name).ok_or_else(|| SpecError::FieldKey {
        key: name.to_owned(),
        wanted: keys.iter().map(|key| key.as_str()).collect(),
    })
}
