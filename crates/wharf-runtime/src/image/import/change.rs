//! `--change`: lines of a Dockerfile that say something about an image's containers.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// One line, as it changes a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Takes the place of what was there.
    Set(&'static str, Value),
    /// `NAME=value` of a list, by the names.
    Env(Vec<(String, String)>),
    /// Keys of an object.
    Insert(&'static str, Vec<(String, Value)>),
}

// === impl Change ===

impl Change {
    pub(super) fn apply(&self, config: &mut Map<String, Value>) {
        match self {
            Self::Set(key, value) => {
                config.insert((*key).to_owned(), value.clone());
            }
            Self::Env(pairs) => {
                let list = config.entry("Env").or_insert_with(|| json!([]));
                let Some(list) = list.as_array_mut() else { return };
                for (name, value) in pairs {
                    let own = format!("{name}=");
                    list.retain(|entry| !entry.as_str().is_some_and(|it| it.starts_with(&own)));
                    list.push(json!(format!("{name}={value}")));
                }
            }
            Self::Insert(key, entries) => {
                let object = config.entry(*key).or_insert_with(|| json!({}));
                if let Some(object) = object.as_object_mut() {
                    object.extend(entries.iter().cloned());
                }
            }
        }
    }
}

impl FromStr for Change {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let refuse = |why: &str| Error::Spec(format!("invalid change {line:?}: {why}"));
        let (word, rest) = line.trim().split_once([' ', '\t']).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err(refuse("write an instruction and its argument, as in `CMD /bin/sh`"));
        }
        let keys = |words: Vec<String>| words.into_iter().map(|it| (it, json!({}))).collect();
        let words = |text: &str| {
            let list = serde_json::from_str::<Vec<String>>(text);
            list.unwrap_or_else(|_| text.split_whitespace().map(str::to_owned).collect())
        };
        match word.to_ascii_uppercase().as_str() {
            "CMD" => Ok(Self::Set("Cmd", json!(command(rest)))),
            "ENTRYPOINT" => Ok(Self::Set("Entrypoint", json!(command(rest)))),
            "USER" => Ok(Self::Set("User", json!(rest))),
            "WORKDIR" if rest.starts_with('/') => Ok(Self::Set("WorkingDir", json!(rest))),
            "WORKDIR" => Err(refuse("the directory must be absolute")),
            "STOPSIGNAL" => Ok(Self::Set("StopSignal", json!(rest))),
            "VOLUME" => Ok(Self::Insert("Volumes", keys(words(rest)))),
            "EXPOSE" => {
                let ports = words(rest).into_iter().map(|port| match port.contains('/') {
                    true => port,
                    false => format!("{port}/tcp"),
                });
                let ports: Vec<String> = ports.collect();
                for port in &ports {
                    port.parse::<wharf_spec::Expose>().map_err(|e| refuse(&e.to_string()))?;
                }
                Ok(Self::Insert("ExposedPorts", keys(ports)))
            }
            "ENV" => Ok(Self::Env(pairs(rest).ok_or_else(|| refuse("use ENV NAME=value"))?)),
            "LABEL" => {
                let labels = pairs(rest).ok_or_else(|| refuse("use LABEL key=value"))?;
                let labels = labels.into_iter().map(|(name, value)| (name, json!(value)));
                Ok(Self::Insert("Labels", labels.collect()))
            }
            _ => Err(refuse(
                "use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR",
            )),
        }
    }
}

/// A JSON list is a command line; everything else is one for the shell.
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// `NAME=value` any number of times, quoted as for a shell; or once `NAME value`, where everything
/// behind the name is the value.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let first = text.split_whitespace().next()?;
    let pairs: Vec<(String, String)> = if first.contains('=') {
        let words = shlex::split(text)?;
        let pair = |word: &String| {
            word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        words.iter().map(pair).collect::<Option<_>>()?
    } else {
        let (name, value) = text.split_once([' ', '\t'])?;
        vec![(name.to_owned(), value.trim().to_owned())]
    };
    pairs.iter().all(|(name, _)| !name.is_empty()).then_some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_change_a_configuration_as_in_a_dockerfile() {
        let lines = [
            "ENV A=1",
            "env B two words",
            "ENV A=\"3\" C='x y' D=a\\ b",
            "CMD [\"httpd\", \"-f\"]",
            "ENTRYPOINT run it",
            "EXPOSE 80 53/udp",
            "LABEL made=here \"by whom\"=\"the house\"",
            "WORKDIR /srv",
            "VOLUME [\"/data\"]",
            "USER alice",
            "STOPSIGNAL SIGINT",
        ];
        let mut config = Map::new();
        for line in lines {
            line.parse::<Change>().unwrap().apply(&mut config);
        }
        let want = json!({
            "Env": ["B=two words", "A=3", "C=x y", "D=a b"], "Cmd": ["httpd", "-f"],
            "Entrypoint": ["/bin/sh", "-c", "run it"],
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Labels": {"made": "here", "by whom": "the house"},
            "WorkingDir": "/srv", "Volumes": {"/data": {}}, "User": "alice",
            "StopSignal": "SIGINT",
        });
        assert_eq!(Value::Object(config), want);
    }

    #[test]
    fn others_are_refused_with_what_there_is() {
        for line in [
            "",
            "RUN x",
            "CMD",
            "WORKDIR x",
            "EXPOSE x",
            "ENV A",
            "ENV =x",
            "ENV A=1 B",
            "ENV A='x",
            "ONBUILD CMD x",
        ] {
            let error = line.parse::<Change>().unwrap_err().to_string();
            assert!(error.starts_with("invalid change"), "{line}: {error}");
        }
    }
}
