//! The kernel's settings that decide what becomes of packets.

use wharf_api::Check;
use wharf_host::link::Link;
use wharf_host::sysctl;
use wharf_plan::firewall::{Family, Forwarded, forward_obstacle};

use super::{Patient, note, ok, problem};

/// Fewer free descriptors than this and publishing a range may be refused.
const ROOM: u64 = 10_000;
/// As many are kept for connections, log readers and files.
const HEADROOM: u64 = 1_024;

/// More of the same is no help.
const TOLD: usize = 20;

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = vec![forwarding(patient, true), ipv6(patient)];
    if patient.daemon.host_ipv6 {
        checks.push(forwarding(patient, false));
    }
    checks.extend([
        reverse_path(patient),
        bridge_netfilter(patient),
        loopback_routes(patient),
        descriptors(patient),
        congestion(),
        ephemeral(patient),
    ]);
    checks
}

fn forwarding(patient: &Patient<'_>, v4: bool) -> Check {
    let (place, name, on) = match v4 {
        true => ("forwarding-v4", "net/ipv4/ip_forward", is_on("net/ipv4/ip_forward")),
        false => {
            let name = "net/ipv6/conf/all/forwarding";
            ("forwarding-v6", name, is_on(name))
        }
    };
    let family = if v4 { "IPv4" } else { "IPv6" };
    let remedy = format!("sysctl -w {}=1", name.replace('/', "."));
    if !on && patient.bridges.is_empty() {
        return ok(place, format!("{family} is not forwarded; the first network switches it on"));
    }
    if !on {
        return problem(
            place,
            format!("{family} is not forwarded"),
            "the relay serves every published port; containers cannot reach other hosts, and \
             routed networks are cut off",
            &[&remedy],
        );
    }
    let off: Vec<&str> = if v4 { closed(patient) } else { Vec::new() };
    if off.is_empty() {
        return ok(place, format!("{family} is forwarded"));
    }
    let settings: Vec<String> =
        off.iter().map(|name| format!("sysctl -w net/ipv4/conf/{name}/forwarding=1")).collect();
    let remedy: Vec<&str> = settings.iter().map(String::as_str).collect();
    problem(
        place,
        format!("{family} is not forwarded from {}", off.join(", ")),
        "clients that come by there do not reach what the kernel serves",
        &remedy,
    )
}

/// Interfaces whose packets the kernel does not pass on, though it does those of others.
fn closed<'a>(patient: &'a Patient<'_>) -> Vec<&'a str> {
    let names = patient.links.iter().filter(|link| link.up && link.name != "lo");
    let names = names.map(|link| link.name.as_str());
    names.filter(|name| !is_on(&format!("net/ipv4/conf/{name}/forwarding"))).collect()
}

fn ipv6(patient: &Patient<'_>) -> Check {
    if patient.daemon.host_ipv6 {
        return ok("ipv6", "this host has IPv6");
    }
    note(
        "ipv6",
        "this host has no IPv6",
        "ports are published over IPv4 only",
        &["sysctl -w net.ipv6.conf.all.disable_ipv6=0, if it was switched off; then restart wharf"],
    )
}

/// Harmless where there is one way in and out.
fn reverse_path(patient: &Patient<'_>) -> Check {
    let place = "rp_filter";
    let all = number("net/ipv4/conf/all/rp_filter");
    let outer: Vec<&Link> = patient.links.iter().filter(|link| is_outer(link)).collect();
    let strict =
        |link: &&&Link| all.max(number(&format!("net/ipv4/conf/{}/rp_filter", link.name))) == 1;
    let strict: Vec<&str> = outer.iter().filter(strict).map(|link| link.name.as_str()).collect();
    if strict.is_empty() {
        return ok(place, "no strict reverse path filter");
    }
    let text = format!("strict on {}", strict.join(", "));
    if outer.len() < 2 {
        return ok(place, format!("{text}, the only way to other hosts"));
    }
    let loosen: Vec<String> =
        strict.iter().map(|name| format!("sysctl -w net/ipv4/conf/{name}/rp_filter=2")).collect();
    let remedy: Vec<&str> = loosen.iter().map(String::as_str).collect();
    note(
        place,
        text,
        "a client whose packets come by another interface than answers to it leave by gets no answer",
        &remedy,
    )
}

/// Interfaces to other hosts, as far as their kind tells.
fn is_outer(link: &Link) -> bool {
    let inner = ["bridge", "dummy", "ifb"];
    link.up
        && link.name != "lo"
        && link.master.is_none()
        && !link.kind.as_deref().is_some_and(|kind| inner.contains(&kind))
}

