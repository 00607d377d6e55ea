//! Ports that the daemon has no sockets for, put where it would have put them.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{By, Case, PORTS, Shape};
use crate::bench::column::Service;
use crate::bench::site::Site;
use crate::steps::read;

const LIMIT: Duration = Duration::from_secs(60);

/// The bits of a key of the eBPF plane before the port: an address, a scope and a protocol.
const BEFORE_PORT: u32 = 144;
const PORT_BITS: u32 = 16;

/// A slot of the eBPF plane's targets, and what is in it.
#[derive(Debug)]
struct Target {
    slot: u32,
    bytes: Vec<u8>,
}

/// Puts the ports of `case` behind the first `by_daemon` into the kernel's maps.
pub(super) fn fill(site: &Site, case: Case, by_daemon: u16) -> Result<()> {
    // What it has made is nobody else's as long as it lives.
    site.scene.wharf.kill9("daemon")?;
    match case.by {
        By::Nft => fill_nft(site, case, by_daemon),
        By::Ebpf => fill_ebpf(site, case, by_daemon),
        By::Relay => bail!("the relay has no maps"),
    }
}

fn missing(case: Case, by_daemon: u16) -> impl Iterator<Item = u16> {
    PORTS.take(case.ports.into()).skip(by_daemon.into())
}

fn fill_nft(site: &Site, case: Case, by_daemon: u16) -> Result<()> {
    let (to, target, missing) = (site.container, Service::Short.port(), missing(case, by_daemon));
    let (map, elements): (&str, Vec<String>) = match case.shape {
        Shape::Scattered => {
            ("ports4", missing.map(|port| format!("tcp . {port} : {to} . {target}")).collect())
        }
        Shape::Ranges(length) => {
            let firsts = missing.step_by(length.into());
            let range = |first: u16| format!("tcp . {first}-{} : {to}", first + (length - 1));
            ("port_ranges4", firsts.map(range).collect())
        }
    };
    let script = format!("add element inet wharf {map} {{ {} }}\n", elements.join(", "));
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped());
    let mut nft = site.scene.host.spawn(command)?;
    nft.feed(script.as_bytes())?;
    let output = nft.output(LIMIT)?;
    ensure!(output.is_success(), "nft does not fill {map}: {}", output.stderr.trim());
    Ok(())
}

/// The maps are pinned, so that they can be written without the daemon.
fn fill_ebpf(site: &Site, case: Case, by_daemon: u16) -> Result<()> {
    let maps = pinned(&site.scene.wharf.run_dir().join("bpf"))?;
    let targets = targets(&maps.join("targets"))?;
    let model = targets.iter().find(|it| it.is_ipv4()).context("no IPv4 target is published")?;
    let mut batch = Batch { maps, text: String::new() };
    match case.shape {
        // The range goes on where the daemon's part of it ends, to the same target.
        Shape::Ranges(_) => {
            for (first, bits) in prefixes(missing(case, by_daemon)) {
                batch.update("published", &key(first, bits), &model.slot.to_ne_bytes());
            }
        }
        Shape::Scattered => {
            let free = targets.iter().map(|it| it.slot + 1).max().unwrap_or_default();
            for (slot, port) in (free..).zip(missing(case, by_daemon)) {
                batch.update("targets", &slot.to_ne_bytes(), &model.to_short(port)?);
                batch.update("published", &key(port, PORT_BITS), &slot.to_ne_bytes());
            }
        }
    }
    batch.run(&site.scene.wharf.directory().join("batch"))
}

fn pinned(place: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(place).with_context(|| format!("list {}", place.display()))?;
    let named = |path: &PathBuf| path.join("targets").exists() && path.join("published").exists();
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(named).context("the eBPF plane has pinned no maps")
}

fn targets(map: &Path) -> Result<Vec<Target>> {
    let said = read(Command::new("bpftool").args(["--json", "map", "dump", "pinned"]).arg(map))?;
    let entries: Vec<Value> =
        serde_json::from_str(&said).context("read what bpftool has written")?;
    entries
        .iter()
        .map(|entry| Target::read(entry).context("understand what bpftool says"))
        .collect()
}

