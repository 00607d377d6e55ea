//! Those that run containers and publish their ports: ours in two ways, Podman, Docker.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wharf_lab::{Docker, Output, Podman, Scene, wait};

use crate::bench::ground::HOST;
use crate::bench::memory::Memory;
use crate::bench::site::scene;

/// The container's name, and that of the image where images have names.
const NAME: &str = "web";
const IMAGE: &str = "box";

/// For a thousand scattered ports Docker and Podman take a minute or two on an idle machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Lazily freed memory of what ended before is gone by then.
const REST: Duration = Duration::from_millis(500);

/// Who publishes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `wharf publish` and `unpublish` on a container that runs.
    Live,
    /// `wharf run -p` and `rm`.
    Ours,
    /// Debian's Podman: `podman run -p` and `rm`.
    Podman,
    /// Debian's Docker: `docker run -p` and `rm`.
    Docker,
}

/// An engine on a host of its own; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    program: Program,
    image: String,
    /// Last: the others live in its directory.
    scene: Scene,
}

#[derive(Debug)]
enum Program {
    Ours,
    Podman(Podman),
    Docker(Docker),
}

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Live, Self::Ours, Self::Podman, Self::Docker];

    /// Its name in tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Live => "ours, live",
            Self::Ours => "ours",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }

    /// The name it is chosen by: both ways of ours have the same.
    pub(crate) fn chosen_by(self) -> &'static str {
        if self == Self::Live { "ours" } else { self.name() }
    }
}

// === impl Engine ===

impl Engine {
    /// Starts an engine with an image; `None`, with a word why, where it is not installed.
    pub(crate) fn start(kind: Kind, program: &Path) -> Result<Option<Self>> {
        let scene = scene(&format!("engine {}", kind.name()), program)?;
        let Some(rootfs) = scene.busybox() else { return Ok(None) };
        let started = match kind {
            Kind::Live | Kind::Ours => Some((Program::Ours, format!("dir:{}", rootfs.display()))),
            Kind::Podman => podman(&scene, &rootfs)?,
            Kind::Docker => docker(&scene, &rootfs)?,
        };
        Ok(started.map(|(program, image)| Self { kind, program, image, scene }))
    }

    /// Runs a container whose web server listens on `serving`, with these ports published; returns
    /// how long the command took.
    pub(crate) fn run(&self, specs: &[String], serving: u16) -> Result<Duration> {
        let serving = serving.to_string();
        let mut line = vec!["run", "-d", "--name", NAME];
        line.extend(specs.iter().flat_map(|spec| ["-p", spec]));
        line.extend([&self.image, "httpd", "-f", "-h", "/srv", "-p", &serving]);
        self.command(&line)
    }

    /// Removes the container, which is killed; returns how long the command took.
    pub(crate) fn remove(&self) -> Result<Duration> {
        match self.kind {
            // It would ask first, and wait ten seconds for a web server that does not listen to it.
            Kind::Podman => self.command(&["rm", "-f", "-t", "0", NAME]),
            _ => self.command(&["rm", "-f", NAME]),
        }
    }

    /// Runs `command` in a container of its own to its end; returns how long that took.
    pub(crate) fn run_to_end(&self, command: &[&str]) -> Result<Duration> {
        self.command(&[&["run", "--rm", &self.image], command].concat())
    }

    /// Runs a command in the container that runs; returns how long that took.
    pub(crate) fn exec(&self, command: &[&str]) -> Result<Duration> {
        self.command(&[&["exec", NAME], command].concat())
    }

    /// Runs `count` containers that do nothing, each with a name of its own.
    pub(crate) fn run_idle(&self, count: usize) -> Result<()> {
        for number in 0..count {
            let name = format!("idle{number}");
            self.command(&["run", "-d", "--name", &name, &self.image, "sleep", "100000"])?;
        }
        Ok(())
    }

    /// The processes of the engine whose command line has `word` in it.
    pub(crate) fn processes(&self, word: &str) -> Vec<u32> {
        let processes = self.scene.wharf.processes();
        let those = processes.into_iter().filter(|(_, line)| line.contains(word));
        those.filter_map(|(pid, _)| u32::try_from(pid).ok()).collect()
    }

    /// Publishes on the container that runs; ours only.
    pub(crate) fn publish(&self, specs: &[String]) -> Result<Duration> {
        let mut line = vec!["publish", NAME];
        line.extend(specs.iter().map(String::as_str));
        self.command(&line)
    }

    /// Takes everything down that is published on the container; ours only.
    pub(crate) fn unpublish(&self) -> Result<Duration> {
        self.command(&["unpublish", "--all", NAME])
    }

    /// Waits until the remote host gets an answer from `port`; returns how long that took.
    pub(crate) fn await_answer(&self, port: u16) -> Result<Duration> {
        let begun = Instant::now();
        let at = format!("{HOST}:{port}");
        let answers = || {
            let answer = self.scene.remote.http_get(&at, "/greeting").ok()?;
            (answer.status == 200).then_some(())
        };
        wait::until(ANSWER_LIMIT, &format!("an answer from port {port}"), answers)?;
        Ok(begun.elapsed())
    }

    /// What all processes of the engine hold now, its containers' included, and the kernel.
    pub(crate) fn memory(&self) -> Result<Memory> {
        std::thread::sleep(REST);
        let processes = self.scene.wharf.processes();
        let pids: Vec<u32> = processes.iter().filter_map(|it| u32::try_from(it.0).ok()).collect();
        Memory::now(&pids)
    }

    fn command(&self, line: &[&str]) -> Result<Duration> {
        let output: Output = match &self.program {
            Program::Ours => self.scene.wharf.run(line)?,
            Program::Podman(podman) => podman.run_within(line, COMMAND_LIMIT)?,
            Program::Docker(docker) => docker.run_within(line, COMMAND_LIMIT)?,
        };
        let verb = line.first().context("a verb")?;
        ensure!(output.is_success(), "{} {verb}: {}", self.kind.name(), output.stderr.trim());
        Ok(output.took)
    }
}

fn podman(scene: &Scene, rootfs: &Path) -> Result<Option<(Program, String)>> {
    let Some(podman) = Podman::start(&scene.wharf)? else { return Ok(None) };
    podman.import(rootfs, IMAGE)?;
    Ok(Some((Program::Podman(podman), IMAGE.to_owned())))
}

fn docker(scene: &Scene, rootfs: &Path) -> Result<Option<(Program, String)>> {
    let Some(docker) = Docker::start(&scene.wharf, &[])? else { return Ok(None) };
    docker.import(rootfs, IMAGE)?;
    Ok(Some((Program::Docker(docker), IMAGE.to_owned())))
}
