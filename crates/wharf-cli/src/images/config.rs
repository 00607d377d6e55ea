//! Docker's `config.json`: who we are to which registry.
//!
//! The file is Docker's own, so that whoever has logged in there need not do so here. Credential
//! helpers are programs of the user's and run here, never in the daemon.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value, json};
use wharf_api::RegistryCredential;

use crate::failure::Exit;

mod helper;

use helper::Helper;

/// Docker's registry, and the key it has had in this file since the first version of its API.
pub(super) const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The file and what is in it.
#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    content: Map<String, Value>,
}

/// Where a credential is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// In the file, readable by whoever may read that.
    InFile(PathBuf),
    /// By a helper.
    ByHelper,
}

// === impl Config ===

impl Config {
    /// Reads the file; none is as good as an empty one.
    pub(super) fn load() -> Result<Self, Exit> {
        let directory = std::env::var_os("DOCKER_CONFIG").filter(|path| !path.is_empty());
        let directory = match directory {
            Some(directory) => PathBuf::from(directory),
            None => match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
                Some(home) => Path::new(&home).join(".docker"),
                None => return Ok(Self { path: PathBuf::new(), content: Map::new() }),
            },
        };
        Self::read(directory.join("config.json"))
    }

    fn read(path: PathBuf) -> Result<Self, Exit> {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self { path, content: Map::new() });
            }
            Err(e) => return Err(Exit::failed(format!("cannot read {}: {e}", path.display()))),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { path, content: Map::new() });
        }
        let content = serde_json::from_slice(&text)
            .map_err(|e| Exit::failed(format!("{} is not understood: {e}", path.display())))?;
        Ok(Self { path, content })
    }

    /// Who we are to `registry`; `None` when nobody.
    pub(super) async fn credential(
        &self,
        registry: &str,
    ) -> Result<Option<RegistryCredential>, Exit> {
        match self.helper(registry)? {
            Some(helper) => helper.get(key(registry)).await,
            None => self.in_file(registry),
        }
    }

    /// Keeps a credential.
    pub(super) async fn keep(
        &mut self,
        registry: &str,
        credential: &RegistryCredential,
    ) -> Result<Kept, Exit> {
        let helper = self.helper(registry)?;
        let entry = match &helper {
            Some(helper) => {
                helper.store(key(registry), credential).await?;
                // Docker leaves a mark that there is something to ask the helper for.
                json!({})
            }
            None => entry(credential),
        };
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else {
            return Err(Exit::failed(format!("{}: auths is no object", self.path.display())));
        };
        auths.insert(key(registry).to_owned(), entry);
        self.write()?;
        Ok(match helper {
            Some(_) => Kept::ByHelper,
            None => Kept::InFile(self.path.clone()),
        })
    }

    /// Forgets a credential; `false` when there was none.
    pub(super) async fn forget(&mut self, registry: &str) -> Result<bool, Exit> {
        let mut known = false;
        if let Some(helper) = self.helper(registry)? {
            known = helper.get(key(registry)).await?.is_some();
            if known {
                helper.erase(key(registry)).await?;
            }
        }
        let keys = self.keys(registry);
        if let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) {
            for key in &keys {
                known |= auths.remove(key).is_some();
            }
        }
        if !keys.is_empty() {
            self.write()?;
        }
        Ok(known)
    }

    /// A helper of its own, or the one for all.
    fn helper(&self, registry: &str) -> Result<Option<Helper>, Exit> {
        let own = self.content.get("credHelpers").and_then(|helpers| helpers.get(key(registry)));
        let named = own.or_else(|| self.content.get("credsStore")).and_then(Value::as_str);
        named.filter(|name| !name.is_empty()).map(Helper::new).transpose()
    }

    /// The keys of `registry` in the file; tools write it with and without a scheme and a path.
    fn keys(&self, registry: &str) -> Vec<String> {
        let auths = self.content.get("auths").and_then(Value::as_object);
        let own = auths.into_iter().flat_map(Map::keys).filter(|key| is_of(key, registry));
        own.cloned().collect()
    }

    fn in_file(&self, registry: &str) -> Result<Option<RegistryCredential>, Exit> {
        let keys = self.keys(registry);
        let exact = keys.iter().find(|it| *it == key(registry)).or_else(|| keys.first());
        let Some(found) = exact else { return Ok(None) };
        let Some(entry) = self.content.get("auths").and_then(|auths| auths.get(found)) else {
            return Ok(None);
        };
        read_entry(entry).map_err(|why| {
            let path = self.path.display();
            Exit::failed(format!("{path}: the entry of {found} {why}; use `wharf login`"))
        })
    }

    fn write(&self) -> Result<(), Exit> {
        if self.path.as_os_str().is_empty() {
            return Err(Exit::failed("nowhere to keep it: set DOCKER_CONFIG or HOME"));
        }
        let failed =
            |e: std::io::Error| Exit::failed(format!("cannot write {}: {e}", self.path.display()));
        // Somebody may keep the file elsewhere, behind a link.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        let beside = directory.join(format!("config.json.{}.tmp", std::process::id()));
        let mut text = serde_json::to_vec_pretty(&self.content)?;
        text.push(b'\n');
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        let written = file
            .write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&beside, &path));
        written.map_err(|e| {
            let _gone = fs::remove_file(&beside);
            failed(e)
        })
    }
}

