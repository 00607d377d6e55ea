//! The scene, and how an operation is carried out there: by the API's socket, which is quicker
//! than a program for each.

use std::fs;
use std::ops::Deref;
use std::time::Duration;

use serde_json::{Value, json};
use wharf_lab::Scene;
use wharf_relay::RelayClient;
use wharf_spec::PublishOptions;

use super::model::{Model, NETWORKS, Network, Which};
use super::operation::{Operation, listening_port};

/// Longer than anything here may honestly take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// A container that no operation is about.
pub(super) const STILL: &str = "still";

/// What became of a request.
#[derive(Debug)]
#[expect(dead_code, reason = "what was said is for whoever reads of a failure")]
pub(super) enum Outcome {
    Done(Value),
    /// With its status.
    Refused(u16, String),
    /// There was no answer, or none that can be read.
    Broken(String),
}

/// A host with an instance on it, and what is known of its processes.
pub(super) struct Site {
    scene: Scene,
    pub(super) daemon: u32,
    pub(super) relay: Option<RelayClient>,
    pub(super) deaths: super::control::Deaths,
    /// The bridges of the networks, in their order.
    pub(super) bridges: Vec<String>,
}

// === impl Site ===

impl Site {
    /// `None`, with a word why, where labs cannot be built.
    pub(super) fn new(name: &str) -> Option<Self> {
        let scene = Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).settled().build()?;
        let deaths = super::control::Deaths::default();
        let bridges = Vec::new();
        let mut site = Self { scene, daemon: 0, relay: None, deaths, bridges };
        site.call_daemon();
        for network in &NETWORKS[1..] {
            let made = json!({
                "name": network.name, "ipv6": network.has_ipv6, "internal": network.internal,
            });
            site.must("POST", "/v1/networks", &made);
        }
        let listed = site.get("/v1/networks").unwrap();
        let bridge = |network: &Network| {
            let mut all = listed.as_array().unwrap().iter();
            let found = all.find(|it| it["name"] == network.name).unwrap();
            found["bridge"].as_str().unwrap().to_owned()
        };
        site.bridges = NETWORKS.iter().map(bridge).collect();
        Some(site)
    }

    /// Asks the daemon.
    pub(super) fn ask(&self, method: &str, path: &str, body: &Value) -> Outcome {
        let socket = self.wharf.run_dir().join("wharf.sock");
        let body = (!body.is_null()).then(|| body.to_string());
        let answer = match wharf_lab::http::over_unix(&socket, method, path, body.as_deref()) {
            Ok(answer) => answer,
            Err(error) => return Outcome::Broken(format!("{error:#}")),
        };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        match (answer.status, serde_json::from_str(&text)) {
            (200, Ok(value)) => Outcome::Done(value),
            (200, Err(_)) if text.is_empty() => Outcome::Done(Value::Null),
            (400..500, _) => Outcome::Refused(answer.status, text),
            (status, _) => Outcome::Broken(format!("status {status}: {text}")),
        }
    }

    pub(super) fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        match self.ask(method, path, body) {
            Outcome::Done(value) => value,
            other => panic!("{method} {path} {body}: {other:?}"),
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        match self.ask("GET", path, &Value::Null) {
            Outcome::Done(value) => Ok(value),
            other => Err(format!("GET {path}: {other:?}")),
        }
    }

    /// Carries out an operation that is a request; `model` is as it was before.
    pub(super) fn request(&self, operation: &Operation, model: &Model) -> Outcome {
        if let Operation::Run { name, network, specs } = operation {
            let texts: Vec<String> = specs.iter().map(ToString::to_string).collect();
            let port = listening_port(name).to_string();
            let wanted = json!({
                "name": name, "hostname": name, "image": "wharf/whoami", "publish": texts,
                "network": network.name, "command": ["--port", port],
            });
            match self.ask("POST", "/v1/containers", &wanted) {
                Outcome::Done(_) => {}
                other => return other,
            }
            return self.ask("POST", &format!("/v1/containers/{name}/start"), &Value::Null);
        }
        let (method, path, body) = wire(operation, model);
        self.ask(method, &path, &body)
    }

    /// The end of each log of the instance.
    pub(super) fn logs(&self) -> String {
        let mut text = String::new();
        for path in
            [self.wharf.state_dir().join("daemon.log"), self.wharf.run_dir().join("relay.log")]
        {
            let log = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n");
            text += &format!("-- {}\n{tail}\n", path.display());
        }
        text
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

/// Every option, because what is not said stays as it was.
fn in_full(options: &PublishOptions) -> String {
    let header = options.proxy_protocol.map_or("off".to_owned(), |version| version.to_string());
    let PublishOptions { via, source, allow, .. } = options;
    let mut text = format!("via={via},source={source},proxy-protocol={header}");
    allow.iter().for_each(|network| text += &format!(",allow={network}"));
    if allow.is_empty() { text + ",allow=any" } else { text }
}

fn wire(operation: &Operation, model: &Model) -> (&'static str, String, Value) {
    let of = |name: &str, verb: &str| format!("/v1/containers/{name}{verb}");
    match operation {
        Operation::Publish { name, specs, replace } => {
            let options = specs.first().map(|spec| in_full(&spec.options)).unwrap_or_default();
            let plain = specs.iter().map(|spec| {
                let plain = PublishOptions::default();
                wharf_spec::PortSpec { options: plain, ..spec.clone() }.to_string()
            });
            let specs: Vec<String> = plain.collect();
            let body = json!({
                "target": name, "specs": specs, "options": options, "replace": replace,
            });
            ("POST", "/v1/publish".to_owned(), body)
        }
        Operation::Unpublish { name, which, drain } => {
            let specs: Vec<String> = match which {
                Which::All => Vec::new(),
                Which::Spec(spec) => vec![spec.to_string()],
                Which::Known(place) => {
                    vec![model.publications[*place].id.clone().unwrap_or_default()]
                }
            };
            let all = matches!(which, Which::All);
            let body =
                json!({ "target": name, "specs": specs, "all": all, "drain_seconds": drain });
            ("POST", "/v1/unpublish".to_owned(), body)
        }
        Operation::Start { name } => ("POST", of(name, "/start"), Value::Null),
        Operation::Stop { name } => ("POST", of(name, "/stop?time=5"), Value::Null),
        Operation::Kill { name } => ("POST", of(name, "/kill"), Value::Null),
        Operation::Restart { name } => ("POST", of(name, "/restart?time=5"), Value::Null),
        Operation::Remove { name } => ("DELETE", of(name, "?force=true"), Value::Null),
        Operation::Run { .. } | Operation::Fault(_) | Operation::Torn { .. } => {
            unreachable!("not one request")
        }
    }
}
