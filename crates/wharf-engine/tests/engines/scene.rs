//! A host with one real engine on it and an image called `box`.

use std::path::PathBuf;
use std::time::Duration;

use wharf_engine::{Engine, Engines, Event, Found, Sockets, Watch};
use wharf_lab::{Docker, Host, Lab, Podman, Wharf, can_run, rootfs};

/// Longer than anything here may honestly take.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const SLEEP: [&str; 3] = ["box", "sleep", "600"];

/// Either program, with the verbs that they share.
#[derive(Debug)]
enum Program {
    Docker(Docker),
    Podman(Podman),
}

pub(crate) struct Scene {
    // First: it ends before its directory goes.
    program: Program,
    pub(crate) engine: Engine,
    pub(crate) engines: Engines,
    // It would take the engine with it.
    _wharf: Wharf,
    // The other end of the host's cable, without which there would be none.
    _remote: Host,
    _lab: Lab,
}

// === impl Scene ===

impl Scene {
    /// `None`, with a word why, where labs cannot be built or the engine is not installed.
    pub(crate) fn new(engine: Engine, name: &str) -> Option<Self> {
        if !can_run() {
            return None;
        }
        let lab = Lab::new(name).unwrap();
        let rootfs = rootfs::busybox(lab.directory(), "rootfs").unwrap()?;
        let (host, remote) = (lab.host("host").unwrap(), lab.host("remote").unwrap());
        lab.link(&host, &["10.1.0.2/24"], &remote, &["10.1.0.1/24"]).unwrap();
        // The program is never started: the instance lends its directory and its cgroups.
        let wharf = host.wharf("/bin/true").unwrap();
        let program = match engine {
            Engine::Docker => {
                let docker = Docker::start(&wharf, &["--bip=172.29.0.1/24"]).unwrap()?;
                docker.import(&rootfs, "box").unwrap();
                Program::Docker(docker)
            }
            Engine::Podman => {
                let podman = Podman::start(&wharf).unwrap()?;
                podman.import(&rootfs, "box").unwrap();
                Program::Podman(podman)
            }
        };
        let engines = Engines::new(program.sockets());
        Some(Self { program, engine, engines, _wharf: wharf, _remote: remote, _lab: lab })
    }

    /// Runs a verb that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        match &self.program {
            Program::Docker(docker) => docker.ok(args),
            Program::Podman(podman) => podman.ok(args),
        }
    }

    /// `run -d --name NAME OPTIONS… box sleep`; gives the id.
    pub(crate) fn start(&self, name: &str, options: &[&str]) -> String {
        self.ok(&[&["run", "-d", "--name", name, "--stop-signal=KILL"], options, &SLEEP].concat())
    }

    pub(crate) async fn find(&self, name: &str) -> wharf_engine::Result<Found> {
        self.engines.find(self.engine, name).await
    }

    pub(crate) fn kill9(&mut self) {
        match &mut self.program {
            Program::Docker(docker) => docker.kill9().unwrap(),
            Program::Podman(podman) => podman.kill9().unwrap(),
        }
    }

    pub(crate) fn start_again(&mut self) {
        match &mut self.program {
            Program::Docker(docker) => docker.start_again().unwrap(),
            Program::Podman(podman) => podman.start_again().unwrap(),
        }
    }

    /// The default bridge's name.
    pub(crate) fn bridge(&self) -> &'static str {
        match self.engine {
            Engine::Docker => "bridge",
            Engine::Podman => "podman",
        }
    }
}

// === impl Program ===

impl Program {
    fn sockets(&self) -> Sockets {
        let nowhere = || PathBuf::from("/does/not/exist");
        match self {
            Self::Docker(docker) => Sockets { docker: docker.socket(), podman: nowhere() },
            Self::Podman(podman) => Sockets { docker: nowhere(), podman: podman.socket() },
        }
    }
}

/// Takes events until there is `wanted`.
pub(crate) async fn expect(watch: &mut Watch, wanted: &Event) {
    seen(watch, &format!("{wanted:?}"), |event| event == wanted).await;
}

/// Takes events until the engine is lost; gives the reason.
pub(crate) async fn loss(watch: &mut Watch) -> String {
    match seen(watch, "a loss", |event| matches!(event, Event::Lost { .. })).await {
        Event::Lost { reason } => reason,
        _ => String::new(),
    }
}

async fn seen(watch: &mut Watch, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
    let mut others = Vec::new();
    let found = tokio::time::timeout(LIMIT, async {
        loop {
            let event = watch.next().await.expect("the runtime goes on");
            if is_it(&event) {
                return event;
            }
            others.push(event);
        }
    });
    match found.await {
        Ok(event) => event,
        Err(_) => panic!("{what} is not among {others:?}"),
    }
}
