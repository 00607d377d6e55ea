//! The whole program, once, on whatever kernel runs: a container is reached on every plane, and kept
//! within its limits where there are control groups of version 2 only.
//!
//! `cargo xtask test --vm` runs this inside the guest.

mod limits;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_lab::{Host, Scene, assert_same};

/// What is published without a wish, and what goes through user space only.
const FREE: &str = "8080";
const RELAYED: &str = "8081";

/// The kernel takes links and rules away after whoever had them has ended.
const SETTLED_LIMIT: Duration = Duration::from_secs(20);

/// Publishes a container of `program` and reaches it by the eBPF plane, by nft and by the relay.
///
/// # Errors
/// When a path is not served by the plane it should be, or something stays behind.
pub(crate) fn check_program(program: &Path) -> Result<()> {
    let program = program.to_str().context("the path of the program is not text")?;
    let scene = Scene::builder("vm", program).settled().build().context("this needs root")?;
    let before = scene.wharf.snapshot()?.without("run directory");
    let relayed = format!("{RELAYED}:80,via=relay");
    scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp", "-p", &relayed]);
    println!("{}", scene.wharf.ok(["ports"]));
    served(&scene, FREE, "host-loopback", "ebpf")?;
    served(&scene, FREE, "external-v4", "nft")?;
    served(&scene, RELAYED, "external-v4", "relay")?;
    served(&scene, RELAYED, "host-loopback", "relay")?;
    reach(&scene.host, &["127.0.0.1", "[::1]", "10.1.0.2", "[fd01::2]"])?;
    reach(&scene.remote, &["10.1.0.2", "[fd01::2]"])?;
    ensure!(carried(&scene, FREE)? == 0, "the relay carried what the kernel should have");
    ensure!(carried(&scene, RELAYED)? > 0, "the relay counted nothing of what it carried");
    let seen = scene.remote.told("tcp", &format!("10.1.0.2:{FREE}"))?.source;
    ensure!(seen.to_string() == "10.1.0.1", "the container sees {seen}, not the client");
    scene.wharf.ok(["rm", "-f", "web"]);
    limits::keep(&scene)?;
    scene.wharf.ok(["shutdown", "--all"]);
    scene.wharf.settles_to(&before, SETTLED_LIMIT)?;
    assert_same(&before, &scene.wharf.snapshot()?);
    Ok(())
}

/// Whether the path of this name to `port` is on this plane, by the word of `wharf ports`.
fn served(scene: &Scene, port: &str, path: &str, plane: &str) -> Result<()> {
    for publication in scene.wharf.ports_at(port) {
        let paths = publication.get("paths").and_then(Value::as_array);
        let text = |it: &Value, key: &str| it.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut paths = paths.into_iter().flatten();
        let found = paths.find(|it| text(it, "path").as_deref() == Some(path));
        let serves = found.and_then(|it| text(it, "plane"));
        ensure!(
            serves.as_deref() == Some(plane),
            "{path} to port {port} is served by {serves:?}, not by {plane}: {publication:#}"
        );
    }
    Ok(())
}

/// Asks the container at each address of its host, on both ports.
fn reach(from: &Host, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        for (port, proto) in [(FREE, "tcp"), (FREE, "udp"), (RELAYED, "tcp")] {
            let told = from.told(proto, &format!("{address}:{port}"))?;
            println!("{} by {proto} {address}:{port}: seen as {}", from.name(), told.source);
            ensure!(told.hostname == "web", "{} answers at {address}:{port}", told.hostname);
        }
    }
    Ok(())
}

/// The bytes that the relay carried from the container for TCP at `port`. Connected UDP sockets of
/// the host are its business on every kernel.
fn carried(scene: &Scene, port: &str) -> Result<u64> {
    let is_tcp = |it: &Value| it.get("protocol").and_then(Value::as_str) == Some("tcp");
    let all: Vec<Value> = scene.wharf.ports_at(port).into_iter().filter(is_tcp).collect();
    ensure!(!all.is_empty(), "nothing is published at port {port}");
    Ok(all.iter().filter_map(|it| it.get("bytes_out").and_then(Value::as_u64)).sum())
}
