//! Names of containers and networks, and host names.
//!
//! A value of a name type follows Docker's rule, `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, and is therefore
//! safe as a file name and never looks like an option or a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// The longest name, in bytes; Docker sets no limit, but file systems do (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// The longest label of a host name, in bytes (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// The longest host name, in bytes: 255 on the wire (RFC 1035, section 2.3.4) less two.
const HOSTNAME_MAX: usize = 253;

macro_rules! name {
    ($type:ident, $what:literal) => {
        #[doc = concat!("A valid name of a ", $what, ".")]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = SpecError;

            fn from_str(text: &str) -> Result<Self, SpecError> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(SpecError::$type(text.to_owned()))
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = SpecError;

            fn try_from(text: String) -> Result<Self, SpecError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

// === impl ContainerName and NetworkName ===

name!(ContainerName, "container");
name!(NetworkName, "network");

/// Refuses what is not a host name by RFC 1123: labels of letters, digits and inner hyphens,
/// at most 63 bytes each and 253 together. Underscores pass, too, as in Docker.
///
/// The kernel sets at most 64 bytes (`__NEW_UTS_LEN`), so not every valid name can be a
/// container's own; that is for whoever sets it to say.
pub fn validate_hostname(name: &str) -> Result<(), SpecError> {
    let reason = match name {
        "" => Some("it is empty"),
        _ if name.len() > HOSTNAME_MAX => Some("it is longer than 253 characters"),
        _ => name.split('.').find_map(label_fault),
    };
    reason.map_or(Ok(()), |reason| Err(SpecError::Hostname { name: name.to_owned(), reason }))
}

fn label_fault(label: &str) -> Option<&'static str> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if label.is_empty() {
        Some("a part between dots is empty")
    } else if label.len() > LABEL_MAX {
        Some("a part between dots is longer than 63 characters")
    } else if label.starts_with('-') || label.ends_with('-') {
        Some("a part between dots begins or ends with a hyphen")
    } else if !label.bytes().all(letter) {
        Some("only letters, digits, hyphens, underscores and dots are allowed")
    } else {
        None
    }
}

fn is_name(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    match text.as_bytes() {
        [first, rest @ ..] if !rest.is_empty() && text.len() <= NAME_MAX => {
            first.is_ascii_alphanumeric() && rest.iter().all(inner)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for name in ["web", "w1", "0a", "my_app.db-1", &"a".repeat(255)] {
            assert_eq!(name.parse::<ContainerName>().unwrap().as_str(), name);
            assert!(name.parse::<NetworkName>().is_ok(), "{name}");
        }
        for name in ["", "a", "_web", ".web", "-web", "we b", "a/b", "wéb", "web\n"] {
            assert!(name.parse::<ContainerName>().is_err(), "{name:?}");
            assert!(name.parse::<NetworkName>().is_err(), "{name:?}");
        }
        assert!("a".repeat(256).parse::<ContainerName>().is_err());
    }

    #[test]
    fn refusals_are_dockers() {
        let error = "a b".parse::<ContainerName>().unwrap_err();
        insta::assert_snapshot!(
            error,
            @"invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
        let error = "..".parse::<NetworkName>().unwrap_err();
        insta::assert_snapshot!(
            error,
            @"invalid network name (..), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
    }

    #[test]
    fn host_names_follow_rfc_1123_and_may_have_underscores() {
        let label = "a".repeat(63);
        let longest = [&*label, &label, &label, &"a".repeat(61)].join(".");
        for name in ["web", "3com", "web-1.example.org", "my_host", "A", &label, &longest] {
            assert_eq!(validate_hostname(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_refused_host_name_is_told_why() {
        let (label, long) = ("a".repeat(64), "a.".repeat(127));
        let names = ["", "a..b", "web.", "-a", "a-", "a b", "é", &label, &long];
        let texts = names.map(|name| match validate_hostname(name).unwrap_err() {
            SpecError::Hostname { reason, .. } => reason,
            other => panic!("{other}"),
        });
        insta::assert_snapshot!(texts.join("\n"), @r"
        it is empty
        a part between dots is empty
        a part between dots is empty
        a part between dots begins or ends with a hyphen
        a part between dots begins or ends with a hyphen
        only letters, digits, hyphens, underscores and dots are allowed
        only letters, digits, hyphens, underscores and dots are allowed
        a part between dots is longer than 63 characters
        it is longer than 253 characters
        ");
    }

    #[test]
    fn a_name_is_its_text_in_json() {
        let name: ContainerName = serde_json::from_str(r#""web""#).unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""web""#);
        assert!(serde_json::from_str::<NetworkName>(r#""../etc""#).is_err());
    }
}
