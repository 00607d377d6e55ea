//! Docker and Podman, the real ones, beside us on one host: theirs and ours are reached, and what we
//! publish of theirs follows them.

use std::path::PathBuf;

use serde_json::Value;
use wharf_lab::{Docker, Host, Podman, Teller, wait};

use super::scene::{LIMIT, REMOTE, Scene, rules_of_others};

/// Both engines with the verbs that they share.
enum Engine {
    Docker(Docker),
    Podman(Podman),
}

/// One engine and we on the same host.
struct Site {
    engine: Engine,
    /// The target's name for us: `docker:theirs`.
    target: &'static str,
    scene: Scene,
}

const SPECS: [&str; 2] = ["8090:80", "8090:80/udp"];

// === impl Engine ===

impl Engine {
    fn ok(&self, line: &[&str]) -> String {
        match self {
            Self::Docker(docker) => docker.ok(line),
            Self::Podman(podman) => podman.ok(line),
        }
    }

    fn container(&self, name: &str) -> Host {
        match self {
            Self::Docker(docker) => docker.container(name),
            Self::Podman(podman) => podman.container(name),
        }
        .unwrap()
    }
}

// === impl Site ===

impl Site {
    fn docker(name: &str) -> Option<Self> {
        let scene = asking(name, "WHARF_DOCKER_SOCKET", "docker/sock")?;
        let rootfs = scene.busybox()?;
        let docker = Docker::start(&scene.wharf, &["--bip=172.29.0.1/24"]).unwrap()?;
        docker.import(&rootfs, "box").unwrap();
        Some(Self { engine: Engine::Docker(docker), target: "docker:theirs", scene })
    }

    fn podman(name: &str) -> Option<Self> {
        let scene = asking(name, "WHARF_PODMAN_SOCKET", "podman/sock")?;
        let rootfs = scene.busybox()?;
        let podman = Podman::start(&scene.wharf).unwrap()?;
        podman.import(&rootfs, "box").unwrap();
        Some(Self { engine: Engine::Podman(podman), target: "podman:theirs", scene })
    }

    /// Runs a container of theirs that sleeps.
    fn run(&self, name: &str, options: &[&str]) {
        let line = ["run", "-d", "--name", name, "--stop-signal=KILL"];
        self.engine.ok(&[&line, options, &["box", "sleep", "600"]].concat());
    }

    /// Has somebody listen in a container of theirs. Who stops the container drops that first, or
    /// its namespace would stay on the bridge, with the address of the next one.
    fn tell(&self, name: &str) -> Teller {
        self.engine.container(name).tell(&[80]).unwrap()
    }

    /// What `wharf ports` says of what we publish of theirs.
    fn listed(&self) -> Vec<Value> {
        self.scene.wharf.ports_at("8090")
    }

    /// Waits until that is in this state, and gives the addresses it leads to.
    #[track_caller]
    fn until(&self, state: &str) -> String {
        let found = wait::until(LIMIT, state, || {
            let listed = self.listed();
            let all = listed.len() == 2 && listed.iter().all(|it| it["state"] == state);
            all.then(|| listed[0]["target"]["addresses"].to_string())
        });
        found.unwrap_or_else(|error| panic!("{error}: {:#?}", self.listed()))
    }

    /// Who answers the remote host on `port`, by each family and protocol.
    #[track_caller]
    fn answer(&self, port: u16, who: &str) {
        for host in ["10.1.0.2", "[fd01::2]"] {
            for proto in ["tcp", "udp"] {
                let told = self.scene.remote.told(proto, &format!("{host}:{port}"));
                let told = told.unwrap_or_else(|e| panic!("{proto} {host} {port}: {e:#}"));
                assert_eq!(told.hostname, who, "{proto} {host} {port}");
            }
        }
    }

    #[track_caller]
    fn answers_not(&self, port: u16) {
        assert_eq!(self.scene.connects(port, false), [false; 2], "{port}");
    }

