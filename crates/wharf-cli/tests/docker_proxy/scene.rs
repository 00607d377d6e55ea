//! A host with a docker-proxy of ours, and another host one cable away.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use wharf_lab::{Docker, Host, Process, Teller, wait};
use wharf_relay::{Listed, RelayClient, socket_path};

/// Longer than anything here may honestly take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// The bridge that Docker makes.
const BRIDGE: &str = "--bip=172.29.0.1/24";
pub(crate) const GATEWAY: &str = "172.29.0.1";

pub(crate) struct Scene(wharf_lab::Scene);

/// A scene with Debian's Docker on the host and an image called `box`.
pub(crate) struct Dock {
    // First: it ends before the instance does.
    pub(crate) docker: Docker,
    pub(crate) scene: Scene,
}

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).build().map(Self)
    }

    /// A link called `docker-proxy` to the program.
    pub(crate) fn link(&self) -> PathBuf {
        let link = self.wharf.directory().join("docker-proxy");
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wharf"), &link).unwrap();
        }
        link
    }

    /// Starts `docker-proxy args…` as dockerd does: with the status pipe at descriptor 3, which
    /// is read as its standard output, and `socket`, if there is one, at descriptor 4.
    pub(crate) fn proxy(&self, args: &str, socket: Option<Stdio>) -> Process {
        let redirect = match socket {
            Some(_) => r#"exec "$0" "$@" 3>&1 4<&0 </dev/null >/dev/null"#,
            None => r#"exec "$0" "$@" 3>&1 </dev/null >/dev/null"#,
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", redirect]).arg(self.link()).args(args.split_whitespace());
        command.env("WHARF_RUN_DIR", self.wharf.run_dir()).stdin(socket.unwrap_or(Stdio::null()));
        self.host.spawn(command).unwrap()
    }

    /// As [`Scene::proxy`], once it has reported that it serves.
    pub(crate) fn serving(&self, args: &str, socket: Option<Stdio>) -> Process {
        let mut proxy = self.proxy(args, socket);
        let told = wait::until(LIMIT, "the status", || {
            let ended = !proxy.is_running();
            (ended || proxy.stdout().contains('\n')).then(|| proxy.stdout())
        });
        assert_eq!(told.unwrap(), "0\n", "{}", proxy.stderr());
        proxy
    }

    /// Starts a relay on the host and waits until it answers.
    pub(crate) fn relay(&self) -> Process {
        let relay = self.wharf.spawn(["relay"]).unwrap();
        let socket = socket_path(&self.wharf.run_dir());
        wait::until(LIMIT, "a relay", || RelayClient::connect(&socket).ok()).unwrap();
        relay
    }

    /// The routes of the relay.
    pub(crate) fn routes(&self) -> Vec<Listed> {
        let socket = socket_path(&self.wharf.run_dir());
        RelayClient::connect(&socket).unwrap().list().unwrap()
    }

    /// Waits until the relay serves as many ports.
    pub(crate) fn routes_become(&self, count: usize) -> Vec<Listed> {
        let what = format!("{count} routes");
        wait::until(LIMIT, &what, || Some(self.routes()).filter(|it| it.len() == count)).unwrap()
    }

    /// The process ids of the proxies whose command line contains `part`.
    pub(crate) fn proxies(&self, part: &str) -> BTreeSet<i32> {
        let all = self.wharf.processes().into_iter();
        let ours = all.filter(|(_, it)| it.starts_with("docker-proxy ") && it.contains(part));
        ours.map(|(pid, _)| pid).collect()
    }

    /// Whether nobody holds the port, in either family.
    pub(crate) fn is_free(&self, port: u16, proto: &str) -> bool {
        ["0.0.0.0", "[::]"].iter().all(|any| match proto {
            "udp" => self.host.udp_bind(&format!("{any}:{port}")).is_ok(),
            _ => self.host.tcp_listen(&format!("{any}:{port}")).is_ok(),
        })
    }

    pub(crate) fn becomes_free(&self, port: u16, proto: &str) {
        let what = format!("a free {proto} port {port}");
        wait::until(LIMIT, &what, || self.is_free(port, proto).then_some(())).unwrap();
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Dock {
    /// Docker with more options; `None`, with a word why, where that cannot be.
    pub(crate) fn new(name: &str, options: &[&str]) -> Option<Self> {
        let scene = Scene::new(name)?;
        let rootfs = scene.busybox()?;
        let path = format!("--userland-proxy-path={}", scene.link().display());
        let all: Vec<&str> = [path.as_str(), BRIDGE].into_iter().chain(options.to_vec()).collect();
        let docker = Docker::start(&scene.wharf, &all).unwrap()?;
        docker.import(&rootfs, "box").unwrap();
        Some(Self { docker, scene })
    }

    /// `docker run -d --name NAME OPTIONS… box sleep`, and its namespace.
    pub(crate) fn run(&self, name: &str, options: &[&str]) -> Host {
        let line = [&["run", "-d", "--name", name, "--stop-signal=KILL"], options, &SLEEP].concat();
        self.docker.ok(&line);
        self.docker.container(name).unwrap()
    }
}

const SLEEP: [&str; 3] = ["box", "sleep", "600"];

/// A host to be the target of proxies, one cable away from `host`, which tells on port 80.
pub(crate) fn target(scene: &Scene) -> (Host, Teller) {
    let target = scene.neighbour("target", &["172.29.0.1/24", "fd02::1/64"], &["172.29.0.2/24"]);
    target.default_route_via("172.29.0.1").unwrap();
    let teller = target.tell(&[80, 81]).unwrap();
    (target, teller)
}

/// The address the answering teller sees, and the port that was reached.
pub(crate) fn told(client: &Host, proto: &str, address: &str) -> (String, u16) {
    let told = client.told(proto, address).unwrap();
    (told.source.to_string(), told.port.unwrap())
}

/// The address the answering teller sees.
pub(crate) fn seen(client: &Host, proto: &str, address: &str) -> String {
    told(client, proto, address).0
}
