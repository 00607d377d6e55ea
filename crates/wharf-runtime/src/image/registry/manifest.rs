//! Manifests and indexes of both families, OCI's and Docker's.

use serde::Deserialize;

use super::BlobPlace;
use crate::digest::Digest;
use crate::image::platform::Platform;

/// What we ask for; the order is a preference.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// overlayfs stacks at most this many lower directories (OVL_MAX_STACK).
const LAYER_LIMIT: usize = 500;
/// More than any real layer.
const SIZE_LIMIT: u64 = 64 << 30;
/// Marks build attestations that buildkit puts beside the images.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// What a registry gives for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Manifests for several platforms.
    Index(Vec<Described>),
    /// One image.
    Image(Manifest),
}

/// One image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration, whose digest is the image's id.
    pub config: BlobPlace,
    /// The layers.
    pub layers: Vec<BlobPlace>,
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The digest of the manifest.
    pub digest: Digest,
    /// For which system, architecture and variant, where it says.
    pub platform: Option<(String, String, Option<String>)>,
    /// Whether it is an index itself.
    pub is_index: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Debug, Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

// === impl Document ===

impl Document {
    /// Reads what came with the content type `kind`.
    ///
    /// # Errors
    /// Says what is wrong with it. What could be taken for both an image and an index is neither:
    /// whoever checked it may have seen the other one (CVE-2021-41190).
    pub fn parse(text: &[u8], kind: Option<&str>) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(text)
            .map_err(|e| format!("its manifest cannot be read: {e}"))?;
        if raw.schema_version == 1 {
            return Err(
                "its manifest is of Docker's schema 1, which no registry should serve any \
                        more; push the image anew"
                    .to_owned(),
            );
        }
        let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let known = |kind: &&str| kind.contains("manifest") || kind.contains("index");
        if let (Some(kind), Some(own)) = (kind.filter(known), &raw.media_type)
            && kind != own
        {
            return Err(format!("its manifest came as {kind} and calls itself {own}"));
        }
        match (raw.manifests, raw.config) {
            (Some(manifests), None) if raw.layers.is_none() => {
                let kept = manifests.into_iter().filter(|entry| !entry.is_attestation());
                Ok(Self::Index(kept.map(Described::from).collect()))
            }
            (None, Some(config)) => image(config, raw.layers.unwrap_or_default()),
            (Some(_), _) => Err("its manifest is an image and an index at once".to_owned()),
            (None, None) => Err("its manifest has neither a configuration nor entries".to_owned()),
        }
    }
}

fn image(config: Descriptor, layers: Vec<Descriptor>) -> Result<Document, String> {
    let kind = &config.media_type;
    if !kind.contains("image.config") && !kind.contains("container.image") {
        return Err(format!("it is not a container image but {kind:?}"));
    }
    if layers.len() > LAYER_LIMIT {
        return Err(format!("{} layers; {LAYER_LIMIT} can be stacked", layers.len()));
    }
    if let Some(layer) = layers.iter().find(|layer| layer.size > SIZE_LIMIT) {
        return Err(format!("layer {} has {} bytes", layer.digest, layer.size));
    }
    if let Some(layer) = layers.iter().find(|layer| layer.media_type.contains("encrypted")) {
        return Err(format!("layer {} is encrypted", layer.digest));
    }
    let layers = layers.into_iter().map(BlobPlace::from).collect();
    Ok(Document::Image(Manifest { config: config.into(), layers }))
}

/// The entry of an index for `platform`: the one that says so, or else the only one that does not
/// say anything.
pub(crate) fn choose<'a>(
    entries: &'a [Described],
    platform: &Platform,
) -> Result<&'a Described, String> {
    let fits = |entry: &&Described| match &entry.platform {
        Some((os, architecture, variant)) => {
            os == "linux" && platform.takes(architecture, variant.as_deref())
        }
        None => false,
    };
    if let Some(found) = entries.iter().find(fits) {
        return Ok(found);
    }
    let silent: Vec<&Described> = entries.iter().filter(|e| e.platform.is_none()).collect();
    if let [one] = silent.as_slice() {
        return Ok(one);
    }
    let there = entries.iter().filter_map(|entry| entry.platform.as_ref());
    let there = there.map(|(os, architecture, variant)| match variant {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    });
    let there = there.collect::<Vec<_>>().join(", ");
    Err(format!("no matching manifest for {platform} in the manifest list entries; it has {there}"))
}