/// What the file and helpers call `registry`.
pub(super) fn key(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry }
}

fn is_of(key: &str, registry: &str) -> bool {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = host.split('/').next().unwrap_or_default();
    match registry {
        DOCKER_HUB => matches!(host, "index.docker.io" | "docker.io"),
        other => host.eq_ignore_ascii_case(other),
    }
}

fn entry(credential: &RegistryCredential) -> Value {
    match credential {
        RegistryCredential::Password { username, password } => {
            json!({"auth": STANDARD.encode(format!("{username}:{password}"))})
        }
        RegistryCredential::IdentityToken(token) => json!({"identitytoken": token}),
    }
}

fn read_entry(entry: &Value) -> Result<Option<RegistryCredential>, &'static str> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(RegistryCredential::IdentityToken(token.to_owned())));
    }
    let (username, password) = match text("auth") {
        Some(auth) => {
            let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth));
            let decoded = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or("is not base64")?;
            let (username, password) = decoded.split_once(':').ok_or("has no password")?;
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        None => match (text("username"), text("password")) {
            (Some(username), Some(password)) => (username.to_owned(), password.to_owned()),
            // A mark for a helper that is no longer configured.
            _ => return Ok(None),
        },
    };
    Ok(Some(RegistryCredential::Password { username, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(content: Value) -> Config {
        let Value::Object(content) = content else { panic!("no object") };
        Config { path: PathBuf::from("config.json"), content }
    }

    fn password(username: &str, password: &str) -> Option<RegistryCredential> {
        let (username, password) = (username.to_owned(), password.to_owned());
        Some(RegistryCredential::Password { username, password })
    }

    #[test]
    fn credentials_are_found_as_docker_writes_them() {
        let config = config(json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:p:w")},
            "reg:5000": {"auth": STANDARD.encode("me:secret")},
            "https://old.example/v1/": {"username": "a", "password": "b"},
            "token.example": {"identitytoken": "t"},
            "empty.example": {},
        }}));
        let found = |registry: &str| config.in_file(registry).unwrap();
        assert_eq!(found("docker.io"), password("hub", "p:w"));
        assert_eq!(found("reg:5000"), password("me", "secret"));
        assert_eq!(found("old.example"), password("a", "b"));
        let token = RegistryCredential::IdentityToken("t".to_owned());
        assert_eq!(found("token.example"), Some(token));
        assert_eq!((found("empty.example"), found("reg")), (None, None));
    }

    #[test]
    fn broken_entries_are_named() {
        for auth in ["%%%", &STANDARD.encode("nocolon")] {
            let config = config(json!({"auths": {"reg": {"auth": auth}}}));
            assert!(config.in_file("reg").is_err(), "{auth}");
        }
    }

    #[test]
    fn a_helper_is_its_registrys_own_or_for_all() {
        let config = config(json!({"credsStore": "all", "credHelpers": {"reg": "own"}}));
        assert_eq!(config.helper("reg").unwrap().unwrap().program(), "docker-credential-own");
        assert_eq!(config.helper("x").unwrap().unwrap().program(), "docker-credential-all");
        let config = self::config(json!({"credsStore": "../evil"}));
        assert!(config.helper("x").is_err());
    }
}
