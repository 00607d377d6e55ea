//! What one release has pinned, and what another left.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hooks::HOOKS;
use crate::place::{LINKS, PROGRAMS, clear, directories, remove_all};
use crate::{maps, object};

/// The directories of this release in its namespace.
#[derive(Debug)]
pub(crate) struct Release {
    place: PathBuf,
    cookie: u64,
    own: PathBuf,
    maps: PathBuf,
}

// === impl Release ===

impl Release {
    pub(crate) fn new(place: &Path, cookie: u64) -> Self {
        let own = place.join(object::release_name(cookie));
        let maps = place.join(object::maps_name(cookie));
        Self { place: place.to_owned(), cookie, own, maps }
    }

    pub(crate) fn maps(&self) -> &Path {
        &self.maps
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.own.join(PROGRAMS)
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.own.join(LINKS)
    }

    /// Whether everything but links is there: those may be missing, and are attached anew.
    pub(crate) fn is_whole(&self) -> bool {
        let programs = self.programs();
        maps::are_pinned(&self.maps)
            && self.links().is_dir()
            && HOOKS.iter().all(|hook| programs.join(hook.name).exists())
    }

    /// Loads the programs and pins them. What is there and not whole is set aside: its links may
    /// be in force, and stay so until there is something in their place.
    pub(crate) fn load(&self) -> Result<()> {
        self.set_aside(&self.own)?;
        if !maps::are_pinned(&self.maps) {
            self.set_aside(&self.maps)?;
        }
        let loaded = self.make();
        if loaded.is_err() {
            self.give_up();
        }
        loaded
    }

    /// The directories of others: of another release, of another namespace, or set aside.
    pub(crate) fn others(&self) -> Result<Vec<PathBuf>> {
        let mut found = directories(&self.place)?;
        found.retain(|path| *path != self.own && *path != self.maps);
        Ok(found)
    }

    fn make(&self) -> Result<()> {
        for directory in [&self.maps, &self.programs(), &self.links()] {
            fs::create_dir_all(directory).map_err(Error::place("make", directory))?;
        }
        object::install(self.cookie, &self.maps, &self.programs())
    }

    /// Leaves no more than was there. What cannot be removed now is found by the next.
    fn give_up(&self) {
        let _failed = remove_all(&self.own);
        match self.others() {
            Ok(others) if others.is_empty() => {
                let _failed = clear(&self.place);
            }
            _ => {}
        }
    }

    fn set_aside(&self, directory: &Path) -> Result<()> {
        if !directory.is_dir() {
            return Ok(());
        }
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // No dot: a bpf file system keeps such names for itself.
        let mut aside = (1..=u32::MAX).map(|n| self.place.join(format!("{name}-aside{n}")));
        let free = aside.find(|path| !path.exists()).unwrap_or_else(|| directory.to_owned());
        fs::rename(directory, free).map_err(Error::place("set aside", directory))
    }
}
