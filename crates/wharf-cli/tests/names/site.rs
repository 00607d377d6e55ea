//! One host, whose resolvers are in a file of the test's own.

use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use wharf_lab::{Host, Scene, wait};

use super::resolver::Resolver;

/// Longer than anything here takes on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Where systemd-resolved listens: the host's own loopback.
pub(super) const STUB: &str = "127.0.0.53";

pub(super) struct Site {
    pub(super) resolv_conf: PathBuf,
    image: String,
    scene: Scene,
}

impl Site {
    pub(super) fn new(name: &str) -> Option<Self> {
        let scene = Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).without_cable().build()?;
        let resolv_conf = scene.wharf.directory().join("resolv.conf");
        std::fs::write(&resolv_conf, format!("nameserver {STUB}\nsearch lan.example\n")).unwrap();
        let scene = scene.with_env("WHARF_RESOLV_CONF", resolv_conf.to_str().unwrap());
        Some(Self { resolv_conf, image: scene.busybox_image()?, scene })
    }

    /// A resolver on the host's loopback that knows one name outside.
    pub(super) fn stub(&self) -> Resolver {
        let zone: [(&str, &[&str]); 1] = [("outside.example", &["192.0.2.80"])];
        Resolver::start(&self.host, STUB, &zone)
    }

    /// `wharf run -d --name name flags… IMAGE sleep`, and its inside.
    pub(super) fn sleeper(&self, name: &str, flags: &[&str]) -> Host {
        self.detached(name, flags, &["sleep", "1000"]);
        self.wharf.container(name).unwrap()
    }

    /// `wharf run -d --name name flags… IMAGE command…`.
    pub(super) fn detached(&self, name: &str, flags: &[&str], command: &[&str]) {
        let mut line = vec!["run", "-d", "--name", name];
        line.extend(flags);
        line.push(self.image.as_str());
        line.extend(command);
        self.wharf.ok(line);
    }

    /// The command line of [`Site::sleeper`], without `-d` and the name.
    pub(super) fn line<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        let mut line = vec!["run"];
        line.extend(flags);
        line.extend([self.image.as_str(), "sleep", "1000"]);
        line
    }

    /// `wharf exec name sh -c script`, which must succeed.
    pub(super) fn exec(&self, name: &str, script: &str) -> String {
        self.wharf.ok(["exec", name, "sh", "-c", script])
    }

    /// The place of a container on a network, as `inspect` has it.
    pub(super) fn place(&self, container: &str, network: &str) -> Value {
        self.wharf.inspect(container)["NetworkSettings"]["Networks"][network].clone()
    }

    /// Its IPv4 address on a network.
    pub(super) fn ip(&self, container: &str, network: &str) -> String {
        self.place(container, network)["IPAddress"].as_str().unwrap().to_owned()
    }

    /// What `/metrics` says.
    pub(super) fn metrics(&self) -> String {
        let mut stream = UnixStream::connect(self.wharf.run_dir().join("wharf.sock")).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: wharf\r\nconnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Runs `wharf args…`, which must fail with `code` and say `text`.
    #[track_caller]
    pub(super) fn refused(&self, args: &[&str], code: i32, text: &str) {
        let output = self.wharf.fails(args);
        assert_eq!(output.code(), code, "{output:?}");
        assert!(output.stderr.contains(text), "{text:?} is not in {output:?}");
    }

    /// Waits until `found` gives something.
    pub(super) fn eventually<T>(&self, what: &str, found: impl FnMut() -> Option<T>) -> T {
        wait::until(LIMIT, what, found).unwrap()
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
