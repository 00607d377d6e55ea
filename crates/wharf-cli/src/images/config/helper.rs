//! Credential helpers: `docker-credential-NAME get|store|erase`, by Docker's protocol.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use wharf_api::RegistryCredential;

use crate::failure::Exit;

/// A helper may ask its user for a key first.
const LIMIT: Duration = Duration::from_secs(120);
/// What helpers answer for a registry they know nothing of.
const UNKNOWN: &str = "credentials not found in native keychain";
/// The user name that stands for an identity token.
const TOKEN: &str = "<token>";

/// A program that keeps credentials.
#[derive(Debug)]
pub(super) struct Helper {
    program: String,
}

// === impl Helper ===

impl Helper {
    /// The helper `name`, found in `PATH`.
    pub(super) fn new(name: &str) -> Result<Self, Exit> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !name.bytes().all(plain) || name.contains("..") {
            return Err(Exit::failed(format!("{name:?} is no name of a credential helper")));
        }
        Ok(Self { program: format!("docker-credential-{name}") })
    }

    #[cfg(test)]
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<RegistryCredential>, Exit> {
        let output = match self.run("get", key).await {
            Err(text) if text.contains(UNKNOWN) => return Ok(None),
            other => other.map_err(Exit::failed)?,
        };
        let value: Value = serde_json::from_str(&output)
            .map_err(|e| Exit::failed(format!("{} gave no credential: {e}", self.program)))?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (username, secret) = (text("Username").to_owned(), text("Secret").to_owned());
        Ok(match (username.as_str(), secret.is_empty()) {
            (_, true) => None,
            (TOKEN, _) => Some(RegistryCredential::IdentityToken(secret)),
            _ => Some(RegistryCredential::Password { username, password: secret }),
        })
    }

    pub(super) async fn store(
        &self,
        key: &str,
        credential: &RegistryCredential,
    ) -> Result<(), Exit> {
        let (username, secret) = match credential {
            RegistryCredential::Password { username, password } => (username.as_str(), password),
            RegistryCredential::IdentityToken(token) => (TOKEN, token),
        };
        let input = json!({"ServerURL": key, "Username": username, "Secret": secret});
        self.run("store", &input.to_string()).await.map(drop).map_err(Exit::failed)
    }

    pub(super) async fn erase(&self, key: &str) -> Result<(), Exit> {
        self.run("erase", key).await.map(drop).map_err(Exit::failed)
    }

    /// What it prints; an error is what it says, which is on standard output, too.
    async fn run(&self, action: &str, input: &str) -> Result<String, String> {
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{} is not to be found, and Docker's config.json names it", self.program)
            }
            _ => format!("{} {action}: {e}", self.program),
        };
        let mut child = tokio::process::Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let conversation = async {
            if let Some(mut stdin) = stdin {
                // One that needs no input may have ended already.
                let _unread = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(LIMIT, conversation).await;
        let output = output
            .map_err(|_| format!("{} did not answer in {} s", self.program, LIMIT.as_secs()))?
            .map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => Err(format!("{} {action}: {}", self.program, text.trim())),
        }
    }
}
