//! Image names: `[host/]path[:tag][@digest]`, shortened as Docker shows them.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

const DEFAULT_TAG: &str = "latest";
/// The distribution specification's limit for a whole name.
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// A parsed image name; `docker.io/library/` is dropped, as Docker does when it shows one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

// === impl Reference ===

impl Reference {
    /// The name without tag and digest.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag written, or `latest`.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }

    /// The manifest digest written, if any.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `repository:tag`, the form under which the store keeps it.
    pub fn tagged(&self) -> String {
        format!("{}:{}", self.repository, self.tag())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason| Error::Reference { text: text.to_owned(), reason };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| refuse("the digest is not sha256:HEX"))?;
                (rest, Some(digest))
            }
        };
        // A colon before the last slash belongs to the host's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.is_empty() || name.len() > NAME_LIMIT {
            return Err(refuse("the name is empty or longer than 255 bytes"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("a tag is 1 to 128 letters, digits, '_', '.' and '-'"));
        }
        check_name(name).map_err(refuse)?;
        Ok(Self { repository: familiar(name), tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let path = match name.split_once('/') {
        Some((host, path)) if is_host(host) => path,
        _ => name,
    };
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("repository name must be lowercase");
    }
    if path.split('/').all(is_component) { Ok(()) } else { Err("the name is malformed") }
}

fn familiar(name: &str) -> String {
    let path = name
        .strip_prefix("docker.io/")
        .or_else(|| name.strip_prefix("index.docker.io/"))
        .unwrap_or(name);
    path.strip_prefix("library/").unwrap_or(path).to_owned()
}

/// Docker's rule: a first part with a dot or a port, or `localhost`, is a registry.
fn is_host(part: &str) -> bool {
    let (host, port) = part.split_once(':').unwrap_or((part, "0"));
    let looks = part == "localhost" || part.contains(['.', ':']);
    looks && host.split('.').all(is_label) && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric();
    label.bytes().next().is_some_and(word)
        && label.bytes().last().is_some_and(word)
        && label.bytes().all(|b| word(b) || b == b'-')
}

/// Lower-case letters and digits, held together by single `.`, one or two `_`, or any `-`.
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_well = part.bytes().next().is_some_and(word) && part.bytes().last().is_some_and(word);
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_well
        && separators
            .filter(|s| !s.is_empty())
            .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_LIMIT
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_as_docker_shows_them() {
        let cases = [
            ("busybox", "busybox:latest"),
            ("docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/grafana/grafana", "grafana/grafana:latest"),
            ("wharf/whoami", "wharf/whoami:latest"),
            ("localhost:5000/a/b_c:x", "localhost:5000/a/b_c:x"),
            ("ghcr.io/a/b--c.d__e", "ghcr.io/a/b--c.d__e:latest"),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Reference>().unwrap().tagged(), want);
        }
    }

    #[test]
    fn a_digest_is_kept() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("busybox@{digest}").parse().unwrap();
        assert_eq!(reference.digest(), Some(&digest));
        assert_eq!(reference.repository(), "busybox");
    }

    #[test]
    fn bad_names_are_refused_with_a_reason() {
        for text in [
            "", "Busybox", "a//b", "a:", ":a", "a:b:c", "../x", "a b", "a.-b", "-a", "a@b", "a___b",
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.starts_with("invalid reference format"), "{text}: {error}");
        }
        assert!("Abc".parse::<Reference>().unwrap_err().to_string().contains("must be lowercase"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_a_parsed_name_parses_again(text in "[a-zA-Z0-9_.:/@-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                proptest::prop_assert_eq!(again.tagged(), reference.tagged());
            }
        }
    }
}
