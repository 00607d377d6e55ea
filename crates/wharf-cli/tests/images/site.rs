//! A host with an instance and the content of images.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::PathBuf;

use serde_json::Value;
use wharf_lab::Scene;

pub(super) struct Site {
    pub(super) rootfs: PathBuf,
    scene: Scene,
}

impl Site {
    pub(super) fn new(name: &str) -> Option<Self> {
        let scene = Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).without_cable().build()?;
        // Whoever runs the tests may be logged in somewhere.
        let nobody = scene.lab.directory().join("nobody");
        let scene = scene.with_env("DOCKER_CONFIG", &nobody.to_string_lossy());
        Some(Self { rootfs: scene.busybox()?, scene })
    }

    /// The same with a remote host one cable away.
    pub(super) fn with_cable(name: &str) -> Option<Self> {
        let scene = Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).build()?;
        Some(Self { rootfs: scene.busybox()?, scene })
    }

    /// No blob lies about.
    pub(super) fn no_downloads_are_left(&self) {
        let downloads = self.wharf.state_dir().join("images/downloads");
        let left: Vec<_> = std::fs::read_dir(downloads).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// The images there are.
    pub(super) fn list(&self) -> Vec<Value> {
        self.wharf.json(["images"]).as_array().unwrap().clone()
    }

    /// The names of all images, without the built-in one.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let names = |image: &Value| image["names"].as_array().unwrap().clone();
        let all = self.list().iter().flat_map(names).collect::<Vec<_>>();
        let all = all.iter().map(|it| it.as_str().unwrap().to_owned());
        all.filter(|it| !it.starts_with("wharf/")).collect()
    }

    /// The number of layers in the store.
    pub(super) fn layers(&self) -> usize {
        let entries = std::fs::read_dir(self.wharf.state_dir().join("images/layers"));
        entries.map_or(0, |all| all.flatten().filter(|it| it.path().is_dir()).count())
    }

    /// `wharf run --rm image sh -c script`, which must succeed.
    pub(super) fn sh(&self, image: &str, script: &str) -> String {
        self.wharf.ok(["run", "--rm", image, "sh", "-c", script])
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
