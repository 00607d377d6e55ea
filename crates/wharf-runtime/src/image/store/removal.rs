//! Taking images away.

use super::{ImageStore, names_of};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::catalogue::Locked;
use crate::image::{Image, Reference, Removed};

// === impl ImageStore ===

impl ImageStore {
    /// Removes the image or name `name`; `in_use` tells the images of all containers. It is asked
    /// when nobody can [confirm](Self::confirm) an image any more.
    ///
    /// A name that is not the image's last only loses its meaning. With `force`, an image with
    /// several names goes with all of them, and the last name of an image in use goes alone.
    pub fn remove(
        &self,
        name: &str,
        in_use: impl FnOnce() -> Vec<Digest>,
        force: bool,
    ) -> Result<Removed> {
        let locked = self.catalogue.lock()?;
        let mut names = self.catalogue.names()?;
        let id = self.find(name, &names)?;
        let tag = name.parse::<Reference>().ok().map(|r| r.tagged());
        let tag = tag.filter(|tag| names.get(tag) == Some(&id));
        let all = names_of(&names, &id);
        let used = in_use().contains(&id);
        let conflict = |reason: &str| {
            Err(Error::ImageInUse { name: name.to_owned(), reason: reason.to_owned() })
        };
        let (untagged, whole) = match tag {
            Some(tag) if all.len() > 1 => (vec![tag], false),
            Some(tag) if used && force => (vec![tag], false),
            _ if used => return conflict("a container uses it; remove the container first"),
            None if all.len() > 1 && !force => {
                return conflict("it has several names; remove them one by one, or use --force");
            }
            _ => (all, true),
        };
        names.retain(|name, _| !untagged.contains(name));
        self.catalogue.set_names(&locked, &names)?;
        let mut removed = Removed { untagged, ..Removed::default() };
        if whole {
            self.catalogue.remove(&locked, &id)?;
            removed.deleted.push(id);
            self.collect(&locked, &mut removed)?;
        }
        Ok(removed)
    }

    /// Removes every image that has no name and is not in use, which is asked as by
    /// [`Self::remove`]; with `all`, also those with names.
    pub fn prune(&self, in_use: impl FnOnce() -> Vec<Digest>, all: bool) -> Result<Removed> {
        let locked = self.catalogue.lock()?;
        let in_use = in_use();
        let mut names = self.catalogue.names()?;
        let mut removed = Removed::default();
        for record in self.catalogue.records()? {
            let own = names_of(&names, &record.id);
            if in_use.contains(&record.id) || !(own.is_empty() || all) {
                continue;
            }
            names.retain(|_, id| *id != record.id);
            self.catalogue.set_names(&locked, &names)?;
            self.catalogue.remove(&locked, &record.id)?;
            removed.untagged.extend(own);
            removed.deleted.push(record.id);
        }
        self.collect(&locked, &mut removed)?;
        removed.freed += self.downloads.prune()?;
        Ok(removed)
    }

    /// Makes sure that `image` is still there, for whoever has just noted that it is in use: from
    /// then on nobody removes it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] when somebody was faster.
    pub fn confirm(&self, image: &Image) -> Result<()> {
        let _nobody_removes = self.catalogue.lock()?;
        let is_directory = image.names.iter().any(|name| name.starts_with("dir:"));
        if is_directory || self.catalogue.record(&image.id)?.is_some() {
            return Ok(());
        }
        let name = image.names.first().cloned().unwrap_or_else(|| image.id.to_string());
        Err(Error::NoSuchImage { name })
    }

    /// Removes layers that no image has.
    pub(super) fn collect(&self, _locked: &Locked, removed: &mut Removed) -> Result<()> {
        for (id, size) in self.layers.retain(&self.catalogue.wanted_layers()?)? {
            removed.deleted.push(id);
            removed.freed += size;
        }
        Ok(())
    }

    /// Removes layers that no image has and nobody is about to use.
    pub(in crate::image) fn collect_now(&self) -> Result<()> {
        let locked = self.catalogue.lock()?;
        self.collect(&locked, &mut Removed::default())
    }
}
