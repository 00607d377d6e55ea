//! Volumes: directories that outlive the containers they were made for.
//!
//! A volume is a directory below `volumes`, with its files in `_data` and what is known of it in
//! `volume.json`; the directories are the register. They get their names when they are whole, and
//! lose them before they are removed, so that a crash leaves no half of one and nobody waits for a
//! large one to be deleted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use wharf_api::{VolumeCreate, VolumeSummary, VolumesPruned};
use wharf_runtime::remove_tree;
use wharf_runtime::spec::Bind;
use wharf_spec::ContainerName;

use crate::clock;
use crate::daemon::Daemon;
use crate::disk_usage;
use crate::error::{Error, Result};
use crate::record::ContainerRecord;

const DESCRIPTION: &str = "volume.json";
/// Where a volume's files are, below its directory.
const DATA: &str = "_data";
/// In front of the name of a volume that is being made, and of one that is being removed; no name
/// begins so.
const DRAFT: &str = ".new-";
const GONE: &str = ".gone-";
/// Bytes of an anonymous volume's name: 64 hexadecimal digits, as Docker's have.
const ANONYMOUS: usize = 32;

/// What is known of a volume.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Description {
    /// When it was made (RFC 3339).
    created: String,
    labels: BTreeMap<String, String>,
    /// The container it was made for, when it has no name of its own.
    made_for: Option<String>,
}

// === impl Daemon ===

impl Daemon {
    /// Makes a volume; one that is there already stays as it is.
    pub fn create_volume(&self, request: &VolumeCreate) -> Result<VolumeSummary> {
        let _held = self.volumes.lock();
        let name = match &request.name {
            Some(name) => self.ensure_volume(checked(name)?, &request.labels)?,
            None => {
                let name = anonymous_name();
                self.ensure_volume(&name, &request.labels)?
            }
        };
        self.events.tell("volume", "create", &name, Some(&name));
        self.volume(&name)
    }

    /// Every volume, by name.
    pub fn list_volumes(&self) -> Vec<VolumeSummary> {
        let users = self.users_of_volumes();
        let names = self.volume_names();
        names.iter().map(|name| self.describe_volume(name, &users)).collect()
    }

    /// Everything about one volume, with Docker's field names.
    pub fn inspect_volume(&self, name: &str) -> Result<serde_json::Value> {
        let volume = self.volume(name)?;
        Ok(json!({
            "Name": volume.name,
            "Driver": volume.driver,
            "Mountpoint": volume.mountpoint,
            "CreatedAt": volume.created,
            "Labels": volume.labels,
            "Options": {},
            "Scope": "local",
            "UsedBy": volume.used_by,
        }))
    }

