//! A host with an instance, and its socket.

use std::time::Duration;

use serde_json::Value;
use wharf_lab::{Host, Lab, Response, Wharf, can_run, http, rootfs};

pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Site {
    pub(super) host: Host,
    pub(super) wharf: Wharf,
    image: String,
    _lab: Lab,
}

impl Site {
    pub(super) fn new(name: &str) -> Option<Self> {
        if !can_run() {
            return None;
        }
        let lab = Lab::new(name).unwrap();
        let rootfs = rootfs::busybox(lab.directory(), "rootfs").unwrap()?;
        let host = lab.host("host").unwrap();
        let wharf = host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
        Some(Self { host, wharf, image: format!("dir:{}", rootfs.display()), _lab: lab })
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