// === impl Descriptor ===

impl Descriptor {
    fn is_attestation(&self) -> bool {
        self.annotations.as_ref().is_some_and(|all| all.contains_key(ATTESTATION))
    }
}

impl From<Descriptor> for BlobPlace {
    fn from(descriptor: Descriptor) -> Self {
        Self { digest: descriptor.digest, size: descriptor.size }
    }
}

impl From<Descriptor> for Described {
    fn from(descriptor: Descriptor) -> Self {
        let platform = descriptor.platform.filter(|platform| !platform.architecture.is_empty());
        Self {
            digest: descriptor.digest,
            platform: platform.map(|it| (it.os, it.architecture, it.variant)),
            is_index: ["image.index", "manifest.list"]
                .iter()
                .any(|kind| descriptor.media_type.contains(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

    fn digest(seed: &str) -> String {
        Digest::of(seed.as_bytes()).to_string()
    }

    fn manifest() -> serde_json::Value {
        serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest("c"), "size": 3},
            "layers": [{"mediaType": "x", "digest": digest("l"), "size": 5}],
        })
    }

    fn parse(value: &serde_json::Value, kind: Option<&str>) -> Result<Document, String> {
        Document::parse(&serde_json::to_vec(value).unwrap(), kind)
    }

    #[test]
    fn an_image_has_a_configuration_and_layers() {
        let kind = format!("{MANIFEST}; charset=utf-8");
        let Document::Image(image) = parse(&manifest(), Some(&kind)).unwrap() else {
            panic!("an index")
        };
        assert_eq!((image.config.size, image.layers[0].size), (3, 5));
    }

    #[test]
    fn what_is_two_things_at_once_is_neither() {
        let mut both = manifest();
        both["manifests"] = serde_json::json!([]);
        assert!(parse(&both, None).unwrap_err().contains("at once"));
        let index = "application/vnd.oci.image.index.v1+json";
        assert!(parse(&manifest(), Some(index)).unwrap_err().contains("calls itself"));
    }

    #[test]
    fn other_artefacts_old_schemas_and_nonsense_are_named() {
        let mut other = manifest();
        other["config"]["mediaType"] = "application/vnd.helm".into();
        assert!(parse(&other, None).unwrap_err().contains("helm"));
        let old = serde_json::json!({"schemaVersion": 1, "fsLayers": []});
        assert!(parse(&old, None).unwrap_err().contains("schema 1"));
        assert!(parse(&serde_json::json!({}), None).unwrap_err().contains("neither"));
        assert!(Document::parse(b"<html>", None).is_err());
        let mut huge = manifest();
        huge["layers"][0]["size"] = u64::MAX.into();
        assert!(parse(&huge, None).unwrap_err().contains("bytes"));
    }

    #[test]
    fn an_index_is_chosen_from_by_platform_and_without_attestations() {
        let entry = |seed: &str, arch: &str, variant: Option<&str>| {
            serde_json::json!({"digest": digest(seed), "mediaType": MANIFEST, "size": 1,
                "platform": {"os": "linux", "architecture": arch, "variant": variant}})
        };
        let mut attestation = entry("x", "unknown", None);
        attestation["annotations"] = serde_json::json!({ATTESTATION: "attestation-manifest"});
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [
            entry("7", "arm", Some("v7")), entry("6", "arm", Some("v6")),
            entry("64", "arm64", Some("v8")), attestation]});
        let Document::Index(entries) = parse(&index, None).unwrap() else { panic!("an image") };
        assert_eq!(entries.len(), 3);
        let chosen = |platform: &str| {
            let platform: Platform = platform.parse().unwrap();
            choose(&entries, &platform).map(|entry| entry.digest.to_string())
        };
        assert_eq!(chosen("linux/arm/v6").unwrap(), digest("6"));
        assert_eq!(chosen("linux/arm").unwrap(), digest("7"));
        assert_eq!(chosen("linux/arm64").unwrap(), digest("64"));
        let error = chosen("linux/s390x").unwrap_err();
        assert!(error.contains("no matching manifest for linux/s390x"), "{error}");
        assert!(error.contains("linux/arm/v7, linux/arm/v6"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            let _understood = Document::parse(&bytes, None);
        }
    }
}
