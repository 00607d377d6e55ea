//! The first hops: where a packet comes in, what it asks for, and whether its sender may.

use ipnet::IpNet;
use wharf_spec::Publication;

use super::facts::{Facts, Interface, Matter, Served, Socket};
use super::{Hop, Journey, Origin, Place, Question};
use crate::path::Plane;

/// More of a list than this is no help.
const TOLD: usize = 5;

pub(super) fn arrival(facts: &Facts<'_>) -> Hop {
    let place = Place::Arrival;
    let arrival = &facts.arrival;
    let from = facts.question.origin;
    if arrival.reachable == Some(false) {
        let text = format!("there is no route to {from}, so nothing that answers it gets there");
        let remedy = format!("ip route add {from} via GATEWAY");
        return Hop::fails(place, text, vec![remedy]);
    }
    let Some(interface) = &arrival.interface else {
        return Hop::unknown(place, format!("{from}: by whichever interface leads there"));
    };
    if let Some(fault) = down(interface) {
        let remedy = format!("ip link set {} up", interface.name);
        return Hop::fails(place, fault, vec![remedy]);
    }
    let name = &interface.name;
    Hop::ok(
        place,
        match (from, arrival.gateway) {
            (Origin::Host, _) => format!("a process of this host, by {name}"),
            (_, Some(gateway)) => format!("{from} comes by {name}, from {gateway}"),
            (_, None) => format!("{from} comes by {name}"),
        },
    )
}

/// What is wrong with an interface, if anything is.
pub(super) fn down(interface: &Interface) -> Option<String> {
    let name = &interface.name;
    match interface {
        Interface { up: false, .. } => Some(format!("{name} is down")),
        Interface { running: false, .. } => Some(format!("{name} has no carrier")),
        _ => None,
    }
}

pub(super) fn address(facts: &Facts<'_>) -> Hop {
    let address = facts.question.address;
    if let Matter::Served(served) = &facts.matter
        && served.plane() == Some(Plane::Routed)
    {
        return Hop::ok(Place::Address, format!("{address} is the target's own"));
    }
    match &facts.owner {
        Some(interface) => Hop::ok(Place::Address, format!("{interface} has {address}")),
        None => Hop::fails(
            Place::Address,
            format!("no interface of this host has {address}"),
            vec!["ask for an address that `ip address` lists, or give the host this one".into()],
        ),
    }
}

pub(super) fn publication(facts: &Facts<'_>) -> Hop {
    let place = Place::Publication;
    let asked = facts.question;
    match &facts.matter {
        Matter::Served(served) if served.plan.is_none() => Hop::fails(
            place,
            format!("{} is published, but not to {}", text(served), asked.origin),
            vec![format!("publish it on an address that {} can reach", asked.origin)],
        ),
        Matter::Served(served) => Hop::ok(place, text(served)),
        Matter::Stopped { name, .. } => {
            Hop::ok(place, format!("container {name} publishes {}, while it runs", port(asked)))
        }
        Matter::Elsewhere(there) => Hop::fails(
            place,
            format!("nothing is published at {asked}, but {}", list(there)),
            vec!["ask for one of these, or publish the address, too".into()],
        ),
        Matter::Nothing => Hop::fails(
            place,
            format!("nothing is published at {asked}; {}", who_listens(asked, &facts.sockets)),
            vec![format!("wharf publish TARGET {}:PORT/{}", asked.port, asked.proto)],
        ),
    }
}

fn port(asked: Question) -> String {
    format!("{}/{}", asked.port, asked.proto)
}

fn text(served: &Served<'_>) -> String {
    let Publication { host, target_ports, proto, .. } = served.publication;
    let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
    let ports = host.ports;
    let where_to = format!("{} {target_ports}/{proto}", served.name);
    if addresses.is_empty() {
        return format!("{where_to}, on the target's own address");
    }
    format!("port {ports} of {} leads to {where_to}", addresses.join(" and "))
}

fn who_listens(asked: Question, sockets: &[Socket]) -> String {
    match sockets.iter().find(|socket| socket.takes(asked.address)) {
        Some(socket) => format!("{} listens there itself", socket.holder()),
        None => "nobody listens there, a client is refused".to_owned(),
    }
}

fn list(lines: &[String]) -> String {
    let mut told: Vec<String> = lines.iter().take(TOLD).cloned().collect();
    let more = lines.len().saturating_sub(TOLD);
    told.extend((more > 0).then(|| format!("{more} more")));
    told.join(", ")
}

/// Whoever is turned away by the kernel is counted for all publications together.
pub(super) fn allow_list(journey: Journey<'_>) -> Hop {
    let place = Place::AllowList;
    let Journey { facts, served } = journey;
    let allow = &served.publication.options.allow;
    if allow.is_empty() {
        return Hop::ok(place, "everyone may connect");
    }
    let networks: Vec<String> = allow.iter().map(ToString::to_string).collect();
    let only = format!("only {} may connect", list(&networks));
    let Some(client) = facts.arrival.client else {
        return Hop::unknown(place, format!("{only}; --from ADDRESS asks about one client"));
    };
    if let Some(network) = allow.iter().find(|network| network.contains(&client)) {
        return Hop::ok(place, format!("{client} is in {network}"));
    }
    let turned_away = match journey.plane() {
        Plane::Relay if served.relay.refused > 0 => {
            format!("; the relay has turned {} clients away here", served.relay.refused)
        }
        _ if served.kernel.refused > 0 => format!(
            "; the kernel has dropped {} packets by this and other lists",
            served.kernel.refused
        ),
        _ => String::new(),
    };
    let text = format!("{client} is not on the list: {only}{turned_away}");
    Hop::fails(place, text, vec![admit(served, &networks, &IpNet::from(client))])
}

fn admit(served: &Served<'_>, networks: &[String], client: &IpNet) -> String {
    let Publication { host, target_ports, proto, .. } = served.publication;
    let allow = networks.join(",");
    let client = client.addr();
    let target = served.name;
    format!("wharf publish {target} {}:{target_ports}/{proto} --allow {allow},{client}", host.ports)
}
