//! Images, as the API shows them.

use std::io::Read;
use std::time::Duration;

use wharf_api::{HistoryEntry, ImageRemoved, ImageSummary, Loaded, Pruned, TagRequest};
use wharf_runtime::Digest;
use wharf_runtime::health::SaidHealth;
use wharf_runtime::image::{Image, Import, Save};

use crate::daemon::Daemon;
use crate::error::{Error, Result};

// === impl Daemon ===

impl Daemon {
    /// Lists the images.
    pub fn list_images(&self) -> Result<Vec<ImageSummary>> {
        let found = self.images.list()?;
        Ok(found
            .into_iter()
            .map(|image| ImageSummary {
                id: image.id.hex().to_owned(),
                names: image.names,
                created: image.created,
                size: image.size,
                digests: image.repo_digests,
            })
            .collect())
    }

    /// Loads every image of an archive.
    pub fn load_archive(&self, archive: impl Read) -> Result<Vec<Loaded>> {
        let loaded = self.images.load_archive(archive)?;
        for image in &loaded {
            self.events.tell(
                "image",
                "load",
                image.id.hex(),
                image.names.first().map(String::as_str),
            );
        }
        Ok(loaded
            .into_iter()
            .map(|image| Loaded { id: image.id.hex().to_owned(), names: image.names })
            .collect())
    }

    /// Everything about an image, with Docker's field names.
    pub fn inspect_image(&self, name: &str) -> Result<serde_json::Value> {
        Ok(describe(&found(name, self.images.resolve(name))?))
    }

    /// Removes an image or one of its names.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<ImageRemoved> {
        let removed =
            self.freeing(|| found(name, self.images.remove(name, || self.images_in_use(), force)))?;
        self.events.tell("image", "delete", name, Some(name));
        Ok(ImageRemoved {
            untagged: removed.untagged,
            deleted: removed.deleted.iter().map(ToString::to_string).collect(),
        })
    }

    /// Removes images without a name that nothing uses; with `all`, also those with names.
    pub fn prune_images(&self, all: bool) -> Result<Pruned> {
        let removed = self.freeing(|| Ok(self.images.prune(|| self.images_in_use(), all)?))?;
        for id in &removed.deleted {
            self.events.tell("image", "delete", id.hex(), None);
        }
        let untagged = removed.untagged.iter().map(|name| format!("untagged: {name}"));
        let deleted = removed.deleted.iter().map(|id| format!("deleted: {id}"));
        Ok(Pruned { removed: untagged.chain(deleted).collect(), reclaimed: removed.freed })
    }

    /// Gives an image another name.
    pub fn tag_image(&self, request: &TagRequest) -> Result<()> {
        let id = found(&request.image, self.images.tag(&request.image, &request.name))?;
        self.events.tell("image", "tag", id.hex(), Some(&request.name));
        Ok(())
    }

    /// How an image was made, the last step first.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        let id = found(name, self.images.resolve(name))?.id;
        let lines = self.images.history(name)?.into_iter().enumerate();
        let entries = lines.map(|(at, line)| HistoryEntry {
            id: (at == 0).then(|| id.hex().to_owned()),
            created: line.step.created,
            created_by: line.step.created_by,
            size: line.size,
            comment: line.step.comment,
        });
        Ok(entries.collect())
    }

    /// Makes an image of the tar of a root file system.
    pub fn import_image(&self, tar: impl Read, import: &Import) -> Result<Loaded> {
        let made = self.images.import(tar, import)?;
        let name = made.names.first().map(String::as_str);
        self.events.tell("image", "import", made.id.hex(), name);
        Ok(Loaded { id: made.id.hex().to_owned(), names: made.names })
    }

    /// Finds out what writing `names` into an archive takes.
    pub fn prepare_save(&self, names: &[String]) -> Result<Save> {
        Ok(self.images.prepare_save(names)?)
    }

    /// The images that containers were made of.
    fn images_in_use(&self) -> Vec<Digest> {
        let ids = self.ledger.read(|state| {
            state.containers.values().map(|it| it.image_id.clone()).collect::<Vec<_>>()
        });
        ids.iter().filter_map(|id| id.parse().ok()).collect()
    }
}

/// A request that names an image which is not there.
fn found<T>(name: &str, result: wharf_runtime::Result<T>) -> Result<T> {
    match result {
        Err(wharf_runtime::Error::NoSuchImage { .. }) => {
            Err(Error::NotFound { kind: "image", name: name.to_owned() })
        }
        other => Ok(other?),
    }
}

/// Times in nanoseconds, 0 where the image says nothing, as in Docker.
fn healthcheck(said: &SaidHealth) -> serde_json::Value {
    if said.test.is_empty() {
        return serde_json::Value::Null;
    }
    let time = |time: Option<Duration>| time.map_or(0, |time| time.as_nanos());
    serde_json::json!({
        "Test": said.test,
        "Interval": time(said.interval),
        "Timeout": time(said.timeout),
        "StartPeriod": time(said.start_period),
        "StartInterval": time(said.start_interval),
        "Retries": said.retries.unwrap_or(0),
    })
}

fn describe(image: &Image) -> serde_json::Value {
    let set = |items: &[String]| {
        items
            .iter()
            .map(|item| (item.clone(), serde_json::json!({})))
            .collect::<serde_json::Map<_, _>>()
    };
    let config = &image.config;
    serde_json::json!({
        "Id": image.id.to_string(),
        "RepoTags": image.names,
        "RepoDigests": image.repo_digests,
        "Created": image.created,
        "Size": image.size,
        "Architecture": image.architecture,
        "Variant": image.variant,
        "Os": "linux",
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Config": {
            "Env": config.env,
            "Cmd": config.cmd,
            "Entrypoint": config.entrypoint,
            "User": config.user,
            "WorkingDir": config.workdir,
            "ExposedPorts": set(&config.exposed),
            "Volumes": set(&config.volumes),
            "Labels": config.labels,
            "StopSignal": config.stop_signal,
            "Healthcheck": healthcheck(&config.health),
        },
    })
}
