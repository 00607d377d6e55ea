//! The parts of an image's configuration a container needs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::health::SaidHealth;

/// What an image says about the containers made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `NAME=value`, in the image's order.
    pub env: Vec<String>,
    /// The default arguments, or the command when there is no entrypoint.
    pub cmd: Vec<String>,
    /// The command.
    pub entrypoint: Vec<String>,
    /// `name|uid[:group|gid]`; empty means root.
    pub user: String,
    /// The working directory; empty means `/`.
    pub workdir: String,
    /// Ports said to be in use, as `80/tcp`, sorted.
    pub exposed: Vec<String>,
    /// Paths that want a volume, sorted.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the command to end.
    pub stop_signal: Option<String>,
    /// How its health is found out.
    pub health: SaidHealth,
}

/// The configuration file of an image, as Docker and OCI write it.
#[derive(Debug, Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<RawConfig>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    history: Option<Vec<RawStep>>,
    rootfs: RootFs,
    /// As it was written.
    #[serde(skip)]
    text: Vec<u8>,
}

/// One line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// The command that made it.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// Whether it made no layer.
    pub is_empty: bool,
}

#[derive(Debug, Deserialize)]
struct RawStep {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    created_by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    empty_layer: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// Go writes empty lists and maps as `null`, so everything here may be.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    #[serde(deserialize_with = "words")]
    env: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    user: Option<String>,
    working_dir: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    healthcheck: Option<RawHealth>,
}

/// Times are nanoseconds, 0 where nothing was said.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealth {
    test: Option<Vec<String>>,
    interval: Option<u64>,
    timeout: Option<u64>,
    start_period: Option<u64>,
    start_interval: Option<u64>,
    retries: Option<u32>,
}

// === impl ConfigFile ===

impl ConfigFile {
    pub(super) fn read(text: Vec<u8>) -> serde_json::Result<Self> {
        let config: Self = serde_json::from_slice(&text)?;
        Ok(Self { text, ..config })
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn variant(&self) -> Option<String> {
        self.variant.clone().filter(|variant| !variant.is_empty())
    }

    /// How it was made, the first step first.
    pub(super) fn history(&self) -> Vec<Step> {
        let steps = self.history.iter().flatten();
        let steps = steps.map(|step| Step {
            created: step.created.clone(),
            created_by: step.created_by.clone().unwrap_or_default(),
            comment: step.comment.clone().unwrap_or_default(),
            is_empty: step.empty_layer.unwrap_or_default(),
        });
        steps.collect()
    }

    pub(super) fn layers(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }

    pub(super) fn architecture(&self) -> String {
        self.architecture.clone().unwrap_or_default()
    }

    pub(super) fn os(&self) -> &str {
        self.os.as_deref().filter(|os| !os.is_empty()).unwrap_or("linux")
    }

    pub(super) fn created(&self) -> Option<String> {
        self.created.clone()
    }

    pub(super) fn into_config(self) -> ImageConfig {
        let raw = self.config.unwrap_or_default();
        ImageConfig {
            env: raw.env,
            cmd: raw.cmd,
            entrypoint: raw.entrypoint,
            user: raw.user.unwrap_or_default(),
            workdir: raw.working_dir.unwrap_or_default(),
            exposed: raw.exposed_ports.unwrap_or_default().into_keys().map(with_proto).collect(),
            volumes: raw.volumes.unwrap_or_default().into_keys().collect(),
            labels: raw.labels.unwrap_or_default(),
            stop_signal: raw.stop_signal.filter(|signal| !signal.is_empty()),
            health: raw.healthcheck.map(RawHealth::said).unwrap_or_default(),
        }
    }
}

// === impl RawHealth ===

impl RawHealth {
    fn said(self) -> SaidHealth {
        let time = |nanoseconds: Option<u64>| nanoseconds.map(Duration::from_nanos);
        SaidHealth {
            test: self.test.unwrap_or_default(),
            interval: time(self.interval),
            timeout: time(self.timeout),
            start_period: time(self.start_period),
            start_interval: time(self.start_interval),
            retries: self.retries,
        }
    }
}

fn with_proto(port: String) -> String {
    if port.contains('/') { port } else { format!("{port}/tcp") }
}

/// A list, nothing, or (in images older than 2013) one string.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::<Words>::deserialize(from)? {
        None => Vec::new(),
        Some(Words::Many(list)) => list,
        Some(Words::One(word)) => vec![word],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_single_words_are_understood() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":"sh",
            "ExposedPorts":{"80":{},"53/udp":{}},"Labels":null,"User":""},
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = serde_json::from_str::<ConfigFile>(text).unwrap().into_config();
        assert_eq!(config.cmd, ["sh"]);
        assert_eq!(config.exposed, ["53/udp", "80/tcp"]);
        assert!(config.env.is_empty());
    }
}
