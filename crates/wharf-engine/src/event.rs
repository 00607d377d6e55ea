//! What happens to containers of an engine, one line of JSON each.

use serde::Deserialize;
use wharf_spec::Engine;

use crate::connection::Part;
use crate::container::is_id;

/// What is asked for. Docker would otherwise tell of every health check. Podman 4.3 translates
/// `died` to `die` only when it answers, and `remove` to Docker's `destroy` not at all.
const FILTERS: &str = r#"{"type":["container","network"],"event":["start","die","died","destroy","remove","rename","connect","disconnect"]}"#;

/// Something that happened to a container, or to the connection. What happened is a reason to
/// look, not a state: a line may come twice, and the container may be different again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container has a process again.
    Started {
        /// Its whole id.
        id: String,
    },
    /// A container's process has ended.
    Stopped {
        /// Its whole id.
        id: String,
    },
    /// A container is no more.
    Removed {
        /// Its whole id.
        id: String,
    },
    /// A container was renamed, or connected to or disconnected from a network.
    Changed {
        /// Its whole id.
        id: String,
    },
    /// Events are told from now on. Some may have been missed before: look at everything again.
    Connected,
    /// The engine cannot be reached; it is tried again and again.
    Lost {
        /// Why, with the remedy.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor")]
    actor: Option<Actor>,
}

#[derive(Debug, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: Option<Attributes>,
}

#[derive(Debug, Deserialize)]
struct Attributes {
    container: Option<String>,
}

/// The path and query that asks for events since `since`, in seconds since 1970.
pub(crate) fn path(since: u64) -> String {
    format!("/events?since={since}&filters={}", Part(FILTERS))
}

/// What a line of the stream tells; `None` when it is nothing that matters.
///
/// # Errors
/// When it is no event at all.
pub(crate) fn decode(engine: Engine, line: &[u8]) -> serde_json::Result<Option<Event>> {
    let Line { kind, action, actor } = serde_json::from_slice(line)?;
    let Some(Actor { id, attributes }) = actor else { return Ok(None) };
    let id = match (kind.as_str(), engine) {
        ("container", _) => Some(id),
        // Docker's actor is the network, Podman's (4.3 to 5.x) is the container.
        ("network", Engine::Docker) => attributes.and_then(|attributes| attributes.container),
        ("network", Engine::Podman) => {
            attributes.and_then(|attributes| attributes.container).or(Some(id))
        }
        _ => None,
    };
    let id = id.filter(|id| is_id(id));
    Ok(id.and_then(|id| match (kind.as_str(), action.as_str()) {
        ("container", "start") => Some(Event::Started { id }),
        ("container", "die" | "died") => Some(Event::Stopped { id }),
        ("container", "destroy" | "remove") => Some(Event::Removed { id }),
        ("container", "rename") | ("network", "connect" | "disconnect") => {
            Some(Event::Changed { id })
        }
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIE: &str = r#"{"status":"die","id":"5310","from":"box","Type":"container","Action":"die",
        "Actor":{"ID":"5310","Attributes":{"exitCode":"137","image":"box","name":"web"}},
        "scope":"local","time":1795407856,"timeNano":1795407856079418885}"#;
    const DOCKER: &str = r#"{"Type":"network","Action":"connect","Actor":{"ID":"76fa",
        "Attributes":{"container":"5310","name":"blue","type":"bridge"}},"scope":"local"}"#;
    const PODMAN: &str = r#"{"status":"disconnect","id":"5310","Type":"network",
        "Action":"disconnect","Actor":{"ID":"5310","Attributes":{"image":"","name":"web"}}}"#;

    fn told(engine: Engine, line: &str) -> Option<Event> {
        decode(engine, line.as_bytes()).unwrap()
    }

    #[test]
    fn lines_of_both_engines_are_understood() {
        let id = || "5310".to_owned();
        assert_eq!(told(Engine::Docker, DIE), Some(Event::Stopped { id: id() }));
        assert_eq!(told(Engine::Docker, DOCKER), Some(Event::Changed { id: id() }));
        assert_eq!(told(Engine::Podman, PODMAN), Some(Event::Changed { id: id() }));
        for (action, event) in [
            ("start", Event::Started { id: id() }),
            ("destroy", Event::Removed { id: id() }),
            ("remove", Event::Removed { id: id() }),
            ("rename", Event::Changed { id: id() }),
        ] {
            let line = DIE.replace(r#""Action":"die""#, &format!(r#""Action":"{action}""#));
            assert_eq!(told(Engine::Podman, &line), Some(event));
        }
    }

    #[test]
    fn what_does_not_matter_is_passed_over() {
        for line in [
            "{}",
            r#"{"message":"the disk is full"}"#,
            r#"{"Type":"container","Action":"exec_start: sh","Actor":{"ID":"5310"}}"#,
            r#"{"Type":"network","Action":"create","Actor":{"ID":"76fa"}}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"../../etc"}}"#,
            r#"{"Type":"container","Action":"start"}"#,
        ] {
            assert_eq!(told(Engine::Docker, line), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for line in ["", "<html>", "[1]", r#"{"Type":5}"#, "\u{0}"] {
            assert!(decode(Engine::Docker, line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn the_question_is_one_word() {
        let path = path(1_795_407_856);
        assert!(path.starts_with("/events?since=1795407856&filters=%7B%22type%22%3A%5B"), "{path}");
        assert!(path.parse::<hyper::Uri>().is_ok());
    }
}
