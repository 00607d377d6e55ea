//! Images, as the API shows them.

use std::io::Read;

use wharf_api::{ImageRemoved, ImageSummary, Loaded};
use wharf_runtime::Digest;
use wharf_runtime::image::Image;

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
        let image = match self.images.resolve(name) {
            Err(wharf_runtime::Error::NoSuchImage { .. }) => {
                return Err(Error::NotFound { kind: "image", name: name.to_owned() });
            }
            other => other?,
        };
        Ok(describe(&image))
    }

    /// Removes an image or one of its names.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<ImageRemoved> {
        let in_use: Vec<Digest> = self
            .ledger
            .read(|s| s.containers.values().map(|c| c.image_id.clone()).collect::<Vec<_>>())
            .iter()
            .filter_map(|id| id.parse().ok())
            .collect();
        let removed = match self.images.remove(name, &in_use, force) {
            Err(wharf_runtime::Error::NoSuchImage { .. }) => {
                return Err(Error::NotFound { kind: "image", name: name.to_owned() });
            }
            other => other?,
        };
        self.events.tell("image", "delete", name, Some(name));
        Ok(ImageRemoved {
            untagged: removed.untagged,
            deleted: removed.deleted.iter().map(ToString::to_string).collect(),
        })
    }
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
        "Created": image.created,
        "Size": image.size,
        "Architecture": image.architecture,
        "Os": "linux",
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
        },
    })
}
