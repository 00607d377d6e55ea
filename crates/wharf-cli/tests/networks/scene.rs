//! The scene of these tests: a host by itself, and what its networks are.

use std::ops::Deref;

use serde_json::Value;

pub(crate) struct Scene(wharf_lab::Scene);

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let scene = wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf"));
        scene.without_cable().build().map(Self)
    }

    /// `wharf network inspect`, of one network.
    pub(crate) fn network(&self, name: &str) -> Value {
        let text = self.wharf.ok(["network", "inspect", name]);
        let found: Value = serde_json::from_str(&text).unwrap();
        found[0].clone()
    }

    /// The interface of a network.
    pub(crate) fn bridge(&self, name: &str) -> String {
        let options = &self.network(name)["Options"];
        options["com.docker.network.bridge.name"].as_str().unwrap().to_owned()
    }

    /// The subnets of a network, IPv4 first.
    pub(crate) fn subnets(&self, name: &str) -> Vec<String> {
        let network = self.network(name);
        let subnets = network["IPAM"]["Config"].as_array().unwrap();
        subnets.iter().map(|subnet| subnet["Subnet"].as_str().unwrap().to_owned()).collect()
    }

    /// One of the addresses in `wharf inspect`, empty when there is none.
    pub(crate) fn address(&self, container: &str, field: &str) -> String {
        self.wharf.network_setting(container, field)
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
