//! The scene most end-to-end tests begin with: a host with the program, and another host one
//! cable away.
//!
//! ```ignore
//! let Some(scene) = Scene::builder("remote client", program).build() else { return };
//! scene.whoami("web", ["-p", "8080:80"]);
//! assert_eq!(scene.remote.told("tcp", "10.1.0.2:8080")?.hostname, "web");
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::debian;
use crate::host::Host;
use crate::lab::{Lab, can_run};
use crate::rootfs;
use crate::wait;
use crate::wharf::Wharf;

/// The ends of the cable, as long as nobody asks for others.
const HOST: [&str; 2] = ["10.1.0.2/24", "fd01::2/64"];
const REMOTE: [&str; 2] = ["10.1.0.1/24", "fd01::1/64"];

/// The kernel gives a new link its own address and routes within milliseconds; on a busy machine
/// a worker of its own does it.
const SETTLED_LIMIT: Duration = Duration::from_secs(20);

/// A host with an instance of the program, and another host one cable away.
#[derive(Debug)]
pub struct Scene {
    /// The instance; its daemon starts with the first verb that needs it.
    pub wharf: Wharf,
    /// The host it is on.
    pub host: Host,
    /// The host at the other end of the cable.
    pub remote: Host,
    /// The lab of both. Last: its directory goes when everybody who works in it has gone.
    pub lab: Lab,
}

/// A scene before it is there.
#[derive(Debug, Clone)]
pub struct SceneBuilder<'a> {
    name: &'a str,
    program: &'a Path,
    host: Vec<&'a str>,
    remote: Vec<&'a str>,
    has_cable: bool,
    settles: bool,
}

// === impl SceneBuilder ===

impl<'a> SceneBuilder<'a> {
    /// The addresses of the cable's ends (`10.1.0.2/24`), in place of 10.1.0.2 and fd01::2 for the
    /// host and 10.1.0.1 and fd01::1 for the remote.
    #[must_use]
    pub fn addresses(mut self, host: &[&'a str], remote: &[&'a str]) -> Self {
        self.host = host.to_vec();
        self.remote = remote.to_vec();
        self
    }

    /// No cable: the host has nothing but its loopback interface.
    #[must_use]
    pub fn without_cable(mut self) -> Self {
        self.has_cable = false;
        self
    }

    /// Waits until the kernel has given the cable its link-local address and routes, so that they
    /// do not appear between two snapshots.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.settles = true;
        self
    }

    /// Makes it; `None`, with a word why, where labs cannot be built.
    ///
    /// # Panics
    /// When the kernel refuses a part of it.
    pub fn build(self) -> Option<Scene> {
        can_run().then(|| must(self.make()))
    }

    fn make(self) -> Result<Scene> {
        let lab = Lab::new(self.name)?;
        let (host, remote) = (lab.host("host")?, lab.host("remote")?);
        if self.has_cable {
            lab.link(&host, &self.host, &remote, &self.remote)?;
        }
        if self.settles {
            settle(&host)?;
        }
        Ok(Scene { wharf: host.wharf(self.program)?, host, remote, lab })
    }
}

// === impl Scene ===

impl Scene {
    /// A scene for the test `name`, with the program at `program`.
    pub fn builder<'a>(name: &'a str, program: &'a str) -> SceneBuilder<'a> {
        let (host, remote, program) = (HOST.to_vec(), REMOTE.to_vec(), Path::new(program));
        SceneBuilder { name, program, host, remote, has_cable: true, settles: false }
    }

