//! A host with the program, and another host one cable away.

use std::time::Duration;

use serde_json::Value;
use wharf_lab::{Host, Lab, Wharf, can_run};

/// Longer than anything here may honestly take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Scene {
    pub(crate) wharf: Wharf,
    pub(crate) host: Host,
    pub(crate) remote: Host,
    // Last: the directory goes when everybody who works in it has gone.
    _lab: Lab,
}

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !can_run() {
            return None;
        }
        let lab = Lab::new(name).unwrap();
        let (host, remote) = (lab.host("host").unwrap(), lab.host("remote").unwrap());
        lab.link(&host, &["10.1.0.2/24", "fd01::2/64"], &remote, &["10.1.0.1/24", "fd01::1/64"])
            .unwrap();
        let wharf = host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
        Some(Self { wharf, host, remote, _lab: lab })
    }

    /// Runs `wharf/whoami` as `name`, detached, with the options given.
    pub(crate) fn whoami<'a>(&self, name: &'a str, options: impl IntoIterator<Item = &'a str>) {
        let mut line = vec!["run", "-d", "--name", name, "--hostname", name];
        line.extend(options);
        line.push("wharf/whoami");
        self.wharf.ok(line);
        self.wharf.serving(name, 80).unwrap();
    }

    /// `wharf start` or `restart`, and waits until the container listens again.
    pub(crate) fn again(&self, line: &[&str], name: &str) {
        self.wharf.ok(line.iter().chain(&[name]));
        self.wharf.serving(name, 80).unwrap();
    }

    /// The line of `wharf ps -a --format json` for the container `name`.
    pub(crate) fn listed(&self, name: &str) -> Value {
        let all = self.wharf.json(["ps", "-a"]);
        let found = all.as_array().unwrap().iter().find(|c| c["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {all:#}")).clone()
    }
}

/// Who answers at `address`, over `tcp` or `udp`.
pub(crate) fn answered_by(client: &Host, proto: &str, address: &str) -> anyhow::Result<String> {
    let told: Value = if proto == "udp" {
        serde_json::from_slice(&client.udp_ask(address, b"who?")?)?
    } else {
        client.http_get(address, "/api")?.json()?
    };
    Ok(told["hostname"].as_str().unwrap_or_default().to_owned())
}

/// The host port of a line such as `0.0.0.0:49153`.
pub(crate) fn port_of(line: &str) -> u16 {
    line.rsplit(':').next().unwrap().parse().unwrap()
}