    /// Removes a volume nobody uses.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        delete(self.take_unused(name)?)
    }

    fn take_unused(&self, name: &str) -> Result<Option<PathBuf>> {
        let _held = self.volumes.lock();
        let volume = self.volume(name)?;
        if !volume.used_by.is_empty() {
            return Err(Error::Conflict(format!(
                "remove {name}: volume is in use - [{}]: remove those containers first",
                volume.used_by.join(", ")
            )));
        }
        self.take_volume(name)
    }

    /// Removes volumes nobody uses: those without a name, or `all`.
    pub fn prune_volumes(&self, all: bool) -> Result<VolumesPruned> {
        let mut pruned = VolumesPruned::default();
        let (taken, mut failure) = self.take_all_unused(all);
        for (name, dir) in taken {
            pruned.reclaimed = pruned.reclaimed.saturating_add(disk_usage::below(&dir.join(DATA)));
            failure = failure.and(delete(Some(dir)));
            pruned.removed.push(name);
        }
        failure.map(|()| pruned)
    }

    fn take_all_unused(&self, all: bool) -> (Vec<(String, PathBuf)>, Result<()>) {
        let _held = self.volumes.lock();
        let (mut taken, mut failure) = (Vec::new(), Ok(()));
        for volume in self.list_volumes() {
            if volume.used_by.is_empty() && (all || volume.anonymous) {
                match self.take_volume(&volume.name) {
                    Ok(dir) => taken.extend(dir.map(|dir| (volume.name, dir))),
                    Err(error) => failure = failure.and(Err(error)),
                }
            }
        }
        (taken, failure)
    }

    /// Makes the volume `name` unless it is there. Must be called with the volumes locked.
    pub(crate) fn ensure_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String> {
        if !self.paths.volume_data(name).is_dir() {
            self.make_volume(name, labels, None)?;
        }
        Ok(name.to_owned())
    }

    /// Makes a volume that has no name, for one container. Must be called with the volumes locked.
    pub(crate) fn make_anonymous_volume(
        &self,
        labels: &BTreeMap<String, String>,
        container: &str,
    ) -> Result<String> {
        let name = anonymous_name();
        self.make_volume(&name, labels, Some(container.to_owned()))?;
        Ok(name)
    }

    /// Removes the nameless volumes of a container nobody has been told of.
    pub(crate) fn discard_volumes(&self, container: &str) -> Result<()> {
        let made = |name: &String| self.description(name).made_for.as_deref() == Some(container);
        let names = self.volume_names();
        names.iter().filter(|name| made(name)).try_for_each(|name| delete(self.take_volume(name)?))
    }

    /// Removes the nameless volumes of a container that goes, unless others use them, too.
    pub(crate) fn remove_anonymous_volumes(&self, record: &ContainerRecord) -> Result<()> {
        let (taken, mut failure) = self.take_anonymous(record);
        for dir in taken {
            failure = failure.and(delete(Some(dir)));
        }
        failure
    }

    fn take_anonymous(&self, record: &ContainerRecord) -> (Vec<PathBuf>, Result<()>) {
        let _held = self.volumes.lock();
        let users = self.users_of_volumes();
        let (mut taken, mut failure) = (Vec::new(), Ok(()));
        for name in record.spec.binds.iter().filter_map(|bind| bind.volume.as_ref()) {
            let others = users.get(name).into_iter().flatten().any(|user| *user != record.name);
            if !others && self.description(name).made_for.is_some() {
                match self.take_volume(name) {
                    Ok(dir) => taken.extend(dir),
                    Err(error) => failure = failure.and(Err(error)),
                }
            }
        }
        (taken, failure)
    }

    /// Takes away what a crash left of volumes that were being made or removed.
    pub(crate) fn sweep_volumes(&self) {
        for entry in std::fs::read_dir(self.paths.volumes()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if [DRAFT, GONE].iter().any(|mark| name.starts_with(mark))
                && let Err(error) = remove_tree(&entry.path())
            {
                tracing::warn!(%error, "removing what is left of a volume");
            }
        }
    }

    fn make_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        made_for: Option<String>,
    ) -> Result<()> {
        let dir = self.paths.volume(name);
        let what = || format!("make the volume {}", dir.display());
        if dir.exists() {
            return std::fs::create_dir_all(self.paths.volume_data(name))
                .map_err(Error::io(what()));
        }
        let description = Description { created: clock::now(), labels: labels.clone(), made_for };
        let text = serde_json::to_vec(&description).unwrap_or_default();
        // A crash leaves no volume of which nobody knows whose it is.
        let draft = self.paths.volumes().join(format!("{DRAFT}{name}"));
        std::fs::create_dir_all(draft.join(DATA)).map_err(Error::io(what()))?;
        write_durably(&draft.join(DESCRIPTION), &text).map_err(Error::io(what()))?;
        std::fs::rename(draft, &dir).map_err(Error::io(what()))?;
        sync(&self.paths.volumes()).map_err(Error::io(what()))
    }

    /// Takes the volume `name` away from everybody; the directory it is now is to be deleted, when
    /// nobody needs to wait for that.
    fn take_volume(&self, name: &str) -> Result<Option<PathBuf>> {
        let dir = self.paths.volume(name);
        // One of the same name may be left of a removal that failed.
        let gone = self.paths.volumes().join(format!("{GONE}{:016x}", rand::random::<u64>()));
        match std::fs::rename(&dir, &gone) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            renamed => {
                renamed.map_err(Error::io(format!("remove the volume {}", dir.display())))?
            }
        }
        self.events.tell("volume", "destroy", name, Some(name));
        Ok(Some(gone))
    }

    fn volume(&self, name: &str) -> Result<VolumeSummary> {
        let known = checked(name).is_ok() && self.paths.volume(name).is_dir();
        match known {
            true => Ok(self.describe_volume(name, &self.users_of_volumes())),
            false => Err(Error::NotFound { kind: "volume", name: name.to_owned() }),
        }
    }

    fn volume_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.paths.volumes()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| checked(name).is_ok()).collect();
        names.sort();
        names
    }

    fn description(&self, name: &str) -> Description {
        let text = std::fs::read(self.paths.volume(name).join(DESCRIPTION)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn describe_volume(&self, name: &str, users: &BTreeMap<String, Vec<String>>) -> VolumeSummary {
        let description = self.description(name);
        let modified = std::fs::metadata(self.paths.volume(name)).and_then(|m| m.modified());
        let created = match description.created.is_empty() {
            // Made before volumes were described.
            true => modified.ok().and_then(|time| jiff::Timestamp::try_from(time).ok()),
            false => None,
        };
        VolumeSummary {
            name: name.to_owned(),
            driver: "local".into(),
            mountpoint: self.paths.volume_data(name).display().to_string(),
            created: created.map_or(description.created, |time| time.to_string()),
            labels: description.labels,
            anonymous: description.made_for.is_some(),
            used_by: users.get(name).cloned().unwrap_or_default(),
        }
    }

    /// The names of containers by the volumes they use.
    fn users_of_volumes(&self) -> BTreeMap<String, Vec<String>> {
        self.ledger.read(|state| {
            let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for container in state.containers.values() {
                for name in container.spec.binds.iter().filter_map(|bind| self.volume_of(bind)) {
                    users.entry(name).or_default().push(container.name.clone());
                }
            }
            users
        })
    }

    /// The volume a bind is, also one that was noted by its path alone.
    fn volume_of(&self, bind: &Bind) -> Option<String> {
        let by_path = || {
            let path = bind.source.strip_prefix(self.paths.volumes()).ok()?;
            Some(path.components().next()?.as_os_str().to_string_lossy().into_owned())
        };
        bind.volume.clone().or_else(by_path)
    }
}

/// Deletes what [`Daemon::take_volume`] has taken.
fn delete(taken: Option<PathBuf>) -> Result<()> {
    match taken {
        Some(dir) => remove_tree(&dir)
            .map_err(Error::io(format!("delete what was a volume, {}", dir.display()))),
        None => Ok(()),
    }
}

fn write_durably(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

fn checked(name: &str) -> Result<&str> {
    match name.parse::<ContainerName>() {
        Ok(_) => Ok(name),
        Err(_) => Err(Error::Invalid(format!(
            "{name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
        ))),
    }
}

fn anonymous_name() -> String {
    let bytes: [u8; ANONYMOUS] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
