//! The last hops: the target, who waits there, and the way back.

use std::net::{IpAddr, SocketAddr};

use wharf_spec::{SourceMode, Target};

use super::facts::{Inside, Listening, Reach, Socket, TargetState};
use super::{Hop, Journey, Place};
use crate::path::{Path, Plane, SourceSeen};

/// More ports than this are no help.
const TOLD: usize = 8;

pub(super) fn hops(journey: Journey<'_>) -> Vec<Hop> {
    vec![target(journey), listening(journey), way_back(journey), source(journey)]
}

/// A container that is not running has no publication in force.
pub(super) fn stopped(name: &str, state: &str) -> Hop {
    let text = format!("container {name} is not running ({state}), so nothing is published for it");
    Hop::fails(Place::Target, text, vec![format!("wharf start {name}")])
}

/// Nothing is served for a target that is away.
pub(super) fn away(journey: Journey<'_>, why: &str) -> Hop {
    let name = journey.served.name;
    let remedy = match &journey.served.publication.target {
        Target::Foreign { engine, .. } => {
            let bare = name.split_once(':').map_or(name, |(_, bare)| bare);
            format!("{engine} start {bare}; it is served again at once")
        }
        _ => "it is served again when it is back".to_owned(),
    };
    let text = format!("{} is away, so nothing is served for it: {why}", journey.target_name());
    Hop::fails(Place::Target, text, vec![remedy])
}

fn target(journey: Journey<'_>) -> Hop {
    let place = Place::Target;
    match &journey.served.target {
        TargetState::There(text) => Hop::ok(place, text.clone()),
        TargetState::Away { why, remedy } => Hop::fails(place, why.clone(), remedy.clone()),
        TargetState::Unknown(text) => Hop::unknown(place, text.clone()),
    }
}

fn listening(journey: Journey<'_>) -> Hop {
    let place = Place::Listening;
    let Some(to) = journey.destination() else {
        return Hop::unknown(place, "the target has no address now");
    };
    match &journey.served.listening {
        Listening::Unknown(why) => Hop::unknown(place, why.clone()),
        Listening::Asked(Reach::Accepted) => Hop::ok(place, format!("{to} accepts connections")),
        Listening::Asked(Reach::Refused(error)) => {
            let remedy = vec![format!("have something listen at {to}, and let this host connect")];
            Hop::fails(place, format!("{to} does not accept a connection: {error}"), remedy)
        }
        Listening::Inside(inside) => waits(journey, to, inside),
    }
}

fn waits(journey: Journey<'_>, to: SocketAddr, inside: &Inside) -> Hop {
    let place = Place::Listening;
    let name = journey.target_name();
    if let Some(socket) = inside.sockets.iter().find(|socket| suits(journey, to, socket)) {
        let at = SocketAddr::new(socket.address, socket.port);
        return Hop::ok(place, format!("{} listens at {at} in {name}", socket.holder()));
    }
    let port = format!("{}/{}", to.port(), journey.facts.question.proto);
    let Some(other) = inside.sockets.first() else {
        let text = format!("nothing listens on {port} in {name}{}", others(&inside.others));
        let remedy = format!("start the server in {name}, or publish the port it listens on");
        return Hop::fails(place, text, vec![remedy]);
    };
    let at = SocketAddr::new(other.address, other.port);
    let holder = other.holder();
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let remedy = vec![format!("have {holder} listen on {any}, not on {} only", other.address)];
    Hop::fails(
        place,
        match other.address.is_loopback() {
            true => format!(
                "{holder} listens on loopback only ({at}), where nothing from outside {name} comes"
            ),
            false => format!("{holder} listens at {at} only, not at {to}"),
        },
        remedy,
    )
}

/// From inside a namespace its loopback addresses of both families are tried.
fn suits(journey: Journey<'_>, to: SocketAddr, socket: &Socket) -> bool {
    let loopback: [IpAddr; 2] = [[127, 0, 0, 1].into(), super::own_v6()];
    socket.takes(to.ip())
        || (journey.is_inside() && loopback.iter().any(|address| socket.takes(*address)))
}

fn others(ports: &[u16]) -> String {
    if ports.is_empty() {
        return String::new();
    }
    let told: Vec<String> = ports.iter().take(TOLD).map(ToString::to_string).collect();
    let more = if ports.len() > TOLD { ", …" } else { "" };
    format!("; something listens on {}{more}", told.join(", "))
}

fn way_back(journey: Journey<'_>) -> Hop {
    let place = Place::WayBack;
    let served = journey.served;
    let keeps = served.source() == Some(SourceSeen::Client);
    if journey.plane() == Plane::Relay && !keeps {
        return Hop::ok(place, "the relay answers over the client's own connection");
    }
    if served.path() == Some(Path::SameBridge) {
        return Hop::ok(place, "the kernel asks as the gateway, so the answer comes through it");
    }
    if served.answers.reachable == Some(false) {
        let client = journey.facts.question.origin;
        let name = journey.target_name();
        let text = format!("{name} has no route to {client}, so its answers go nowhere");
        let remedy = vec!["give it a default route by the address of its bridge".to_owned()];
        return Hop::fails(place, text, remedy);
    }
    if journey.plane() == Plane::Relay {
        return to_the_relay(journey);
    }
    let by = served.answers.next_hop.map(|hop| format!(" by {hop}")).unwrap_or_default();
    Hop::ok(
        place,
        match journey.plane() {
            Plane::Routed => format!("the target answers{by} as itself"),
            _ => format!("the target answers{by}; the kernel turns the addresses round"),
        },
    )
}

fn to_the_relay(journey: Journey<'_>) -> Hop {
    let place = Place::WayBack;
    if journey.is_inside() {
        return Hop::ok(place, "the relay asks from inside the namespace, and is answered there");
    }
    match journey.served.answers.way_back {
        None => Hop::unknown(place, "whether answers to the client's address reach the relay"),
        Some(true) => {
            Hop::ok(place, "answers to the client's address are led to the relay (table 4183)")
        }
        Some(false) => {
            let remedy = vec!["the daemon puts the policy rules back; see `wharf events`".into()];
            let lost = "the policy rules that lead answers to the relay are gone";
            match journey.served.publication.options.source {
                SourceMode::Client => Hop::fails(place, lost, remedy),
                _ => Hop {
                    remedy,
                    ..Hop::unknown(
                        place,
                        format!("{lost}: connections begin late, and as the gateway"),
                    )
                },
            }
        }
    }
}

fn source(journey: Journey<'_>) -> Hop {
    let client = journey.facts.arrival.client;
    let name = journey.target_name();
    let gateway = journey.served.bridge.as_ref().and_then(|bridge| bridge.gateway);
    let with = |address: Option<IpAddr>| address.map(|it| format!(", {it}")).unwrap_or_default();
    let text = match journey.served.source() {
        Some(SourceSeen::Client) => format!("{name} sees the client's address{}", with(client)),
        Some(SourceSeen::Host) => format!("{name} sees this host's address{}", with(client)),
        _ if journey.is_inside() => format!("{name} sees a loopback address of its own"),
        _ => format!("{name} sees the gateway's address{}", with(gateway)),
    };
    Hop::ok(Place::Source, text)
}
