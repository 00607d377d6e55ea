use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Barrier;

use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A tar of `files`, each a name and its content; names ending in `@` are links.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(name) = name.strip_suffix('@') {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            let target = std::str::from_utf8(content).unwrap();
            builder.append_link(&mut header, name, target).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, *content).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn config(layers: &[&[u8]], cmd: &str) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    serde_json::to_vec(&json!({
        "architecture": oci::host_architecture(), "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": [cmd], "Env": ["A=1"], "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": ids},
    }))
    .unwrap()
}

fn docker_old(name: &str, layers: &[&[u8]]) -> Vec<u8> {
    let config = config(layers, name);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let paths: Vec<_> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest =
        json!([{"Config": config_name, "RepoTags": [format!("{name}:1")], "Layers": paths}]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut files: Vec<(&str, &[u8])> = vec![(&config_name, &config), ("manifest.json", &manifest)];
    files.extend(paths.iter().map(String::as_str).zip(layers.iter().copied()));
    tar(&files)
}

struct Oci {
    blobs: Vec<(String, Vec<u8>)>,
    manifests: Vec<serde_json::Value>,
}

impl Oci {
    fn new() -> Self {
        Self { blobs: Vec::new(), manifests: Vec::new() }
    }

    fn blob(&mut self, bytes: Vec<u8>) -> String {
        let digest = Digest::of(&bytes);
        self.blobs.push((archive_path(&digest), bytes));
        digest.to_string()
    }

    fn manifest(&mut self, layers: &[&[u8]], cmd: &str, pack: fn(&[u8]) -> Vec<u8>) -> String {
        let config = self.blob(config(layers, cmd));
        let layers: Vec<_> =
            layers.iter().map(|layer| json!({"digest": self.blob(pack(layer))})).collect();
        let kind = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({"config": {"mediaType": kind, "digest": config}, "layers": layers});
        self.blob(serde_json::to_vec(&manifest).unwrap())
    }

    fn add(mut self, descriptor: serde_json::Value) -> Self {
        self.manifests.push(descriptor);
        self
    }

    fn finish(self) -> Vec<u8> {
        let index = serde_json::to_vec(&json!({"manifests": self.manifests})).unwrap();
        let mut files: Vec<(&str, &[u8])> =
            vec![("oci-layout", b"{}"), ("index.json", index.as_slice())];
        files.extend(self.blobs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        tar(&files)
    }
}

fn archive_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn store() -> (TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    (dir, store)
}

fn layer_count(dir: &TempDir) -> usize {
    let entries = fs::read_dir(dir.path().join("images/layers")).unwrap();
    entries.filter(|e| e.as_ref().unwrap().path().is_dir()).count()
}

#[test]
fn an_old_docker_archive_is_loaded_and_found() {
    let (lower, upper) = (tar(&[("a", b"1")]), tar(&[("b", b"22")]));
    let (dir, store) = store();
    let loaded = store.load_archive(docker_old("demo", &[&lower, &upper]).as_slice()).unwrap();
    assert_eq!(loaded[0].names, ["demo:1"]);
    let image = store.resolve("demo:1").unwrap();
    assert_eq!(image, store.resolve(&loaded[0].id.to_string()).unwrap());
    assert_eq!(image, store.resolve(loaded[0].id.short()).unwrap());
    assert_eq!(image.config.cmd, ["demo"]);
    assert_eq!((image.size, image.config.exposed.as_slice()), (3, &["80/tcp".to_owned()][..]));
    assert_eq!(fs::read_to_string(image.layers[0].join("b")).unwrap(), "22");
    assert_eq!(fs::read_to_string(image.layers[1].join("a")).unwrap(), "1");
    assert_eq!(fs::read_dir(dir.path().join("images/scratch")).unwrap().count(), 0);
}

#[test]
fn the_outer_tar_may_be_compressed_and_layers_may_be_links() {
    let layer = tar(&[("a", b"1")]);
    let config = config(&[&layer, &layer], "x");
    let manifest = serde_json::to_vec(
        &json!([{"Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar"]}]),
    )
    .unwrap();
    let archive = tar(&[
        ("c.json", &config),
        ("1/layer.tar", &layer),
        ("2/layer.tar@", b"../1/layer.tar"),
        ("manifest.json", &manifest),
    ]);
    let (dir, store) = store();
    let file = dir.path().join("x.tar.gz");
    fs::write(&file, gzip(&archive)).unwrap();
    let source = ImageSource::DockerArchive { file, reference: None };
    let image = store.obtain(&source).unwrap();
    assert_eq!(image.layers.len(), 1, "the same layer twice is stacked once");
    assert!(image.names.is_empty());
}

#[test]
fn links_of_layers_that_loop_or_leave_are_errors() {
    let layer = tar(&[("a", b"1")]);
    let config = config(&[&layer], "x");
    let manifest = br#"[{"Config": "c.json", "Layers": ["1/layer.tar"]}]"#;
    for target in ["../2/layer.tar", "../../../../etc/passwd", "/etc/passwd"] {
        let archive = tar(&[
            ("c.json", &config),
            ("1/layer.tar@", target.as_bytes()),
            ("2/layer.tar@", b"../1/layer.tar"),
            ("manifest.json", manifest),
        ]);
        let (_dir, store) = store();
        store.load_archive(archive.as_slice()).unwrap_err();
    }
}

#[test]
fn an_oci_archive_chooses_this_platform_and_skips_attestations() {
    let layer = tar(&[("a", b"1")]);
    for pack in [|b: &[u8]| b.to_vec(), gzip, zstd] {
        let mut oci = Oci::new();
        let here = oci.manifest(&[&layer], "here", pack);
        let other = oci.manifest(&[&layer], "other", pack);
        let platform = |arch: &str| json!({"os": "linux", "architecture": arch});
        let inner = json!({"manifests": [
            {"digest": other, "platform": platform("mips64le")},
            {"digest": here, "platform": platform(oci::host_architecture())},
            {"digest": other, "platform": {"os": "unknown", "architecture": "unknown"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        ]});
        let inner = oci.blob(serde_json::to_vec(&inner).unwrap());
        let archive = oci
            .add(json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": inner,
                "annotations": {"io.containerd.image.name": "docker.io/library/demo:2",
                                "org.opencontainers.image.ref.name": "2"}}))
            .finish();
        let (_dir, store) = store();
        assert_eq!(store.load_archive(archive.as_slice()).unwrap()[0].names, ["demo:2"]);
        assert_eq!(store.resolve("demo:2").unwrap().config.cmd, ["here"]);
        assert_eq!(store.resolve(&format!("demo@{here}")).unwrap().config.cmd, ["here"]);
    }
}

#[test]
fn one_of_several_images_can_be_chosen() {
    let layer = tar(&[("a", b"1")]);
    let mut oci = Oci::new();
    let (one, two) = (oci.manifest(&[&layer], "one", gzip), oci.manifest(&[&layer], "two", gzip));
    let named = |digest: &str, name: &str| json!({"digest": digest, "annotations": {"org.opencontainers.image.ref.name": name}});
    let archive = oci.add(named(&one, "one:1")).add(named(&two, "two:1")).finish();
    let (dir, store) = store();
    let file = dir.path().join("x.tar");
    fs::write(&file, archive).unwrap();
    let source = |reference: Option<&str>| ImageSource::OciArchive {
        file: file.clone(),
        reference: reference.map(str::to_owned),
    };
    assert_eq!(store.obtain(&source(Some("two:1"))).unwrap().config.cmd, ["two"]);
    let error = store.obtain(&source(None)).unwrap_err().to_string();
    assert!(error.contains("several images (one:1, two:1)"), "{error}");
    let error = store.obtain(&source(Some("three"))).unwrap_err().to_string();
    assert!(error.contains("no image three"), "{error}");
}

#[test]
fn damaged_blobs_are_refused_and_leave_nothing() {
    let layer = tar(&[("a", b"1")]);
    let mut oci = Oci::new();
    let manifest = oci.manifest(&[&layer], "x", gzip);
    oci.blobs[1].1 = gzip(&tar(&[("a", b"2")]));
    let archive = oci.add(json!({"digest": manifest})).finish();
    let (dir, store) = store();
    let error = store.load_archive(archive.as_slice()).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(layer_count(&dir), 0);
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn what_is_no_image_is_named_as_such() {
    let (_dir, store) = store();
    for bytes in [&b"hello"[..], &tar(&[("x", b"y")]), &gzip(b"hello"), b""] {
        let error = store.load_archive(bytes).unwrap_err().to_string();
        assert!(error.starts_with("archive: "), "{error}");
    }
    let error = store.resolve("nginx").unwrap_err().to_string();
    assert!(error.contains("wharf load -i") && error.contains("docker-archive:"), "{error}");
}

#[test]
fn removing_untags_first_then_deletes_and_collects_layers() {
    let (shared, own) = (tar(&[("a", b"1")]), tar(&[("b", b"2")]));
    let (dir, store) = store();
    let id =
        store.load_archive(docker_old("one", &[&shared, &own]).as_slice()).unwrap()[0].id.clone();
    store.load_archive(docker_old("two", &[&shared]).as_slice()).unwrap();
    let locked = store.catalogue.lock().unwrap();
    let record = store.catalogue.record(&id).unwrap().unwrap();
    store.commit(&locked, &record, &["alias:1".to_owned()]).unwrap();
    drop(locked);

    let removed = store.remove("alias:1", Vec::new, false).unwrap();
    assert_eq!((removed.untagged, removed.deleted.len()), (vec!["alias:1".to_owned()], 0));
    let error = store.remove("one:1", || vec![id.clone()], false).unwrap_err();
    assert!(error.to_string().contains("container uses it"), "{error}");
    let removed = store.remove("one:1", Vec::new, false).unwrap();
    assert_eq!(removed.untagged, ["one:1"]);
    assert_eq!(removed.deleted, [id, Digest::of(&own)]);
    assert_eq!(layer_count(&dir), 1);
    assert!(store.resolve("two:1").unwrap().layers[0].join("a").exists());
}

#[test]
fn an_image_in_use_only_loses_its_name_by_force() {
    let layer = tar(&[("a", b"1")]);
    let (_dir, store) = store();
    let id = store.load_archive(docker_old("one", &[&layer]).as_slice()).unwrap()[0].id.clone();
    let removed = store.remove("one:1", || vec![id.clone()], true).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    assert_eq!(store.prune(|| vec![id.clone()], false).unwrap(), Removed::default());
    assert_eq!(store.prune(Vec::new, false).unwrap().deleted.len(), 2);
}

#[test]
fn eight_loads_of_one_image_at_once_are_one_image() {
    let layer = tar(&[("a", &[7; 100_000])]);
    let archive = docker_old("one", &[&layer]);
    let (dir, store) = store();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                store.load_archive(archive.as_slice()).unwrap();
            });
        }
    });
    assert_eq!((store.list().unwrap().len(), layer_count(&dir)), (1, 1));
    assert_eq!(fs::read_dir(dir.path().join("images/scratch")).unwrap().count(), 0);
}