    /// Their published port and ours, at the same time.
    fn both_are_served(&self) {
        self.run("published", &["-p", "9090:80"]);
        let _teller = self.tell("published");
        let told = self.scene.remote.told("tcp", "10.1.0.2:9090").unwrap();
        assert_eq!(told.hostname, "published");
        assert_eq!(self.scene.seen_from_remote(), REMOTE);
        let theirs = rules_of_others(&self.scene.host);
        self.scene.wharf.publish("web", &["8081:80"], &[]);
        assert_eq!(self.scene.connects(8081, true), [true; 2]);
        self.scene.wharf.unpublish("web", &["8081:80"]);
        assert_eq!(rules_of_others(&self.scene.host), theirs);
        let failed = self.scene.wharf.publish_fails("web", &["9090:80"], &[]);
        assert!(failed.stderr.contains("9090"), "{failed:?}");
    }

    /// One of theirs that we publish, through everything that may become of it.
    fn theirs_is_followed(&self) {
        self.run("theirs", &[]);
        let teller = self.tell("theirs");
        let rules = rules_of_others(&self.scene.host);
        self.scene.wharf.publish(self.target, &SPECS, &[]);
        let first = self.until("active");
        self.answer(8090, "theirs");
        assert_eq!(rules_of_others(&self.scene.host), rules);
        let events = self.scene.wharf.events().unwrap();

        drop(teller);
        self.engine.ok(&["stop", "-t", "0", "theirs"]);
        self.until("suspended");
        self.answers_not(8090);
        assert_eq!(events.wait_for("publication", "suspend", 2).unwrap().len(), 2);

        // Somebody else takes the address that is free meanwhile.
        self.run("other", &[]);
        self.engine.ok(&["start", "theirs"]);
        let teller = self.tell("theirs");
        assert_ne!(self.until("active"), first);
        self.answer(8090, "theirs");

        // While it runs it goes to another network.
        self.engine.ok(&["network", "create", "blue"]);
        let network = if self.target.starts_with("docker") { "bridge" } else { "podman" };
        let before = self.until("active");
        self.engine.ok(&["network", "connect", "blue", "theirs"]);
        self.engine.ok(&["network", "disconnect", network, "theirs"]);
        let moved = || (self.until("active") != before).then_some(());
        wait::until(LIMIT, "another address", moved).unwrap();
        self.answer(8090, "theirs");

        drop(teller);
        self.engine.ok(&["rm", "-f", "theirs"]);
        let gone = || self.listed().is_empty().then_some(());
        wait::until(LIMIT, "the end of what it published", gone).unwrap();
        self.answers_not(8090);
        assert_eq!(self.scene.seen_from_remote(), REMOTE);
    }
}

/// A scene whose daemon asks an engine on a socket in the instance's directory.
fn asking(name: &str, variable: &str, socket: &str) -> Option<Scene> {
    let scene = Scene::new(name)?;
    let socket: PathBuf = scene.wharf.directory().join(socket);
    Some(scene.with_env(variable, &socket.to_string_lossy()))
}

#[test]
fn docker_and_we_serve_beside_each_other() {
    let Some(site) = Site::docker("docker") else { return };
    site.scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let served = site.scene.external("8080");
    let is_docker = |reason: &str| reason.starts_with("docker drops forwarded packets");
    let by_relay: Vec<_> = served.iter().filter(|path| path.plane == "relay").collect();
    // It drops what is forwarded over IPv4, and leaves IPv6 alone as long as it has none.
    assert!(!by_relay.is_empty() && by_relay.iter().all(|path| is_docker(&path.reason)));
    site.both_are_served();
}

#[test]
fn podman_and_we_serve_beside_each_other() {
    let Some(site) = Site::podman("podman") else { return };
    site.scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    site.scene.until_served_by("nft");
    site.both_are_served();
}

#[test]
fn a_container_of_dockers_is_published_and_followed() {
    let Some(site) = Site::docker("docker followed") else { return };
    site.scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    site.theirs_is_followed();
}

#[test]
fn a_container_of_podmans_is_published_and_followed() {
    let Some(site) = Site::podman("podman followed") else { return };
    site.scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    site.theirs_is_followed();
}
