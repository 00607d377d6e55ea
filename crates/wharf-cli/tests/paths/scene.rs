//! The test host with two addresses in each family, its neighbour on the cable, and how both are
//! asked.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

use anyhow::Result;
use wharf_lab::{Host, Told};

pub(crate) const HOST: [&str; 4] = ["10.1.0.2", "10.1.0.3", "fd01::2", "fd01::3"];
pub(crate) const REMOTE: [&str; 2] = ["10.1.0.1", "fd01::1"];

pub(crate) struct Scene(wharf_lab::Scene);

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let (ours, theirs) = (HOST.map(with_prefix), REMOTE.map(with_prefix));
        wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf"))
            .addresses(&ours.each_ref().map(String::as_str), &theirs.each_ref().map(String::as_str))
            .settled()
            .build()
            .map(Self)
    }

    /// The same scene with a table that others may delete, as all are on kernels before 6.9.
    pub(crate) fn with_shared_table(self) -> Self {
        Self(self.0.with_env("WHARF_SHARED_TABLE", "true"))
    }

    /// The same scene without the eBPF plane.
    pub(crate) fn without_ebpf(self) -> Self {
        Self(self.0.with_env("WHARF_NO_EBPF", "true"))
    }

    /// One of the addresses in `wharf inspect`: `IPAddress`, `Gateway`, `GlobalIPv6Address`, …
    pub(crate) fn address(&self, container: &str, field: &str) -> IpAddr {
        self.wharf.network_setting(container, field).parse().unwrap()
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Asks the server at `address` what it sees of `client`.
pub(crate) fn ask(client: &Host, proto: &str, address: SocketAddr) -> Result<Told> {
    client.told(proto, &address.to_string())
}

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn with_prefix(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 64 } else { 24 })
}
