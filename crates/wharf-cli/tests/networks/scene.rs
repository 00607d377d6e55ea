//! A host with the program, and a root file system with a shell in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wharf_lab::{Host, Lab, Wharf, can_run};

pub(crate) struct Scene {
    pub(crate) wharf: Wharf,
    pub(crate) host: Host,
    pub(crate) lab: Lab,
}

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !can_run() {
            return None;
        }
        let lab = Lab::new(name).unwrap();
        let host = lab.host("host").unwrap();
        let wharf = host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
        Some(Self { wharf, host, lab })
    }

    /// `wharf network inspect`, of one network.
    pub(crate) fn network(&self, name: &str) -> Value {
        let text = self.wharf.ok(["network", "inspect", name]);
        let found: Value = serde_json::from_str(&text).unwrap();
        found[0].clone()
    }

    /// The subnets of a network, IPv4 first.
    pub(crate) fn subnets(&self, name: &str) -> Vec<String> {
        let network = self.network(name);
        let subnets = network["subnets"].as_array().unwrap();
        subnets.iter().map(|subnet| subnet["subnet"].as_str().unwrap().to_owned()).collect()
    }

    /// One of the addresses in `wharf inspect`, empty when there is none.
    pub(crate) fn address(&self, container: &str, field: &str) -> String {
        let inspected = self.wharf.inspect(container);
        let networks = inspected["NetworkSettings"]["Networks"].as_object().unwrap();
        networks.values().next().unwrap()[field].as_str().unwrap_or_default().to_owned()
    }

    /// An image source with busybox in it; `None`, with a word why, where there is none to take.
    pub(crate) fn busybox(&self) -> Option<String> {
        let found = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
        let Some(program) = found.into_iter().find(|path| path.exists()) else {
            eprintln!("skipped: a statically linked busybox is not installed");
            return None;
        };
        let root: PathBuf = self.lab.directory().join("root");
        for directory in ["bin", "etc", "tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy(program, root.join("bin/busybox")).unwrap();
        fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["sh", "cat", "sleep", "ip", "hostname", "ls"] {
            // It is there already for the second container of a test.
            let _linked = std::os::unix::fs::symlink("busybox", root.join("bin").join(name));
        }
        Some(format!("dir:{}", root.display()))
    }
}