/// The key of all TCP ports that share the first `bits` bits of `port`, at every IPv4 address.
fn key(port: u16, bits: u32) -> Vec<u8> {
    const SCOPE_ADDRESS: u8 = 0;
    const TCP: u8 = 6;
    let any = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets();
    let length = (BEFORE_PORT + bits).to_ne_bytes();
    [&length[..], &any, &[SCOPE_ADDRESS, TCP], &port.to_be_bytes()].concat()
}

/// The fewest prefixes that hold ports which follow each other, each with the number of its bits.
fn prefixes(ports: impl Iterator<Item = u16>) -> Vec<(u16, u32)> {
    let mut left: Vec<u16> = ports.collect();
    let mut found = Vec::new();
    while let Some(first) = left.first().copied() {
        let fits = |free: &u32| left.len() >= 1 << free;
        let free = (0..=first.trailing_zeros().min(PORT_BITS)).take_while(fits).last();
        let free = free.unwrap_or_default();
        found.push((first, PORT_BITS - free));
        left.drain(..1 << free);
    }
    found
}

// === impl Target ===

impl Target {
    fn read(entry: &Value) -> Option<Self> {
        let slot = bytes(entry.get("key")?)?.try_into().ok()?;
        Some(Self { slot: u32::from_ne_bytes(slot), bytes: bytes(entry.get("value")?)? })
    }

    fn is_ipv4(&self) -> bool {
        self.bytes.get(10..12) == Some(&[0xff, 0xff])
    }

    /// The same target for one port, which leads to [`Service::Short`].
    fn to_short(&self, port: u16) -> Result<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        let ports = bytes.get_mut(24..28).context("a target that is shorter than its ports")?;
        let both = [port.to_ne_bytes(), Service::Short.port().to_ne_bytes()].concat();
        ports.copy_from_slice(&both);
        Ok(bytes)
    }
}

/// `["0x01", "0x02"]` as bytes.
fn bytes(list: &Value) -> Option<Vec<u8>> {
    let byte = |it: &Value| u8::from_str_radix(it.as_str()?.strip_prefix("0x")?, 16).ok();
    list.as_array()?.iter().map(byte).collect()
}

/// What bpftool is to do.
#[derive(Debug)]
struct Batch {
    maps: PathBuf,
    text: String,
}

// === impl Batch ===

impl Batch {
    fn update(&mut self, map: &str, key: &[u8], value: &[u8]) {
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string does not fail.
                let _written = write!(text, " {byte:02x}");
                text
            })
        };
        let map = self.maps.join(map);
        self.text += &format!(
            "map update pinned {} key hex{} value hex{}\n",
            map.display(),
            hex(key),
            hex(value)
        );
    }

    fn run(&self, file: &Path) -> Result<()> {
        fs::write(file, &self.text).with_context(|| format!("write {}", file.display()))?;
        read(Command::new("bpftool").args(["batch", "file"]).arg(file))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_every_port_once() {
        assert_eq!(prefixes(8..=15), [(8, 13)]);
        assert_eq!(prefixes(5..=12), [(5, 16), (6, 15), (8, 14), (12, 16)]);
        let covered: u32 =
            prefixes(23_000..=64_999).iter().map(|(_, bits)| 1 << (PORT_BITS - bits)).sum();
        assert_eq!(covered, 42_000);
        assert_eq!(prefixes(0..0), []);
    }

    #[test]
    fn a_key_is_an_address_a_protocol_and_a_port() {
        let key = key(8080, 16);
        assert_eq!((key.len(), key[..4].to_vec()), (24, 160u32.to_ne_bytes().to_vec()));
        assert_eq!(key[14..], [0xff, 0xff, 0, 0, 0, 0, 0, 6, 0x1f, 0x90]);
    }

    #[test]
    fn a_target_is_read_and_led_elsewhere() {
        let value: Vec<String> = (0..32).map(|it| format!("{it:#04x}")).collect();
        let entry = serde_json::json!({ "key": ["0x02", "0x00", "0x00", "0x00"], "value": value });
        let target = Target::read(&entry).unwrap();
        assert!(!target.is_ipv4());
        let led = target.to_short(5000).unwrap();
        assert_eq!(led[24..28], [5000u16.to_ne_bytes(), 9001u16.to_ne_bytes()].concat());
        assert_eq!((target.slot.to_le(), led[..24] == target.bytes[..24]), (2, true));
    }
}
