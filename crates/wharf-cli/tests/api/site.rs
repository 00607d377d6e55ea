//! A host with an instance, and its socket.

use std::ops::Deref;
use std::time::Duration;

use serde_json::Value;
use wharf_lab::{Response, Scene, http};

pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Site {
    image: String,
    scene: Scene,
}

impl Site {
    pub(super) fn new(name: &str) -> Option<Self> {
        let scene = Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).without_cable().build()?;
        Some(Self { image: scene.busybox_image()?, scene })
    }

    pub(super) fn image(&self) -> &str {
        &self.image
    }

    /// Runs a container that idles.
    pub(super) fn run(&self, name: &str) -> String {
        self.wharf.ok(["run", "-d", "-p", "8080:80", "--name", name, &self.image, "sleep", "1000"])
    }

    pub(super) fn call(&self, method: &str, path: &str, body: Option<&str>) -> Response {
        http::over_unix(&self.wharf.run_dir().join("wharf.sock"), method, path, body).unwrap()
    }

    pub(super) fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json().unwrap()
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
