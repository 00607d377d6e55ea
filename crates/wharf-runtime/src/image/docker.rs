//! The output of `docker save`: `manifest.json` and what it names.
//!
//! Up to Docker 24 a layer is `<id>/layer.tar`, from 25 on `blobs/sha256/<digest>`; both are
//! just paths in the manifest.

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::image::archive::Archive;
use crate::image::parts::{LayerBlob, Parts};
use crate::image::reference::Reference;

pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of a `docker save` archive; with `wanted`, only that one.
pub(super) fn images(archive: &Archive, wanted: Option<&str>) -> Result<Vec<Parts>> {
    let (saved, _) = archive.json::<Vec<Saved>>(MANIFEST)?;
    let wanted = wanted.map(str::parse::<Reference>).transpose()?.map(|r| r.tagged());
    let mut images = Vec::new();
    for saved in saved {
        let parts = parts(archive, saved)?;
        match &wanted {
            Some(name) if parts.names.contains(name) => {
                images.push(Parts { names: vec![name.clone()], ..parts });
            }
            Some(_) => {}
            None => images.push(parts),
        }
    }
    match wanted {
        Some(name) if images.is_empty() => Err(archive.refuse(format!("it has no image {name}"))),
        None if images.is_empty() => Err(archive.refuse("it holds no image")),
        _ => Ok(images),
    }
}

fn parts(archive: &Archive, saved: Saved) -> Result<Parts> {
    let (config, id) = archive.config(&saved.config)?;
    let stem = saved.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if format!("sha256:{stem}").parse::<Digest>().is_ok_and(|named| named != id) {
        return Err(archive.refuse(format!("{} is damaged: its digest is {id}", saved.config)));
    }
    let tags = saved.repo_tags.unwrap_or_default();
    let names =
        tags.iter().map(|tag| Ok(tag.parse::<Reference>()?.tagged())).collect::<Result<_>>()?;
    let layers = saved.layers.unwrap_or_default();
    // The digest of a layer's tar, its diff id, is checked as it is unpacked.
    let layers = layers.into_iter().map(|path| LayerBlob { path, digest: None }).collect();
    Ok(Parts { id, config, names, layers, manifest: None })
}
