//! The scene of these tests, and who answers in it.

use std::ops::Deref;
use std::time::Duration;

use serde_json::Value;
use wharf_lab::Host;

/// Longer than anything here may honestly take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Scene(wharf_lab::Scene);

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).settled().build().map(Self)
    }

    /// The line of `wharf ps -a --format json` for the container `name`.
    pub(crate) fn listed(&self, name: &str) -> Value {
        self.wharf.listed(name).unwrap_or_else(|| panic!("{name} is not listed"))
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Who answers at `address`, over `tcp` or `udp`.
pub(crate) fn answered_by(client: &Host, proto: &str, address: &str) -> anyhow::Result<String> {
    Ok(client.told(proto, address)?.hostname)
}

/// The host port of a line such as `0.0.0.0:49153`.
pub(crate) fn port_of(line: &str) -> u16 {
    line.rsplit(':').next().unwrap().parse().unwrap()
}