#[test]
fn loading_while_removing_never_yields_an_image_without_layers() {
    let layer = tar(&[("a", b"1")]);
    let archive = docker_old("one", &[&layer]);
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            for _ in 0..40 {
                let _may_be_absent = store.remove("one:1", Vec::new, false);
            }
        });
        while !remover.is_finished() {
            match store.load_archive(archive.as_slice()) {
                Ok(_) => {}
                Err(e) => assert!(e.to_string().contains("as fast as"), "{e}"),
            }
        }
    });
    store.load_archive(archive.as_slice()).unwrap();
    assert!(store.resolve("one:1").unwrap().layers[0].join("a").exists());
}

#[test]
fn what_a_crash_left_is_removed_at_open_but_not_what_is_in_use() {
    let (dir, store) = store();
    let root = dir.path().join("images");
    fs::create_dir_all(root.join("scratch/new-stale/content/deep")).unwrap();
    let drafts = [".new-1", "meta/.new-2", "layers/.new-3"].map(|name| root.join(name));
    for draft in &drafts {
        fs::write(draft, "half").unwrap();
    }
    let written = fs::File::create(root.join("meta/.new-4")).unwrap();
    written.lock().unwrap();
    let busy = scratch::Scratch::new(&root.join("scratch")).unwrap();
    let again = ImageStore::open(&root).unwrap();
    assert!(!root.join("scratch/new-stale").exists());
    assert!(busy.path().parent().unwrap().exists());
    assert!(drafts.iter().all(|draft| !draft.exists()));
    assert!(root.join("meta/.new-4").exists());
    drop((store, again));
}

