//! Writing images as an archive that Docker, Podman, skopeo and Wharf load.
//!
//! It is an OCI image layout with Docker's `manifest.json` beside it, as Docker writes it since
//! version 25; Docker before that reads `manifest.json` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::archive::blob_path;
use crate::image::config::ConfigFile;
use crate::image::{Image, ImageStore, Reference, builtin, docker, oci};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Everything about the images to write, found before the first byte is.
#[derive(Debug)]
pub struct Save {
    images: Vec<Chosen>,
}

#[derive(Debug)]
struct Chosen {
    id: Digest,
    names: Vec<String>,
    config: Vec<u8>,
    /// With the lengths of their tars.
    layers: Vec<(Digest, u64)>,
}

// === impl ImageStore ===

impl ImageStore {
    /// Finds out what saving `names` takes.
    ///
    /// # Errors
    /// One of them is no image, or one that cannot be written.
    pub fn prepare_save(&self, names: &[String]) -> Result<Save> {
        let mut images: Vec<Chosen> = Vec::new();
        for name in names {
            let image = self.resolve(name)?;
            let tag = name.parse::<Reference>().ok().map(|reference| reference.tagged());
            // A name writes itself; an id writes no name, as in Docker.
            let named: Vec<String> =
                image.names.iter().filter(|own| Some(*own) == tag.as_ref()).cloned().collect();
            match images.iter_mut().find(|chosen| chosen.id == image.id) {
                Some(chosen) => chosen.names.extend(named),
                None => images.push(self.chosen(name, &image, named)?),
            }
        }
        Ok(Save { images })
    }

    fn chosen(&self, name: &str, image: &Image, names: Vec<String>) -> Result<Chosen> {
        let refuse = |why: &str| Err(Error::Spec(format!("cannot save {name}: {why}")));
        if name.starts_with("dir:") {
            return refuse("a directory is no image of the store; see `wharf import`");
        }
        if builtin::is_builtin(name) {
            return refuse("it is made of the running program; every wharf has it");
        }
        let Ok(config) = self.catalogue.config(&image.id) else {
            return refuse(
                "its configuration was not kept as it was written, or is damaged; pull or load it anew",
            );
        };
        let mut layers = Vec::new();
        for id in &image.diff_ids {
            let Some(length) = self.layers.tar_length(id) else {
                return refuse(&format!(
                    "layer {id} cannot be written as it was: it names a file twice, or was stored \
                     by an earlier version of wharf"
                ));
            };
            layers.push((id.clone(), length));
        }
        Ok(Chosen { id: image.id.clone(), names, config, layers })
    }

    /// Writes the archive. Every layer's digest is checked on the way.
    ///
    /// # Errors
    /// A layer has changed on the disk, or `out` refuses.
    pub fn save(&self, save: &Save, out: impl Write) -> Result<()> {
        let mut archive = Builder::new(out);
        let mut written = BTreeSet::new();
        let mut index = Vec::new();
        for image in &save.images {
            for (id, length) in &image.layers {
                if written.insert(id.clone()) {
                    self.write_layer(&mut archive, id, *length)?;
                }
            }
            let manifest = image.manifest()?;
            let digest = Digest::of(&manifest);
            for (digest, text) in [(&image.id, &image.config), (&digest, &manifest)] {
                if written.insert(digest.clone()) {
                    put(&mut archive, &blob_path(digest), text)?;
                }
            }
            index.extend(image.entries(&digest, manifest.len())?);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": index});
        put(&mut archive, oci::INDEX, &text(&index)?)?;
        put(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let docker: Vec<Value> = save.images.iter().map(Chosen::docker).collect();
        put(&mut archive, docker::MANIFEST, &text(&json!(docker))?)?;
        let mut out = archive.into_inner().during(|| "write the archive")?;
        out.flush().during(|| "write the archive")
    }

    fn write_layer(
        &self,
        archive: &mut Builder<impl Write>,
        id: &Digest,
        length: u64,
    ) -> Result<()> {
        let path = blob_path(id);
        let header = header(&path, length).during(|| format!("write {path}"))?;
        let out = archive.get_mut();
        out.write_all(header.as_bytes()).during(|| format!("write {path}"))?;
        self.layers.write_tar(id, out)?;
        let over = usize::try_from(length % 512).unwrap_or_default();
        let padding = vec![0; (512 - over) % 512];
        out.write_all(&padding).during(|| format!("write {path}"))
    }
}

// === impl Chosen ===

impl Chosen {
    fn manifest(&self) -> Result<Vec<u8>> {
        let layers = self
            .layers
            .iter()
            .map(|(id, length)| json!({"mediaType": LAYER, "digest": id, "size": length}));
        text(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.id, "size": self.config.len()},
            "layers": layers.collect::<Vec<_>>(),
        }))
    }

    /// One for each name, or one without.
    fn entries(&self, manifest: &Digest, size: usize) -> Result<Vec<Value>> {
        let config = ConfigFile::read(self.config.clone())
            .map_err(|e| Error::json(format!("the configuration of {}", self.id), e))?;
        let mut platform = json!({"os": "linux", "architecture": config.architecture()});
        if let (Some(variant), Some(fields)) = (config.variant(), platform.as_object_mut()) {
            fields.insert("variant".to_owned(), json!(variant));
        }
        let entry = |annotations: BTreeMap<&str, String>| {
            json!({"mediaType": MANIFEST, "digest": manifest, "size": size,
                "platform": platform, "annotations": annotations})
        };
        if self.names.is_empty() {
            return Ok(vec![entry(BTreeMap::new())]);
        }
        let named = self.names.iter().map(|name| {
            let reference = name.parse::<Reference>()?;
            Ok(entry(BTreeMap::from([
                (oci::IMAGE_NAME, reference.canonical()),
                (oci::REF_NAME, reference.tag().to_owned()),
            ])))
        });
        named.collect()
    }

    fn docker(&self) -> Value {
        let layers: Vec<String> = self.layers.iter().map(|(id, _)| blob_path(id)).collect();
        let names = (!self.names.is_empty()).then_some(&self.names);
        json!({"Config": blob_path(&self.id), "RepoTags": names, "Layers": layers})
    }
}

fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::json("the archive", e))
}

fn header(path: &str, length: u64) -> std::io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(length);
    header.set_cksum();
    Ok(header)
}

fn put(archive: &mut Builder<impl Write>, path: &str, content: &[u8]) -> Result<()> {
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let header = header(path, length).during(|| format!("write {path}"))?;
    archive.append(&header, content).during(|| format!("write {path}"))
}
