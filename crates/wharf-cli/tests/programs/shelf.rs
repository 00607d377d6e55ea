//! One host, and images of Debian's programs.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use wharf_lab::{Scene, wait};

/// Longer than any of them takes to start on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Shelf {
    image: String,
    scene: Scene,
}

impl Shelf {
    pub(super) fn new(name: &str) -> Option<Self> {
        let scene = Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).without_cable().build()?;
        let root = scene.debian(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        Some(Self { image: format!("dir:{}", root.display()), scene })
    }

    /// `wharf run -d --name name flags… IMAGE command…`
    pub(super) fn run(&self, name: &str, flags: &[&str], command: &[&str]) -> String {
        let image = [self.image.as_str()];
        self.wharf.ok([&["run", "-d", "--name", name], flags, &image, command].concat())
    }

    /// The same, to its end; what it has written.
    pub(super) fn once(&self, flags: &[&str], command: &[&str]) -> String {
        let image = [self.image.as_str()];
        self.wharf.ok([&["run", "--rm"], flags, &image, command].concat())
    }

    /// `wharf exec flags… name sh -c line`, until it succeeds; what it has written.
    pub(super) fn eventually(&self, name: &str, flags: &[&str], line: &str) -> String {
        let what = format!("{line:?} in {name}");
        wait::until(LIMIT, &what, || {
            let line = [&["exec"], flags, &[name, "sh", "-c", line]].concat();
            let output = self.wharf.run(line).ok()?;
            output.is_success().then(|| output.stdout.trim_end().to_owned())
        })
        .unwrap_or_else(|e| panic!("{e}\n{:?}", self.wharf.run(["logs", name])))
    }

    /// Waits until `address` answers with a page, and gives it.
    pub(super) fn page(&self, address: &str, path: &str) -> String {
        wait::until(LIMIT, &format!("a page from {address}"), || {
            let answer = self.wharf.host().http_get(address, path).ok()?;
            (answer.status == 200).then(|| answer.text())
        })
        .unwrap_or_else(|e| panic!("{e}\n{:?}", self.wharf.run(["logs", "web"])))
    }
}

impl Deref for Shelf {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
