//! The image store: loads, finds, lists and removes images.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::image::archive::Archive;
use crate::image::catalogue::{Catalogue, Locked, Names, Record};
use crate::image::config::{ConfigFile, ImageConfig};
use crate::image::downloads::Downloads;
use crate::image::layers::Layers;
use crate::image::parts::Parts;
use crate::image::{Image, ImageSource, Loaded, Reference, Removed, builtin, docker, oci, scratch};

mod removal;

/// overlayfs stacks at most this many lower directories (OVL_MAX_STACK).
const LAYER_LIMIT: usize = 500;
/// A removal at the same moment can take a layer away again; three times in a row it does not.
const STORE_TRIES: usize = 3;

/// Images, unpacked, in one directory. Every method takes `&self` and may run on any thread.
#[derive(Debug)]
pub struct ImageStore {
    scratch: PathBuf,
    program: PathBuf,
    pub(super) catalogue: Catalogue,
    pub(super) layers: Layers,
    pub(super) downloads: Downloads,
}

/// Where an image came from.
#[derive(Debug, Default)]
pub(super) struct Origin {
    pub(super) manifest: Option<Digest>,
    /// `repository@digest`.
    pub(super) at: Option<String>,
}

// === impl ImageStore ===

impl ImageStore {
    /// Opens the store in `root`, making it if needed and removing what a crash left behind.
    pub fn open(root: &Path) -> Result<Self> {
        let (layers, scratch) = (root.join("layers"), root.join("scratch"));
        for directory in [root, &layers, &root.join("meta"), &scratch] {
            std::fs::create_dir_all(directory)
                .during(|| format!("make {}", directory.display()))?;
            durable::sweep(directory)?;
        }
        scratch::sweep(&scratch)?;
        let store = Self {
            catalogue: Catalogue::new(root.to_owned()),
            layers: Layers::new(layers, scratch.clone()),
            downloads: Downloads::open(root.join("downloads"))?,
            program: PathBuf::from("/proc/self/exe"),
            scratch,
        };
        store.collect_now()?;
        Ok(store)
    }

    /// Makes `wharf/whoami` of `program` instead of the running executable.
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Puts what `source` names into the store and says what it was.
    pub fn load(&self, source: &ImageSource) -> Result<Vec<Loaded>> {
        match source {
            ImageSource::OciArchive { file, reference } => {
                let archive = Archive::open(file, &self.scratch)?;
                self.store_all(&archive, oci::images(&archive, reference.as_deref())?)
            }
            ImageSource::DockerArchive { file, reference } => {
                let archive = Archive::open(file, &self.scratch)?;
                self.store_all(&archive, docker::images(&archive, reference.as_deref())?)
            }
            ImageSource::Dir(_) | ImageSource::Stored(_) => {
                let image = self.resolve(&source.to_string())?;
                Ok(vec![Loaded { id: image.id, names: image.names }])
            }
        }
    }

    /// Loads every image of an archive of either kind, compressed or not.
    pub fn load_archive(&self, reader: impl Read) -> Result<Vec<Loaded>> {
        let archive = Archive::spool("archive".to_owned(), reader, &self.scratch)?;
        let images = if archive.has(docker::MANIFEST) {
            docker::images(&archive, None)?
        } else if archive.has(oci::INDEX) {
            oci::images(&archive, None)?
        } else {
            return Err(archive.refuse(
                "it has neither manifest.json (docker save) nor index.json (OCI image layout)",
            ));
        };
        self.store_all(&archive, images)
    }

    /// The image a container is to be made of: loaded if `source` is an archive, and found.
    pub fn obtain(&self, source: &ImageSource) -> Result<Image> {
        if matches!(source, ImageSource::Dir(_) | ImageSource::Stored(_)) {
            return self.resolve(&source.to_string());
        }
        let loaded = self.load(source)?;
        match loaded.as_slice() {
            [one] => self.by_id(&one.id),
            several => {
                let names: Vec<_> = several.iter().flat_map(|l| l.names.clone()).collect();
                let reason = format!("it holds several images ({}); name one", names.join(", "));
                Err(Error::archive(source.to_string(), format!("{reason}, as {source}:NAME")))
            }
        }
    }