fn bridge_netfilter(patient: &Patient<'_>) -> Check {
    let place = "br_netfilter";
    if !is_on("net/bridge/bridge-nf-call-iptables") {
        return ok(place, "what stays on one bridge is not filtered as if it were forwarded");
    }
    let firewall = &patient.facts.firewall;
    let drops = patient.bridges.iter().find_map(|bridge| {
        let asked =
            Forwarded { arrives_by: Some(bridge), ..Forwarded::to_bridge(Family::V4, bridge) };
        forward_obstacle(firewall, asked)
    });
    let text = "bridged packets pass the rules for forwarded ones (bridge-nf-call-iptables = 1)";
    match drops {
        None => ok(place, format!("{text}, which let them pass")),
        Some(obstacle) => note(
            place,
            format!("{text}, and {obstacle}"),
            "containers of one network may not reach each other; published ports are served by the relay",
            &["sysctl -w net.bridge.bridge-nf-call-iptables=0, unless Kubernetes needs it"],
        ),
    }
}

fn loopback_routes(patient: &Patient<'_>) -> Check {
    let place = "route_localnet";
    let open = patient.links.iter().filter(|link| link.name != "lo");
    let open = open.map(|link| link.name.as_str());
    let open: Vec<&str> =
        open.filter(|name| is_on(&format!("net/ipv4/conf/{name}/route_localnet"))).collect();
    let everywhere = is_on("net/ipv4/conf/all/route_localnet");
    if open.is_empty() && !everywhere {
        return ok(place, "nobody outside can send to 127.0.0.0/8");
    }
    let text = match everywhere {
        true => "neighbours can send to 127.0.0.0/8 by every interface".to_owned(),
        false => format!("neighbours can send to 127.0.0.0/8 by {}", open.join(", ")),
    };
    let effect = "what other programs serve on loopback addresses is open to neighbours";
    if patient.facts.nft_nat {
        let effect = format!("{effect}; ports that Wharf publishes there are guarded");
        return note(place, text, &effect, &[]);
    }
    problem(place, text, effect, &["sysctl -w net.ipv4.conf.all.route_localnet=0"])
}

fn descriptors(patient: &Patient<'_>) -> Check {
    let held = u64::try_from(patient.daemon.planes.sockets()).unwrap_or(u64::MAX);
    let limit = patient.daemon.descriptor_limit;
    let room = limit.saturating_sub(HEADROOM).saturating_sub(held);
    let text = format!("a process may have {limit} descriptors: room for {room} more ports");
    if room >= ROOM {
        return ok("descriptors", text);
    }
    let effect =
        "publishing more than that is refused, and connections through the relay get fewer";
    let remedy = ["LimitNOFILE=1048576 in wharf.service, or `ulimit -Hn` before the daemon starts"];
    match room {
        0..HEADROOM => problem("descriptors", text, effect, &remedy),
        _ => note("descriptors", text, effect, &remedy),
    }
}

fn congestion() -> Check {
    let place = "congestion";
    let name = sysctl::get("net/ipv4/tcp_congestion_control").unwrap_or_default();
    let paces = name.starts_with("bbr");
    ok(
        place,
        match paces {
            true => {
                format!("{name} paces streams; the relay does so only where the way is long")
            }
            false => format!("{name}: streams are not paced"),
        },
    )
}

/// A single port out of the range is what "any free port" gives.
fn ephemeral(patient: &Patient<'_>) -> Check {
    let place = "ephemeral-ports";
    let range = sysctl::get("net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u16>().ok());
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
        return ok(place, "the range cannot be told");
    };
    let within = patient.records.iter().map(|record| record.publication.host.ports);
    let within =
        within.filter(|ports| !ports.is_single() && ports.first() <= last && ports.last() >= first);
    let within: Vec<String> = within.take(TOLD).map(|ports| ports.to_string()).collect();
    if within.is_empty() {
        return ok(place, format!("{first}-{last}: no published range is in it"));
    }
    let reserve = format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", within.join(","));
    note(
        place,
        format!("{first}-{last} has published ranges in it: {}", within.join(", ")),
        "while they are not published, connections of this host may take ports of theirs, and \
         publishing them again fails",
        &[&reserve],
    )
}

fn is_on(name: &str) -> bool {
    number(name) != 0
}

/// A setting that is not there is as good as off.
fn number(name: &str) -> u32 {
    sysctl::get(name).ok().and_then(|value| value.parse().ok()).unwrap_or(0)
}
