//! Image names: `[host/]path[:tag][@digest]`, shortened as Docker shows them.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

const DEFAULT_TAG: &str = "latest";
const DEFAULT_REGISTRY: &str = "docker.io";
/// The distribution specification's limit for a whole name.
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;
/// Ids and names are told apart by this.
const ID_LENGTH: usize = 64;

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

    /// `repository@digest`, the form under which the store remembers where an image came from.
    pub fn at(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.repository)
    }

    /// The registry's host and port, `docker.io` where none is named.
    pub fn registry(&self) -> &str {
        match self.repository.split_once('/') {
            Some((host, _)) if is_host(host) => host,
            _ => DEFAULT_REGISTRY,
        }
    }

    /// The repository as its registry knows it: `library/nginx`.
    pub fn path(&self) -> String {
        match self.repository.split_once('/') {
            Some((host, path)) if is_host(host) => path.to_owned(),
            Some(_) => self.repository.clone(),
            None => format!("library/{}", self.repository),
        }
    }

    /// The digest where there is one, otherwise the tag: what a registry is asked for.
    pub fn wanted(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.tag().to_owned(), ToString::to_string)
    }

    /// The whole name, as `docker pull` ends with it: `docker.io/library/nginx:latest`.
    pub fn canonical(&self) -> String {
        let name = format!("{}/{}", self.registry(), self.path());
        match &self.digest {
            Some(digest) => format!("{name}@{digest}"),
            None => format!("{name}:{}", self.tag()),
        }
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
        if name.len() == ID_LENGTH && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse("64 hexadecimal digits are an image id and cannot be a name"));
        }
        let reference = Self { repository: familiar(name), tag: tag.map(str::to_owned), digest };
        // The limit is for the whole name, and so the registry's part that was left out counts, too.
        if reference.registry().len() + 1 + reference.path().len() > NAME_LIMIT {
            return Err(refuse("with its registry the name is longer than 255 bytes"));
        }
        Ok(reference)
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

/// Only what is Docker's own is shortened, and only where the short form means the same again.
fn familiar(name: &str) -> String {
    let path = match name.split_once('/') {
        Some(("docker.io" | "index.docker.io", path)) => path,
        _ => name,
    };
    // `docker.io/a.b/c`: without its beginning it would be somebody else's.
    if path != name && path.split_once('/').is_some_and(|(first, _)| is_host(first)) {
        return format!("{DEFAULT_REGISTRY}/{path}");
    }
    match path.strip_prefix("library/") {
        Some(official) if !official.contains('/') => official.to_owned(),
        _ => path.to_owned(),
    }
}

/// Docker's rule: a first part with a dot, a port or an upper-case letter, or `localhost`, is a
/// registry.
fn is_host(part: &str) -> bool {
    let looks = part == "localhost"
        || part.contains(['.', ':'])
        || part.bytes().any(|b| b.is_ascii_uppercase());
    if !looks {
        return false;
    }
    let is_port = |port: &str| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    if let Some(rest) = part.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port = if port.is_empty() { Some("0") } else { port.strip_prefix(':') };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port.is_some_and(is_port);
    }
    let (host, port) = part.split_once(':').unwrap_or((part, "0"));
    host.split('.').all(is_label) && is_port(port)
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
    fn what_is_taken_is_taken_again_by_its_whole_name() {
        for length in 200..=255 {
            if let Ok(reference) = "a".repeat(length).parse::<Reference>() {
                assert!(reference.canonical().parse::<Reference>().is_ok(), "{length}");
            }
        }
    }

    #[test]
    fn names_are_shortened_as_docker_shows_them() {
        let cases = [
            ("library/busybox", "busybox:latest"),
            ("docker.io/library/a/b", "library/a/b:latest"),
            ("[::1]:5000/a:x", "[::1]:5000/a:x"),
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
    fn registries_are_found_by_dockers_rule() {
        let cases = [
            ("busybox", "docker.io", "library/busybox", "docker.io/library/busybox:latest"),
            ("grafana/grafana:9", "docker.io", "grafana/grafana", "docker.io/grafana/grafana:9"),
            ("localhost/a", "localhost", "a", "localhost/a:latest"),
            ("host:5000/a/b", "host:5000", "a/b", "host:5000/a/b:latest"),
            ("[fd00::1]:5000/a", "[fd00::1]:5000", "a", "[fd00::1]:5000/a:latest"),
            ("docker.io/a.b/c", "docker.io", "a.b/c", "docker.io/a.b/c:latest"),
            ("Host/a", "Host", "a", "Host/a:latest"),
            ("quay.io/a/b", "quay.io", "a/b", "quay.io/a/b:latest"),
        ];
        for (text, registry, path, canonical) in cases {
            let reference = text.parse::<Reference>().unwrap();
            assert_eq!((reference.registry(), reference.path().as_str()), (registry, path));
            assert_eq!(reference.canonical(), canonical);
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
            "",
            "Busybox",
            "a//b",
            "a:",
            ":a",
            "a:b:c",
            "../x",
            "a b",
            "a.-b",
            "-a",
            "a@b",
            "a___b",
            "[::1/a",
            "[zz]:1/a",
            "host:port/a",
            "host:70000/a",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
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
                let whole: Reference = reference.canonical().parse().unwrap();
                proptest::prop_assert_eq!(whole.repository(), reference.repository());
                proptest::prop_assert_eq!(whole.wanted(), reference.wanted());
            }
        }
    }
}