    /// Finds an image by name, by id or the start of one, or by `dir:PATH`.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        if let Some(path) = name.strip_prefix("dir:") {
            return directory_image(Path::new(path));
        }
        if builtin::is_builtin(name) {
            let id = builtin::ensure(self, &self.program)?;
            return self.by_id(&id);
        }
        let id = self.find(name, &self.catalogue.names()?)?;
        self.by_id(&id)
    }

    /// Every image in the store, by id.
    pub fn list(&self) -> Result<Vec<Image>> {
        let names = self.catalogue.names()?;
        let records = self.catalogue.records()?;
        Ok(records.into_iter().map(|record| self.image(record, &names)).collect())
    }

    fn store_all(&self, archive: &Archive, images: Vec<Parts>) -> Result<Vec<Loaded>> {
        let stored: Result<_> =
            images.into_iter().map(|parts| self.store(archive, parts)).collect();
        // Layers below the one that failed are nobody's now. Whoever stores the same ones at this
        // moment notices and makes them again.
        if stored.is_err() {
            let locked = self.catalogue.lock()?;
            let _left_for_the_next_removal = self.collect(&locked, &mut Removed::default());
        }
        stored
    }

    fn store(&self, archive: &Archive, parts: Parts) -> Result<Loaded> {
        check(archive, &parts)?;
        let diff_ids = parts.config.layers().to_vec();
        let _pin = self.layers.pin(&diff_ids);
        let fill = || {
            diff_ids.iter().zip(&parts.layers).try_for_each(|(diff_id, layer)| {
                let blob = || archive.blob(&layer.path);
                self.layers.ensure(diff_id, layer.digest.as_ref(), blob)
            })
        };
        let locked = self.lock_with_layers(&diff_ids, fill)?;
        let origin = Origin { manifest: parts.manifest, at: None };
        self.record(&locked, &parts.id, parts.config, origin, &parts.names)?;
        Ok(Loaded { id: parts.id, names: parts.names })
    }

    /// Makes an image of layers that are there.
    pub(super) fn record(
        &self,
        locked: &Locked,
        id: &Digest,
        config: ConfigFile,
        origin: Origin,
        names: &[String],
    ) -> Result<()> {
        self.catalogue.keep_config(locked, id, config.text())?;
        let known = self.catalogue.record(id)?;
        let known_manifest = known.as_ref().and_then(|known| known.manifest.clone());
        let mut repo_digests = known.map(|known| known.repo_digests).unwrap_or_default();
        repo_digests.extend(origin.at);
        repo_digests.sort();
        repo_digests.dedup();
        let layers = config.layers().to_vec();
        let record = Record {
            id: id.clone(),
            size: layers.iter().map(|id| self.layers.size(id)).sum(),
            created: config.created(),
            architecture: config.architecture(),
            variant: config.variant(),
            layers,
            manifest: origin.manifest.or(known_manifest),
            repo_digests,
            config: config.into_config(),
        };
        self.commit(locked, &record, names)
    }

    /// Takes the lock with all `layers` present, however often they must be made.
    pub(super) fn lock_with_layers(
        &self,
        layers: &[Digest],
        fill: impl Fn() -> Result<()>,
    ) -> Result<Locked> {
        for _ in 0..STORE_TRIES {
            fill()?;
            let locked = self.catalogue.lock()?;
            if layers.iter().all(|layer| self.layers.has(layer)) {
                return Ok(locked);
            }
        }
        Err(Error::Layer("layers are removed as fast as they are stored".to_owned()))
    }

    pub(super) fn commit(&self, locked: &Locked, record: &Record, names: &[String]) -> Result<()> {
        self.catalogue.add(locked, record)?;
        if names.is_empty() {
            return Ok(());
        }
        let mut all = self.catalogue.names()?;
        all.extend(names.iter().map(|name| (name.clone(), record.id.clone())));
        self.catalogue.set_names(locked, &all)
    }

    pub(super) fn by_id(&self, id: &Digest) -> Result<Image> {
        let missing = || Error::NoSuchImage { name: id.to_string() };
        let record = self.catalogue.record(id)?.ok_or_else(missing)?;
        Ok(self.image(record, &self.catalogue.names()?))
    }

    fn image(&self, record: Record, names: &Names) -> Image {
        Image {
            names: names_of(names, &record.id),
            layers: stacked(&record.layers).map(|id| self.layers.path(id)).collect(),
            id: record.id,
            config: record.config,
            created: record.created,
            size: record.size,
            architecture: record.architecture,
            variant: record.variant,
            repo_digests: record.repo_digests,
            diff_ids: record.layers,
        }
    }

    /// The id `name` means: a name first, then an id or the start of one.
    pub(super) fn find(&self, name: &str, names: &Names) -> Result<Digest> {
        let missing = || Error::NoSuchImage { name: name.to_owned() };
        let reference = name.parse::<Reference>();
        if let Ok(reference) = &reference {
            match reference.digest() {
                Some(digest) => return self.by_digest(reference, digest)?.ok_or_else(missing),
                None if names.contains_key(&reference.tagged()) => {
                    return names.get(&reference.tagged()).cloned().ok_or_else(missing);
                }
                None => {}
            }
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(reference.err().unwrap_or_else(missing));
        }
        let mut matches = self.catalogue.records()?;
        matches.retain(|record| record.id.hex().starts_with(prefix));
        match matches.as_slice() {
            [one] => Ok(one.id.clone()),
            [] => Err(missing()),
            many => Err(Error::AmbiguousId { prefix: prefix.to_owned(), count: many.len() }),
        }
    }

    fn by_digest(&self, reference: &Reference, digest: &Digest) -> Result<Option<Digest>> {
        let at = reference.at(digest);
        let is = |r: &Record| {
            r.id == *digest || r.manifest.as_ref() == Some(digest) || r.repo_digests.contains(&at)
        };
        Ok(self.catalogue.records()?.into_iter().find(is).map(|record| record.id))
    }
}

