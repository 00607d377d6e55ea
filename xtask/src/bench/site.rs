//! A host with a container on it, whose services are there to be published, and a remote host.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_lab::{Host, Process, Scene, http};

use super::agent::{Knocked, Paced, answers};
use super::column::Service;
use super::ground::{HOST, agent, serve};

/// The container.
pub(crate) const TARGET: &str = "web";

/// How many publications are asked for at once when a site is prepared.
const CHUNK: usize = 500;
const START_LIMIT: Duration = Duration::from_secs(20);
/// How much longer than what it measures an agent may take.
const GRACE: Duration = Duration::from_secs(30);

/// An instance with a running container; dropping it ends everything.
#[derive(Debug)]
pub(crate) struct Site {
    /// In the container; first, as the scene's directory goes last.
    _server: Process,
    /// The container's address on its network.
    pub(crate) container: IpAddr,
    pub(crate) scene: Scene,
}

/// A paced flow that runs; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Flow {
    process: Process,
}

// === impl Site ===

impl Site {
    /// Starts an instance from `program` and a container with the services.
    pub(crate) fn start(name: &str, program: &Path) -> Result<Self> {
        let scene = scene(name, program)?;
        let run = scene.wharf.run(["run", "-d", "--name", TARGET, "wharf/whoami"])?;
        ensure!(run.is_success(), "the container does not run: {run:?}");
        let address = scene.wharf.network_setting(TARGET, "IPAddress");
        let container = address.parse().with_context(|| format!("its address {address:?}"))?;
        let server = serve(&scene.wharf.container(TARGET)?, container)?;
        Ok(Self { _server: server, container, scene })
    }

    /// Publishes all these port specs.
    pub(crate) fn publish_all(&self, specs: &[String]) -> Result<()> {
        for some in specs.chunks(CHUNK) {
            self.ask("publish", &json!({ "target": TARGET, "specs": some }))?;
        }
        Ok(())
    }

    /// Asks the daemon over its API; returns how long the answer took.
    pub(crate) fn ask(&self, verb: &str, request: &Value) -> Result<Duration> {
        let (socket, body) = (self.scene.wharf.run_dir().join("wharf.sock"), request.to_string());
        let begun = Instant::now();
        let answer = http::over_unix(&socket, "POST", &format!("/v1/{verb}"), Some(&body))?;
        let took = begun.elapsed();
        let said = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == 200, "{verb} was answered with {}: {said}", answer.status);
        Ok(took)
    }

    /// Whether the published `port` leads to [`Service::Short`], as seen from the remote host.
    pub(crate) fn is_reached(&self, port: u16) -> Result<bool> {
        let at = SocketAddr::new(HOST, port);
        self.scene.remote.run(|| answers(Service::Short, at).is_ok())
    }

    /// Starts a paced flow from the remote host to `port`, which leads to [`Service::Stream`].
    pub(crate) fn flow(&self, port: u16, interval: Duration) -> Result<Flow> {
        let mut command = agent("pace");
        command.args(["--to", &SocketAddr::new(HOST, port).to_string()]);
        command.args(["--interval", &interval.as_micros().to_string()]).stdin(Stdio::piped());
        let mut process = self.scene.remote.spawn(command)?;
        process.wait_for("ready", START_LIMIT)?;
        Ok(Flow { process })
    }
}

/// Connects from `client` `times` times, to each of these addresses in turn.
pub(crate) fn knock(client: &Host, to: &[SocketAddr], times: usize) -> Result<Knocked> {
    let to: Vec<String> = to.iter().map(SocketAddr::to_string).collect();
    let mut command = agent("knock");
    command.args(["--to", &to.join(","), "--times", &times.to_string()]);
    let output = client.output(command, GRACE)?;
    ensure!(output.is_success(), "no connection: {}", output.stderr.trim());
    serde_json::from_str(&output.stdout).context("read the times of connections")
}

// === impl Flow ===

impl Flow {
    /// Ends it.
    pub(crate) fn end(self) -> Result<Paced> {
        let output = self.process.output(GRACE)?;
        ensure!(output.is_success(), "a flow beside broke: {}", output.stderr.trim());
        let last = output.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).context("read what the flow has seen")
    }
}

/// A host, one cable away from a remote one, with an instance of `program` that is not started.
pub(crate) fn scene(name: &str, program: &Path) -> Result<Scene> {
    let program = program.to_str().context("a program whose path is text")?;
    Scene::builder(name, program).build().context("test hosts cannot be made here")
}
