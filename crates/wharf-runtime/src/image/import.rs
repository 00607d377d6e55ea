//! An image of one layer, made of the tar of a root file system.

use std::io::Read;

use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::config::ConfigFile;
use crate::image::platform::Platform;
use crate::image::store::Origin;
use crate::image::{ImageStore, Loaded, Reference};

mod change;

use change::Change;

/// What an imported image is to be.
#[derive(Debug, Default)]
pub struct Import {
    name: Option<Reference>,
    platform: Option<Platform>,
    message: String,
    changes: Vec<Change>,
}

// === impl Import ===

impl Import {
    /// An import under `name` with `changes`, each a line of a Dockerfile.
    ///
    /// # Errors
    /// The name is malformed or has a digest; a change is not understood.
    pub fn new(name: Option<&str>, changes: &[String]) -> Result<Self> {
        let name = name.map(str::parse::<Reference>).transpose()?;
        if name.as_ref().is_some_and(|name| name.digest().is_some()) {
            return Err(Error::Spec("cannot import digest reference".to_owned()));
        }
        let changes = changes.iter().map(|change| change.parse()).collect::<Result<_>>()?;
        Ok(Self { name, changes, ..Self::default() })
    }

    /// The same for another platform than this machine's.
    #[must_use]
    pub fn for_platform(mut self, platform: Option<Platform>) -> Self {
        self.platform = platform;
        self
    }

    /// The same with a remark in its history.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        message.clone_into(&mut self.message);
        self
    }

    fn config(&self, diff_id: &Digest) -> Value {
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let now = jiff::Timestamp::now().to_string();
        let mut config = Map::new();
        for change in &self.changes {
            change.apply(&mut config);
        }
        let comment = match self.message.as_str() {
            "" => "Imported from -",
            message => message,
        };
        json!({
            "architecture": platform.architecture(),
            "os": "linux",
            "created": now,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": now, "comment": comment}],
        })
    }
}

// === impl ImageStore ===

impl ImageStore {
    /// Makes an image of the tar of a root file system, compressed or not.
    ///
    /// # Errors
    /// It is no tar, or one that an image cannot be made of.
    pub fn import(&self, tar: impl Read, import: &Import) -> Result<Loaded> {
        let (layer, _pin) = self.layers.take(tar)?;
        let text = serde_json::to_vec(&import.config(&layer))
            .map_err(|e| Error::json("the configuration", e))?;
        let id = Digest::of(&text);
        let config = ConfigFile::read(text).map_err(|e| Error::json("the configuration", e))?;
        let names: Vec<String> = import.name.iter().map(Reference::tagged).collect();
        let locked = self.lock_with_layers(std::slice::from_ref(&layer), || Ok(()))?;
        self.record(&locked, &id, config, Origin::default(), &names)?;
        Ok(Loaded { id, names })
    }

    /// Gives the image `name` another name.
    ///
    /// # Errors
    /// There is no such image, or the other name cannot be one.
    pub fn tag(&self, name: &str, other: &str) -> Result<Digest> {
        let target: Reference = other.parse()?;
        if target.digest().is_some() {
            let reason = "refusing to create a tag with a digest reference".to_owned();
            return Err(Error::Spec(reason));
        }
        if name.starts_with("dir:") {
            return Err(Error::Spec("a directory is no image of the store".to_owned()));
        }
        // Makes the built-in image if it is that.
        self.resolve(name)?;
        let locked = self.catalogue.lock()?;
        let mut names = self.catalogue.names()?;
        let id = self.find(name, &names)?;
        names.insert(target.tagged(), id.clone());
        self.catalogue.set_names(&locked, &names)?;
        Ok(id)
    }
}
