//! The scene of these tests, and what is attached to the machine for it.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use wharf_lab::wait;

/// Longer than anything here may honestly take.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);
/// The host's own ways to a published port.
pub(crate) const OWN: [&str; 4] = ["127.0.0.1", "[::1]", "10.1.0.2", "[fd01::2]"];

pub(crate) struct Scene(wharf_lab::Scene);

impl Scene {
    /// `None`, with a word why, where labs cannot be built or the plane cannot be had.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let scene = wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).settled();
        let scene = scene.build().map(Self)?;
        let (_, found) = scene.wharf.doctor();
        let checks = found["checks"].as_array().or(found.as_array()).unwrap();
        let ebpf = checks.iter().find(|it| it["name"] == "ebpf" || it["check"] == "ebpf").unwrap();
        if ebpf["status"] != "ok" {
            eprintln!("skipped: {ebpf}");
            return None;
        }
        Some(scene)
    }

    /// The same scene with a variable for everything that the program starts.
    pub(crate) fn with_env(self, name: &str, value: &str) -> Self {
        Self(self.0.with_env(name, value))
    }

    /// Where the plane is pinned.
    pub(crate) fn place(&self) -> std::path::PathBuf {
        self.wharf.run_dir().join("bpf")
    }

    /// The source that the container behind `port` sees for a client of this host at `address`.
    #[track_caller]
    pub(crate) fn source(&self, proto: &str, address: &str, port: u16) -> String {
        let told = self.host.told(proto, &format!("{address}:{port}"));
        told.unwrap_or_else(|error| panic!("{proto} {address}:{port}: {error:#}"))
            .source
            .to_string()
    }

    /// The only publication of `ports`.
    #[track_caller]
    pub(crate) fn entry(&self, ports: &str, proto: &str) -> Value {
        let found = self.wharf.ports_at(ports);
        found.into_iter().find(|it| it["protocol"] == proto).unwrap()
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The numbers of all links of programs that the kernel has; `None` without `bpftool`.
pub(crate) fn links() -> Option<BTreeSet<u64>> {
    Some(numbers(&bpftool(&["link"])?))
}

/// Those that are pinned below `place`, which are some.
pub(crate) fn own_links(place: &Path) -> Option<BTreeSet<u64>> {
    links()?;
    // bpftool gives up looking for pins when a directory of another test is gone meanwhile.
    let some = || Some(pinned_links(place)).filter(|ours| !ours.is_empty());
    Some(wait::until(LIMIT, "pinned links", some).unwrap())
}

fn pinned_links(place: &Path) -> BTreeSet<u64> {
    let all = bpftool(&["--bpffs", "link"]).unwrap_or_default();
    let is_ours = |link: &&Value| {
        let pins = link["pinned"].as_array().into_iter().flatten();
        pins.filter_map(Value::as_str).any(|pin| Path::new(pin).starts_with(place))
    };
    numbers(&all.iter().filter(is_ours).cloned().collect::<Vec<_>>())
}

fn numbers(links: &[Value]) -> BTreeSet<u64> {
    links.iter().filter_map(|link| link["id"].as_u64()).collect()
}

fn bpftool(args: &[&str]) -> Option<Vec<Value>> {
    let tool = ["/usr/sbin/bpftool", "/sbin/bpftool"].into_iter().find(|it| Path::new(it).exists());
    let Some(tool) = tool else {
        eprintln!("skipped: bpftool is not installed (Debian: bpftool)");
        return None;
    };
    let output = Command::new(tool).arg("-j").args(args).output().unwrap();
    serde_json::from_slice(&output.stdout).ok()
}
