//! The test host, its neighbour on the cable, and how both are asked.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_lab::{Host, Lab, Wharf, can_run};

pub(crate) const HOST: [&str; 4] = ["10.1.0.2", "10.1.0.3", "fd01::2", "fd01::3"];
pub(crate) const REMOTE: [&str; 2] = ["10.1.0.1", "fd01::1"];

/// A host with the program, and another host one cable away.
pub(crate) struct Scene {
    pub(crate) wharf: Wharf,
    pub(crate) host: Host,
    pub(crate) remote: Host,
    // Last: the directory goes when everybody who works in it has gone.
    _lab: Lab,
}

/// What a server says of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) hostname: String,
    pub(crate) source: IpAddr,
    /// The port reached, where the server has several.
    pub(crate) port: Option<u64>,
}

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !can_run() {
            return None;
        }
        let lab = Lab::new(name).unwrap();
        let (host, remote) = (lab.host("host").unwrap(), lab.host("remote").unwrap());
        let ours: Vec<String> = HOST.iter().map(|address| with_prefix(address)).collect();
        let theirs = REMOTE.map(with_prefix);
        lab.link(&host, &refs(&ours), &remote, &refs(&theirs)).unwrap();
        let wharf = host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
        Some(Self { wharf, host, remote, _lab: lab })
    }

    /// Runs `wharf/whoami` as `name`, detached, with the options given.
    pub(crate) fn whoami(&self, name: &str, options: &[&str]) {
        let mut line = vec!["run", "-d", "--name", name, "--hostname", name];
        line.extend(options);
        line.push("wharf/whoami");
        self.wharf.ok(line);
        self.wharf.serving(name, 80).unwrap();
    }

    /// One of the addresses in `wharf inspect`: `IPAddress`, `Gateway`, `GlobalIPv6Address`, …
    pub(crate) fn address(&self, container: &str, field: &str) -> IpAddr {
        let inspected = self.wharf.inspect(container);
        let networks = inspected["NetworkSettings"]["Networks"].as_object().unwrap();
        let network = networks.values().next().unwrap();
        network[field].as_str().unwrap().parse().unwrap()
    }
}

/// Asks the server at `address` what it sees of `client`.
pub(crate) fn ask(client: &Host, proto: &str, address: SocketAddr) -> Result<Told> {
    let address = address.to_string();
    let told: Value = if proto == "udp" {
        serde_json::from_slice(&client.udp_ask(&address, b"who am I?")?)?
    } else {
        let answer = client.http_get(&address, "/api")?;
        ensure!(answer.status == 200, "status {}", answer.status);
        answer.json()?
    };
    let source: SocketAddr = told["remoteAddr"].as_str().context("no remoteAddr")?.parse()?;
    let hostname = told["hostname"].as_str().context("no hostname")?.to_owned();
    Ok(Told { hostname, source: source.ip(), port: told["port"].as_u64() })
}

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn with_prefix(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 64 } else { 24 })
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
