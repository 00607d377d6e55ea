//! What our table holds for publications, read by `nft` and worked out from the model.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use ipnet::IpNet;
use serde_json::Value;
use wharf_lab::Process;

use super::model::{Model, Publication};
use super::site::LIMIT;

/// The elements of every set and map, a line each, and how many rules each chain has.
pub(super) fn read(listing: Process) -> Result<BTreeSet<String>, String> {
    let output = listing.output(LIMIT).map_err(|error| format!("{error:#}"))?;
    if !output.is_success() {
        return Err(format!("nft: {}", output.stderr.trim()));
    }
    let all: Value = serde_json::from_str(&output.stdout).map_err(|error| error.to_string())?;
    let mut lines = BTreeSet::new();
    for object in all["nftables"].as_array().into_iter().flatten() {
        if let Some(set) = object.get("set").or_else(|| object.get("map")) {
            let elements = set["elem"].as_array().into_iter().flatten();
            lines.extend(elements.map(|element| line(set["name"].as_str().unwrap(), element)));
        }
        if let Some(chain) = object.get("chain") {
            lines.insert(format!("chain {}", chain["name"]));
        }
        if let Some(rule) = object.get("rule") {
            // Counters change by themselves, everything else is somebody's doing.
            lines.insert(format!("rule {} {}", rule["chain"], uncounted(&rule["expr"])));
        }
    }
    Ok(lines)
}

/// The program, wherever this system has it.
pub(super) fn nft<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let places = ["/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft"];
    let place = places.iter().find(|place| Path::new(place).exists());
    let mut command = Command::new(place.unwrap_or(&"nft"));
    command.args(args);
    command
}

/// What the model's publications add to what is there without any.
pub(super) fn wanted(model: &Model) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for publication in model.in_force() {
        for v4 in [true, false] {
            if publication.kernel_serves(model.network_of(publication), v4) {
                let owner = &model.containers[&publication.owner];
                let target = owner.addresses.iter().find(|it| it.is_ipv4() == v4).unwrap();
                lines.extend(rewrites(publication, v4, *target));
            }
        }
        lines.extend(guards(publication));
        lines.extend(publication.addresses.iter().flat_map(|at| restrictions(publication, *at)));
    }
    lines
}

fn rewrites(publication: &Publication, v4: bool, target: IpAddr) -> Vec<String> {
    let (ports, targets) = (publication.ports.unwrap(), publication.target_ports);
    let family = if v4 { "4" } else { "6" };
    let keeps = ports == targets && !ports.is_single();
    let mut lines = Vec::new();
    for host in publication.external(v4) {
        let (of, address) = match host.is_unspecified() {
            true => ("", String::new()),
            false => ("address_", format!("{host} . ")),
        };
        let key = format!("{address}{}", publication.proto);
        if keeps {
            lines.push(format!("{of}port_ranges{family} {key} . {ports} : {target}"));
            continue;
        }
        let pairs = ports.iter().zip(targets.iter());
        lines.extend(pairs.map(|(port, behind)| {
            format!("{of}ports{family} {key} . {port} : {target} . {behind}")
        }));
    }
    lines
}

fn guards(publication: &Publication) -> impl Iterator<Item = String> {
    let ports = publication.ports.unwrap();
    let set = if ports.is_single() { "loopback" } else { "loopback_ranges" };
    let guarded = publication.addresses.iter().filter(|it| it.is_ipv4() && it.is_loopback());
    guarded.map(move |at| format!("{set} {ports} . {} . {at}", publication.proto))
}

fn restrictions(publication: &Publication, at: IpAddr) -> Vec<String> {
    let allow = &publication.options.allow;
    if allow.is_empty() {
        return Vec::new();
    }
    let family = if at.is_ipv4() { "4" } else { "6" };
    let everywhere: IpNet = if at.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.parse().unwrap();
    let place = if at.is_unspecified() { between(everywhere) } else { at.to_string() };
    let key = format!("{} . {} . {place}", publication.ports.unwrap(), publication.proto);
    let ours = allow.iter().filter(|net| net.addr().is_ipv4() == at.is_ipv4()).copied();
    let from = IpNet::aggregate(&ours.collect());
    let allowed = from.iter().map(|net| format!("allowed{family} {key} . {}", between(*net)));
    allowed.chain([format!("restricted{family} {key}")]).collect()
}

fn between(net: IpNet) -> String {
    match (net.network(), net.broadcast()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

fn line(set: &str, element: &Value) -> String {
    match element.as_array().map(Vec::as_slice) {
        Some([key, data]) => format!("{set} {} : {}", parts(key), parts(data)),
        _ => format!("{set} {}", parts(element)),
    }
}

fn parts(value: &Value) -> String {
    if let Some(fields) = value["concat"].as_array() {
        return fields.iter().map(parts).collect::<Vec<_>>().join(" . ");
    }
    if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
        return format!("{}-{}", parts(first), parts(last));
    }
    if let Some(prefix) = value.get("prefix") {
        let net = format!("{}/{}", parts(&prefix["addr"]), prefix["len"]);
        return net.parse().map_or(net, between);
    }
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn uncounted(expressions: &Value) -> String {
    let all = expressions.as_array().into_iter().flatten();
    let plain = all.filter(|it| it.get("counter").is_none()).map(ToString::to_string);
    plain.collect::<Vec<_>>().join(" ")
}