#[test]
fn a_directory_is_an_image_and_is_not_stored() {
    let (dir, store) = store();
    let rootfs = dir.path().join("rootfs");
    let name = format!("dir:{}", rootfs.display());
    assert!(store.resolve(&name).is_err());
    fs::create_dir(&rootfs).unwrap();
    let image = store.obtain(&name.parse().unwrap()).unwrap();
    assert_eq!(image.layers, [rootfs.canonicalize().unwrap()]);
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn whoami_is_made_once_and_again_when_the_program_changes() {
    let (dir, store) = store();
    let program = dir.path().join("program");
    fs::copy("/proc/self/exe", &program).unwrap();
    let store = store.with_program(&program);
    let image = store.resolve("wharf/whoami").unwrap();
    assert_eq!(image.names, ["wharf/whoami:latest"]);
    assert_eq!(image.config.entrypoint, ["/wharf", "whoami"]);
    assert!(
        image.layers[0].join("wharf").is_file() && image.layers[0].join("etc/passwd").is_file()
    );
    if let Some(loader) = crate::image::elf::interpreter(&program).unwrap() {
        assert!(image.layers[0].join(loader.strip_prefix("/").unwrap()).is_file());
    }
    let made = || {
        let file = fs::metadata(image.layers[0].join("wharf")).unwrap();
        (file.ino(), file.ctime(), file.ctime_nsec())
    };
    let before = made();
    assert_eq!(store.resolve("wharf/whoami:latest").unwrap(), image, "with the same time, too");
    assert_eq!(made(), before);

    fs::OpenOptions::new().append(true).open(&program).unwrap().write_all(b"x").unwrap();
    let newer = store.resolve("wharf/whoami").unwrap();
    assert_ne!(newer.id, image.id);
    assert_eq!(store.prune(Vec::new, false).unwrap().deleted.len(), 2);
}