fn names_of(names: &Names, id: &Digest) -> Vec<String> {
    names.iter().filter(|(_, of)| *of == id).map(|(name, _)| name.clone()).collect()
}

/// Topmost first, and each once: overlayfs refuses a directory that is stacked twice, and below
/// its first appearance a layer adds nothing.
fn stacked(layers: &[Digest]) -> impl Iterator<Item = &Digest> {
    let mut seen = BTreeSet::new();
    layers.iter().rev().filter(move |id| seen.insert(*id))
}

fn check(archive: &Archive, parts: &Parts) -> Result<()> {
    let (said, there) = (parts.config.layers().len(), parts.layers.len());
    if said != there {
        return Err(archive.refuse(format!("{there} layers, but its configuration has {said}")));
    }
    if said > LAYER_LIMIT {
        return Err(archive.refuse(format!("{said} layers; {LAYER_LIMIT} can be stacked")));
    }
    if parts.config.os() != "linux" {
        return Err(archive.refuse(format!("it is for {}, not linux", parts.config.os())));
    }
    tracing::debug!(archive = archive.name(), id = %parts.id, layers = said, "storing image");
    Ok(())
}

fn directory_image(path: &Path) -> Result<Image> {
    let full = path.canonicalize().during(|| format!("use {} as an image", path.display()))?;
    if !full.is_dir() {
        let reason = std::io::Error::from(std::io::ErrorKind::NotADirectory);
        return Err(reason).during(|| format!("use {} as an image", path.display()));
    }
    let name = format!("dir:{}", full.display());
    Ok(Image {
        id: Digest::of(name.as_bytes()),
        names: vec![name],
        config: ImageConfig::default(),
        layers: vec![full],
        created: None,
        size: 0,
        architecture: oci::host_architecture().to_owned(),
        variant: None,
        repo_digests: Vec::new(),
        diff_ids: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
