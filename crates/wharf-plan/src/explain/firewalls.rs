//! The hop at which somebody else's rules could end a packet.

use wharf_spec::PortRange;

use super::{Hop, Journey, Place};
use crate::firewall::{
    Family, Forwarded, Hook, Incoming, Obstacle, Packet, forward_obstacle, input_obstacle, judge,
};
use crate::path::Plane;

pub(super) fn hop(journey: Journey<'_>) -> Hop {
    let (found, passes) = match (journey.plane(), journey.is_own()) {
        (Plane::Nft, false) => (rewritten(journey), "forwarded packets pass"),
        (Plane::Nft, true) | (Plane::Ebpf, _) => (own(journey, true), "packets of this host pass"),
        (Plane::Routed, _) => (routed(journey), "forwarded packets pass"),
        (Plane::Relay, true) => {
            let leaving = own(journey, false);
            (leaving.or_else(|| incoming(journey)), "packets of this host pass")
        }
        (Plane::Relay, false) => (incoming(journey), "packets to this host pass"),
    };
    match found {
        None => Hop::ok(Place::Firewall, format!("the rules of others: {passes}")),
        Some(Found { obstacle, remedy }) => {
            Hop::fails(Place::Firewall, obstacle.to_string(), remedy)
        }
    }
}

struct Found {
    obstacle: Obstacle,
    remedy: Vec<String>,
}

/// What is forwarded to a bridge with another destination than it was sent to. Once the daemon has
/// noticed, the relay serves in its place.
fn rewritten(journey: Journey<'_>) -> Option<Found> {
    let facts = journey.facts;
    let bridge = journey.served.bridge.as_ref()?;
    let destination = journey.destination()?;
    let asked = Forwarded {
        arrives_by: facts.arrival.interface.as_ref().map(|it| it.name.as_str()),
        client: facts.arrival.client,
        proto: Some(facts.question.proto),
        host: Some(facts.question.address),
        host_ports: Some(PortRange::single(facts.question.port)),
        target: Some(destination.ip()),
        target_ports: Some(PortRange::single(destination.port())),
        ..Forwarded::to_bridge(family(journey), &bridge.name)
    };
    let obstacle = forward_obstacle(facts.firewall, asked)?;
    Some(Found { remedy: asked.remedy(&obstacle), obstacle })
}

/// What is forwarded as it was sent.
fn routed(journey: Journey<'_>) -> Option<Found> {
    let bridge = journey.served.bridge.as_ref()?;
    let packet = Packet { out_interface: Some(bridge.name.clone()), ..packet(journey) };
    let hooks = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];
    let obstacle = first(journey, &packet, &hooks)?;
    let to_bridge = Forwarded {
        proto: Some(journey.facts.question.proto),
        target_ports: Some(PortRange::single(journey.facts.question.port)),
        ..Forwarded::to_bridge(family(journey), &bridge.name)
    };
    Some(Found { remedy: to_bridge.remedy(&obstacle), obstacle })
}

/// What this host sends to itself, or, rewritten, to a bridge.
fn own(journey: Journey<'_>, is_rewritten: bool) -> Option<Found> {
    let bridge = journey.served.bridge.as_ref().map(|bridge| bridge.name.clone());
    let out = if is_rewritten { bridge } else { Some("lo".to_owned()) };
    let mut packet = Packet { in_interface: None, out_interface: out, ..packet(journey) };
    if let Some(destination) = journey.destination().filter(|_| is_rewritten) {
        packet.destination = Some(destination.ip());
        packet.destination_ports = Some(PortRange::single(destination.port()));
        packet.destination_rewritten = true;
    }
    let obstacle = first(journey, &packet, &[Hook::Output, Hook::Postrouting])?;
    let remedy = vec![format!("let packets of this host pass {}", obstacle.place())];
    Some(Found { obstacle, remedy })
}

/// What is for a socket of this host.
fn incoming(journey: Journey<'_>) -> Option<Found> {
    let facts = journey.facts;
    let asked = Incoming {
        family: family(journey),
        proto: facts.question.proto,
        ports: PortRange::single(facts.question.port),
        address: Some(facts.question.address),
        arrives_by: facts.arrival.interface.as_ref().map(|it| it.name.as_str()),
        client: facts.arrival.client,
    };
    let obstacle = input_obstacle(facts.firewall, asked)?;
    Some(Found { remedy: vec![asked.remedy(&obstacle)], obstacle })
}

fn packet(journey: Journey<'_>) -> Packet {
    let facts = journey.facts;
    let (address, port) = (facts.question.address, PortRange::single(facts.question.port));
    Packet {
        proto: Some(facts.question.proto),
        in_interface: facts.arrival.interface.as_ref().map(|it| it.name.clone()),
        source: facts.arrival.client,
        destination: Some(address),
        destination_ports: Some(port),
        asked_address: Some(address),
        asked_ports: Some(port),
        ..Packet::new(family(journey))
    }
}

fn first(journey: Journey<'_>, packet: &Packet, hooks: &[Hook]) -> Option<Obstacle> {
    hooks.iter().find_map(|hook| judge(journey.facts.firewall, *hook, packet).obstacle())
}

fn family(journey: Journey<'_>) -> Family {
    if journey.is_v4() { Family::V4 } else { Family::V6 }
}
