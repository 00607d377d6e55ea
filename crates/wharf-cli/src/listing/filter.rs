//! Which containers `ps` shows.

use wharf_api::{ContainerState, ContainerSummary};

use crate::failure::Exit;

const USE: &str = "use id=ID, name=NAME, status=STATE, exited=CODE, label=KEY[=VALUE], \
                   network=NETWORK or ancestor=IMAGE";

/// Conditions, as after `--filter`: one of each kind must hold, and every one about labels.
#[derive(Debug, Default)]
pub(super) struct Filter {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Id(String),
    Name(Name),
    Status(ContainerState),
    Exited(i32),
    Label(String, Option<String>),
    Network(String),
    Ancestor(String),
}

/// A part of a name, at its beginning or end if `^` or `$` say so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    text: String,
    begins: bool,
    ends: bool,
}

// === impl Filter ===

impl Filter {
    pub(super) fn new(conditions: &[String]) -> Result<Self, Exit> {
        let parsed = conditions.iter().map(|text| {
            Condition::parse(text)
                .ok_or_else(|| Exit::failed(format!("invalid filter {text:?}: {USE}")))
        });
        Ok(Self { conditions: parsed.collect::<Result<_, _>>()? })
    }

    /// Whether containers that do not run are asked for by a condition about how they are.
    pub(super) fn is_about_state(&self) -> bool {
        self.conditions.iter().any(|it| matches!(it, Condition::Status(_) | Condition::Exited(_)))
    }

    pub(super) fn passes(&self, container: &ContainerSummary) -> bool {
        let fits = |condition: &Condition| match condition {
            Condition::Label(..) => condition.holds(container),
            one => {
                let same = self.conditions.iter().filter(|other| one.is_like(other));
                same.into_iter().any(|other| other.holds(container))
            }
        };
        self.conditions.iter().all(fits)
    }
}

// === impl Condition ===

impl Condition {
    fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once('=')?;
        let owned = value.to_owned();
        Some(match kind {
            "id" => Self::Id(owned),
            "name" => Self::Name(Name::parse(value)?),
            "status" => Self::Status(serde_json::from_value(owned.into()).ok()?),
            "exited" => Self::Exited(value.parse().ok()?),
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(owned, None),
            },
            "network" => Self::Network(owned),
            "ancestor" => Self::Ancestor(owned),
            _ => return None,
        })
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    fn holds(&self, container: &ContainerSummary) -> bool {
        match self {
            Self::Id(id) => container.id.starts_with(id.as_str()),
            Self::Name(name) => name.fits(&container.name),
            Self::Status(state) => container.state == *state,
            Self::Exited(code) => {
                container.state == ContainerState::Exited && container.exit_code == Some(*code)
            }
            Self::Label(key, wanted) => container
                .labels
                .get(key)
                .is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value)),
            Self::Network(network) => container.networks.contains(network),
            Self::Ancestor(image) => {
                let untagged = container.image.strip_suffix(":latest");
                container.image == *image
                    || untagged == Some(image)
                    || image.strip_suffix(":latest") == Some(&container.image)
            }
        }
    }
}

// === impl Name ===

impl Name {
    /// Docker takes regular expressions here, of which people write `^/web$`.
    fn parse(text: &str) -> Option<Self> {
        let begun = text.strip_prefix('^').or(text.strip_prefix('/'));
        let begun = begun.map(|rest| rest.strip_prefix('/').unwrap_or(rest));
        let rest = begun.unwrap_or(text);
        let ended = rest.strip_suffix('$');
        let plain = ended.unwrap_or(rest);
        let is_plain = plain.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        is_plain.then(|| Self {
            text: plain.to_owned(),
            begins: begun.is_some(),
            ends: ended.is_some(),
        })
    }

    fn fits(&self, name: &str) -> bool {
        match (self.begins, self.ends) {
            (true, true) => name == self.text,
            (true, false) => name.starts_with(&self.text),
            (false, true) => name.ends_with(&self.text),
            (false, false) => name.contains(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ContainerSummary {
        ContainerSummary {
            id: "abcdef".into(),
            name: "web-1".into(),
            image: "nginx:latest".into(),
            command: String::new(),
            created: String::new(),
            state: ContainerState::Exited,
            status: String::new(),
            exit_code: Some(3),
            ports: Vec::new(),
            ports_text: String::new(),
            networks: vec!["blue".into()],
            labels: [("tier".to_owned(), "front".to_owned())].into(),
        }
    }

    fn passes(conditions: &[&str]) -> bool {
        let conditions: Vec<String> = conditions.iter().map(|&it| it.to_owned()).collect();
        Filter::new(&conditions).unwrap().passes(&web())
    }

    #[test]
    fn each_kind_must_hold_and_one_of_a_kind_is_enough() {
        for condition in [
            "id=abc",
            "name=eb",
            "name=^/web-1$",
            "name=^web",
            "name=/web",
            "name=1$",
            "status=exited",
            "exited=3",
            "label=tier",
            "label=tier=front",
            "network=blue",
            "ancestor=nginx",
            "ancestor=nginx:latest",
        ] {
            assert!(passes(&[condition]), "{condition}");
        }
        for condition in [
            "id=bc",
            "name=db",
            "name=^eb",
            "name=^/web$",
            "status=running",
            "exited=0",
            "label=x",
            "label=tier=back",
            "network=red",
            "ancestor=redis",
        ] {
            assert!(!passes(&[condition]), "{condition}");
        }
        assert!(passes(&[]) && passes(&["name=db", "name=web"]));
        assert!(!passes(&["name=web", "status=running"]));
        assert!(!passes(&["label=tier", "label=x"]));
    }

    #[test]
    fn what_cannot_be_filtered_by_is_refused() {
        for condition in ["web", "name=w.*b|x", "status=fine", "exited=x", "volume=data"] {
            assert!(Filter::new(&[condition.to_owned()]).is_err(), "{condition}");
        }
    }
}
