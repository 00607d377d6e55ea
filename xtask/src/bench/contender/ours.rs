//! Our relay, as a process on the host that is fed over its control socket.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use wharf_host::process::{Pid, Signal};
use wharf_host::reserve::{Reservation, Transport, reserve};
use wharf_relay::{RelayClient, Route, ensure};

use super::Mapping;
use crate::bench::ground::{CONTAINER, Ground};
use crate::bench::processes;

const END_LIMIT: Duration = Duration::from_secs(5);
/// Ports handed over with one request.
const BATCH: usize = 1000;

/// A running relay of ours.
#[derive(Debug)]
pub(crate) struct Ours {
    client: RelayClient,
    directory: PathBuf,
}

// === impl Ours ===

impl Ours {
    /// Starts a relay from `program`.
    pub(crate) fn start(ground: &Ground, name: &str, program: &Path) -> Result<Self> {
        let directory = ground.directory(name)?;
        let client = ground.host.run(|| ensure(&directory, program))?;
        let client = client.inspect_err(|_| end(&directory)).context("start our relay")?;
        Ok(Self { client, directory })
    }

    /// Binds ports and hands them over, as the daemon does.
    pub(crate) fn publish(&mut self, ground: &Ground, mappings: &[Mapping]) -> Result<()> {
        for some in mappings.chunks(BATCH) {
            let held: Result<Vec<(Route, Reservation)>> =
                ground.host.run(|| some.iter().map(held).collect())?;
            let (routes, held): (Vec<Route>, Vec<Reservation>) = held?.into_iter().unzip();
            let sockets: Vec<_> =
                held.iter().flat_map(|it| &it.sockets).map(|bound| bound.socket.as_fd()).collect();
            let ids: Vec<String> = routes.iter().map(|route| route.id.clone()).collect();
            self.client.add(routes, &sockets).context("hand ports to our relay")?;
            self.client.open(&ids).context("open ports of our relay")?;
        }
        Ok(())
    }

    /// The relay's process, and what else runs from its directory.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        processes::naming(&self.directory)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        end(&self.directory);
    }
}

/// Ends what runs from `directory`, also when it never answered.
fn end(directory: &Path) {
    let pids = processes::naming(directory).unwrap_or_default();
    let relays: Vec<Pid> = pids.iter().filter_map(|pid| Pid::of(*pid).ok()).collect();
    for relay in &relays {
        let told = relay.signal(Signal::TERM);
        if told.is_err() || !relay.wait_exit(END_LIMIT).unwrap_or(false) {
            eprintln!("our relay (process {}) did not end when told; killing it", relay.pid);
            drop(relay.signal(Signal::KILL));
            drop(relay.wait_exit(END_LIMIT));
        }
        processes::reap(relay.pid);
    }
}

fn held(mapping: &Mapping) -> Result<(Route, Reservation)> {
    let Mapping { port, service } = *mapping;
    let (transport, proto) =
        if service.is_udp() { (Transport::Udp, "udp") } else { (Transport::Tcp, "tcp") };
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let held = reserve(transport, &[any], (port, port))?;
    // Through JSON, so that fields this benchmark does not care about have their defaults.
    let route = serde_json::from_value(json!({
        "id": format!("{proto}-{port}"),
        "proto": proto,
        "listeners": [{ "address": any, "dual": false }],
        "target_v4": CONTAINER,
        "target_v6": null,
        "host_ports": [port, port],
        "target_ports": [service.port(), service.port()],
        "on_host": true,
    }));
    Ok((route.context("describe a route")?, held))
}
