//! OCI image layouts: `index.json`, manifests, and blobs by digest.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::image::archive::{Archive, blob_path};
use crate::image::parts::{LayerBlob, Parts};
use crate::image::reference::Reference;

pub(super) const INDEX: &str = "index.json";
/// Indexes within indexes: two are seen in practice.
const DEPTH_LIMIT: usize = 4;
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Written by containerd and `docker save`; the whole name, where `ref.name` may be a tag only.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// Marks build attestations that buildkit puts beside the images.
const ATTESTATION: &str = "vnd.docker.reference.type";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// The images of an OCI archive that run here; with `wanted`, only that one.
pub(super) fn images(archive: &Archive, wanted: Option<&str>) -> Result<Vec<Parts>> {
    let (index, _) = archive.json::<Index>(INDEX)?;
    let mut images: Vec<Parts> = Vec::new();
    let mut others = Vec::new();
    for descriptor in index.manifests.iter().filter(|d| d.is_named(wanted)) {
        match choose(archive, descriptor, DEPTH_LIMIT, &mut others)? {
            Some(manifest) => add(&mut images, parts(archive, &manifest, descriptor)?),
            None => continue,
        }
    }
    match wanted {
        _ if !images.is_empty() => Ok(images),
        Some(name) if others.is_empty() => Err(archive.refuse(format!("it has no image {name}"))),
        _ if others.is_empty() => Err(archive.refuse("it holds no image")),
        _ => Err(archive.refuse(format!(
            "no image for linux/{} in it; it has {}",
            host_architecture(),
            others.join(", ")
        ))),
    }
}

/// Several names of one image are several descriptors.
fn add(images: &mut Vec<Parts>, parts: Parts) {
    match images.iter_mut().find(|have| have.id == parts.id) {
        Some(have) => have.names.extend(parts.names),
        None => images.push(parts),
    }
}

/// The digest of the manifest to run here, out of a manifest or an index.
fn choose(
    archive: &Archive,
    descriptor: &Descriptor,
    depth: usize,
    others: &mut Vec<String>,
) -> Result<Option<Digest>> {
    if descriptor.is_attestation() {
        return Ok(None);
    }
    if let Some(platform) = &descriptor.platform
        && !platform.runs_here()
    {
        others.push(format!("{}/{}", platform.os, platform.architecture));
        return Ok(None);
    }
    if !descriptor.is_index() {
        return Ok(Some(descriptor.digest.clone()));
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(archive.refuse("its indexes are nested too deep"));
    };
    let index: Index = archive.json_blob(&descriptor.digest)?;
    for inner in &index.manifests {
        if let Some(found) = choose(archive, inner, depth, others)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn parts(archive: &Archive, digest: &Digest, named: &Descriptor) -> Result<Parts> {
    let manifest: Manifest = archive.json_blob(digest)?;
    let kind = &manifest.config.media_type;
    if !kind.contains("image.config") && !kind.contains("container.image") {
        return Err(archive.refuse(format!("{digest} is not a container image but {kind:?}")));
    }
    let config = archive.config_blob(&manifest.config.digest)?;
    let blob = |layer: Descriptor| LayerBlob {
        path: blob_path(&layer.digest),
        digest: Some(layer.digest),
    };
    Ok(Parts {
        id: manifest.config.digest,
        config,
        names: named.name().into_iter().map(|name| name.tagged()).collect(),
        layers: manifest.layers.into_iter().map(blob).collect(),
        manifest: Some(digest.clone()),
    })
}

// === impl Descriptor ===

impl Descriptor {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn is_attestation(&self) -> bool {
        self.annotation(ATTESTATION).is_some()
    }

    fn is_index(&self) -> bool {
        self.media_type.contains("image.index") || self.media_type.contains("manifest.list")
    }

    /// The name it goes by; one that is no image name is none.
    fn name(&self) -> Option<Reference> {
        let name = self.annotation(IMAGE_NAME).or_else(|| self.annotation(REF_NAME));
        name?.parse().ok()
    }

    fn is_named(&self, wanted: Option<&str>) -> bool {
        let Some(wanted) = wanted else { return true };
        let same = |name: &Reference| {
            wanted.parse::<Reference>().is_ok_and(|wanted| wanted.tagged() == name.tagged())
        };
        self.annotation(REF_NAME) == Some(wanted)
            || self.annotation(IMAGE_NAME) == Some(wanted)
            || self.name().as_ref().is_some_and(same)
    }
}

// === impl Platform ===

impl Platform {
    fn runs_here(&self) -> bool {
        self.os == "linux" && self.architecture == host_architecture()
    }
}

/// The host's architecture in Go's words, which images use.
pub(super) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}