    /// The same scene with one more environment variable for everything the program starts.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.wharf = self.wharf.with_env(name, value);
        self
    }

    /// One more host, at the other end of a cable of its own: `ours` are the addresses of the
    /// host's end (`10.2.0.2/24`), `theirs` those of the new one's.
    ///
    /// # Panics
    /// When an address is none or the kernel refuses.
    pub fn neighbour(&self, name: &str, ours: &[&str], theirs: &[&str]) -> Host {
        let made = self.lab.host(name).and_then(|other| {
            self.lab.link(&self.host, ours, &other, theirs)?;
            Ok(other)
        });
        must(made)
    }

    /// Runs `wharf/whoami` as `name`, detached, with these options, and waits until it listens.
    ///
    /// # Panics
    /// When it does not run.
    pub fn whoami<'a>(&self, name: &'a str, options: impl IntoIterator<Item = &'a str>) -> Host {
        let mut line = vec!["run", "-d", "--name", name, "--hostname", name];
        line.extend(options);
        line.push("wharf/whoami");
        self.wharf.ok(line);
        must(self.wharf.serving(name, 80))
    }

    /// `wharf start` or `restart`, and waits until the web server in the container listens again.
    ///
    /// # Panics
    /// When it does not run.
    pub fn again(&self, line: &[&str], name: &str) {
        self.wharf.ok(line.iter().chain(&[name]));
        must(self.wharf.serving(name, 80));
    }

    /// A directory with busybox in it, the same one every time; `None`, with a word why, where
    /// busybox is not installed.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn busybox(&self) -> Option<PathBuf> {
        let root = self.lab.directory().join("rootfs");
        if root.exists() {
            Some(root)
        } else {
            must(rootfs::busybox(self.lab.directory(), "rootfs"))
        }
    }

    /// A tree with real programs of Debian's, made once below `cache`; `None`, with a word why, where
    /// it cannot be made.
    ///
    /// # Panics
    /// When Debian's archive cannot be reached.
    pub fn debian(&self, cache: &Path) -> Option<PathBuf> {
        must(debian::debian(cache))
    }

    /// [`Scene::busybox`] as the source of an image.
    ///
    /// # Panics
    /// As [`Scene::busybox`].
    pub fn busybox_image(&self) -> Option<String> {
        Some(format!("dir:{}", self.busybox()?.display()))
    }
}

fn settle(host: &Host) -> Result<()> {
    let is_own = |route: &String| route.starts_with("fe80::") && route.contains("/128 ");
    wait::until(SETTLED_LIMIT, "a link that is up", || {
        let seen = host.snapshot().ok()?;
        seen.section("routes").iter().any(is_own).then_some(())
    })
    .with_context(|| format!("on host {}", host.name()))
}

#[expect(clippy::panic, reason = "this is how a test fails")]
#[track_caller]
fn must<T>(made: Result<T>) -> T {
    match made {
        Ok(made) => made,
        Err(error) => panic!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No verb is run here, so any program does.
    const PROGRAM: &str = "/bin/true";

    #[test]
    fn both_ends_of_the_cable_reach_each_other() {
        let Some(scene) = Scene::builder("scene", PROGRAM).settled().build() else { return };
        let _teller = scene.host.tell(&[80]).unwrap();
        assert_eq!(scene.remote.told("tcp", "[fd01::2]:80").unwrap().hostname, "host");
        let other = scene.neighbour("other", &["10.2.0.2/24"], &["10.2.0.1/24"]);
        let told = other.told("udp", "10.2.0.2:80").unwrap();
        assert_eq!((told.source.to_string().as_str(), told.port), ("10.2.0.1", Some(80)));
    }

    #[test]
    fn a_host_may_be_alone_or_have_other_addresses() {
        let Some(alone) = Scene::builder("alone", PROGRAM).without_cable().build() else { return };
        assert_eq!(alone.host.interfaces().unwrap(), ["lo"]);
        let scene = Scene::builder("others", PROGRAM)
            .addresses(&["10.9.0.2/24", "10.9.0.3/24"], &["10.9.0.1/24"])
            .build()
            .unwrap();
        let _teller = scene.host.tell(&[80]).unwrap();
        assert!(scene.remote.can_connect("10.9.0.3:80"));
        assert_eq!(scene.busybox(), scene.busybox());
    }
}
