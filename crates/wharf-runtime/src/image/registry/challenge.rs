//! `WWW-Authenticate`: what a registry wants before it answers.

use std::collections::BTreeMap;

/// More parameters than any challenge has.
const PARAMETER_LIMIT: usize = 32;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A user and password with every request.
    Basic,
    /// A token of the server `realm`.
    Bearer {
        /// The token server's address.
        realm: String,
        /// What the token is for.
        service: Option<String>,
        /// What it must allow.
        scope: Option<String>,
    },
}

// === impl Challenge ===

impl Challenge {
    /// Reads one header; `None` when it asks for something else.
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let (scheme, rest) = header.split_once([' ', '\t']).unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        let mut take = |name: &str| parameters.remove(name).filter(|value| !value.is_empty());
        Some(Self::Bearer { realm: take("realm")?, service: take("service"), scope: take("scope") })
    }
}

/// `name=token` and `name="quoted string"`, with commas between (RFC 9110, 11.2).
fn parameters(mut text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while found.len() < PARAMETER_LIMIT {
        text = text.trim_start_matches([' ', '\t', ',']);
        let Some((name, rest)) = text.split_once('=') else { break };
        let (value, rest) = value(rest.trim_start());
        found.entry(name.trim().to_ascii_lowercase()).or_insert(value);
        text = rest;
    }
    found
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (service, scope) = (owned(service), owned(scope));
        Some(Challenge::Bearer { realm: realm.to_owned(), service, scope })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#;
        let scope = Some("repository:library/nginx:pull");
        let want = bearer("https://auth.docker.io/token", Some("registry.docker.io"), scope);
        assert_eq!(Challenge::parse(docker), want);
        assert_eq!(Challenge::parse(r#"Basic realm="Registry Realm""#), Some(Challenge::Basic));
        let spaced = r#"bearer  realm="a\"b" , scope="x,y" , service=z"#;
        assert_eq!(Challenge::parse(spaced), bearer("a\"b", Some("z"), Some("x,y")));
    }

    #[test]
    fn others_and_those_without_a_realm_are_not_understood() {
        for text in ["", "Negotiate", "Bearer", r#"Bearer service="x""#, r#"Bearer realm="""#] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(text in "(Bearer )?[ -~äé\"\\\\=,]{0,80}") {
            let _understood = Challenge::parse(&text);
        }
    }
}
