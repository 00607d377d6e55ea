//! OCI archives, made here.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A layer in the making.
pub(super) struct Layer(Builder<Vec<u8>>);

/// An OCI image layout in the making.
#[derive(Default)]
pub(super) struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
}

pub(super) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Layer {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Everything below `directory`, symbolic links as such.
    pub(super) fn tree(mut self, directory: &Path) -> Self {
        self.0.follow_symlinks(false);
        self.0.append_dir_all(".", directory).unwrap();
        self
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, EntryType::Regular, content, None)
    }

    /// A file of bytes that no compression makes fewer.
    pub(super) fn noise(mut self, path: &str, length: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_le_bytes());
        }
        bytes.truncate(length);
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        self.0.append_data(&mut header, path, bytes.as_slice()).unwrap();
        self
    }

    pub(super) fn directory(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, "", None)
    }

    pub(super) fn hard_link(self, path: &str, to: &str) -> Self {
        self.entry(path, EntryType::Link, "", Some(to))
    }

    /// Takes away what lower layers have at `path`.
    pub(super) fn without(self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').unwrap();
        self.file(&format!("{parent}/.wh.{name}"), "")
    }

    /// Hides everything that lower layers have in the directory `path`.
    pub(super) fn opaque(self, path: &str) -> Self {
        self.directory(path).file(&format!("{path}/.wh..wh..opq"), "")
    }

    pub(super) fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        content: &str,
        to: Option<&str>,
    ) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        // Not through `set_path`, which refuses the names that must be refused by Wharf.
        header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(to) = to {
            header.as_ustar_mut().unwrap().linkname[..to.len()].copy_from_slice(to.as_bytes());
        }
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    pub(super) fn build(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Layout {
    /// Adds the image `name` of `layers`, tars each, every other one compressed.
    pub(super) fn image(mut self, name: &str, layers: &[Vec<u8>], config: Value) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let mut described = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let kind = "application/vnd.oci.image.layer.v1.tar";
            described.push(match index % 2 {
                0 => self.blob(&format!("{kind}+gzip"), gzip(layer)),
                _ => self.blob(kind, layer.clone()),
            });
        }
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "2024-02-03T04:05:06Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let config = self.blob("application/vnd.oci.image.config.v1+json", config);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": described});
        let mut manifest = self.blob(kind, serde_json::to_vec(&manifest).unwrap());
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.manifests.push(manifest);
        self
    }

    fn blob(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let described = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
        self.blobs.insert(digest.replace(':', "/"), bytes);
        described
    }

    /// Changes one byte of the blob `number`, counted by size from the largest.
    pub(super) fn damaged(mut self, number: usize) -> Self {
        let mut by_size: Vec<&mut Vec<u8>> = self.blobs.values_mut().collect();
        by_size.sort_by_key(|bytes| std::cmp::Reverse(bytes.len()));
        let bytes = &mut by_size[number];
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self
    }

    /// Puts other content in the place of the layer `layer`, under the old digest.
    pub(super) fn exchanged(mut self, layer: &[u8], other: &[u8]) -> Self {
        for (from, to) in [(layer.to_vec(), other.to_vec()), (gzip(layer), gzip(other))] {
            if let Some(bytes) = self.blobs.values_mut().find(|bytes| **bytes == from) {
                *bytes = to;
            }
        }
        self
    }

    /// The blobs by digest, and the descriptors of the manifests, which are among them.
    pub(super) fn into_parts(self) -> (BTreeMap<String, Vec<u8>>, Vec<Value>) {
        let blobs = self.blobs.into_iter().map(|(path, bytes)| (path.replace('/', ":"), bytes));
        (blobs.collect(), self.manifests)
    }

    pub(super) fn build(self) -> Vec<u8> {
        let mut layer = Layer::new();
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        let files = [
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), serde_json::to_vec(&index).unwrap()),
        ];
        let blobs = self.blobs.into_iter().map(|(path, bytes)| (format!("blobs/{path}"), bytes));
        for (path, bytes) in files.into_iter().chain(blobs) {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            layer.0.append_data(&mut header, path, bytes.as_slice()).unwrap();
        }
        layer.build()
    }

    /// Writes it to a file of `directory`.
    pub(super) fn write(self, directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, self.build()).unwrap();
        path
    }
}
