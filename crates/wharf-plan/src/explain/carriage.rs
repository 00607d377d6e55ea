//! The hops in the middle: what takes a packet, and what it passes on its way to the target.

use std::net::SocketAddr;

use super::entrance::down;
use super::facts::{Bridge, RelayState, Socket, Veth};
use super::{Hop, Journey, Place};
use crate::path::{Plane, SourceSeen};

pub(super) fn hops(journey: Journey<'_>) -> Vec<Hop> {
    let mut hops = vec![plane(journey), rewriting(journey)];
    hops.extend(forwarding(journey));
    hops.extend(journey.served.bridge.as_ref().map(|it| bridge(journey, it)));
    hops.extend(journey.served.veth.as_ref().map(|it| veth(journey, it)));
    hops
}

fn plane(journey: Journey<'_>) -> Hop {
    match journey.plane() {
        Plane::Nft => kernel(journey),
        Plane::Ebpf => led(journey),
        Plane::Relay => relay(journey),
        Plane::Routed => routed(journey),
    }
}

fn kernel(journey: Journey<'_>) -> Hop {
    let kernel = &journey.served.kernel;
    let sets = kernel.sets.join(", ");
    let (text, remedy) = (kernel.missing.join("; "), repaired());
    if text.is_empty() {
        let flows = kernel.flows;
        return Hop::ok(
            Place::Plane,
            format!("nft: {sets} in table inet wharf has it ({flows} flows open)"),
        );
    }
    Hop::fails(Place::Plane, format!("nft: {text}; until it is back, the relay serves"), remedy)
}

fn led(journey: Journey<'_>) -> Hop {
    // A socket with the very address asked for is left alone.
    if let Some(other) = taker(journey).filter(|socket| !socket.ours) {
        return taken(journey, other);
    }
    let led = &journey.served.led;
    if led.missing.is_empty() {
        let (open, total) = (led.open, led.total);
        let reason = journey.served.plan.and_then(|plan| plan.reason.as_deref());
        let but = reason.map(|reason| format!("; {reason}")).unwrap_or_default();
        let text =
            format!("ebpf: connect() is led to the target ({open} open, {total} so far){but}");
        return Hop::ok(Place::Plane, text);
    }
    let text = format!("ebpf: {}; until it is back, the relay serves", led.missing.join("; "));
    Hop::fails(Place::Plane, text, repaired())
}

fn routed(journey: Journey<'_>) -> Hop {
    let kernel = &journey.served.kernel;
    if kernel.missing.is_empty() {
        let text = "routed: the port is open on the target's own address";
        return Hop::ok(Place::Plane, text);
    }
    Hop::fails(Place::Plane, format!("routed: {}", kernel.missing.join("; ")), repaired())
}

fn repaired() -> Vec<String> {
    vec!["the daemon puts it back at once; `wharf events` tells who keeps changing it".into()]
}

/// The kernel gives a packet to the socket with the very address before one that waits on all.
fn relay(journey: Journey<'_>) -> Hop {
    let place = Place::Plane;
    let served = journey.served;
    let taker = taker(journey);
    if let Some(other) = taker.filter(|socket| !socket.ours) {
        return taken(journey, other);
    }
    if let Some(why) = &served.lost {
        let remedy = vec!["it is tried again every two seconds, as long as it is published".into()];
        return Hop::fails(place, format!("the relay has no socket for it: {why}"), remedy);
    }
    let pid = served.relay.pid.map_or_else(|| "of the relay".to_owned(), |pid| pid.to_string());
    match (served.relay.state, taker) {
        (RelayState::Gone, _) => Hop::fails(
            place,
            "the relay is not running",
            vec!["the daemon starts another; its log says why that fails".into()],
        ),
        (RelayState::Stopped, _) => Hop::fails(
            place,
            format!("the relay, process {pid}, is stopped: connections wait and are not served"),
            vec![format!("kill -CONT {pid}")],
        ),
        (RelayState::Alive, None) => Hop::fails(
            place,
            format!("the relay, process {pid}, does not listen at {}", journey.facts.question),
            vec!["wharf relay upgrade".into()],
        ),
        (RelayState::Alive, Some(socket)) => Hop::ok(place, listens(journey, socket, &pid)),
    }
}

fn listens(journey: Journey<'_>, socket: &Socket, pid: &str) -> String {
    let relay = &journey.served.relay;
    let at = SocketAddr::new(socket.address, socket.port);
    let reason = journey.served.plan.and_then(|plan| plan.reason.as_deref());
    let faster = if journey.is_own() { "ebpf" } else { "nft" };
    let why = reason.map(|reason| format!("; not {faster}: {reason}")).unwrap_or_default();
    format!(
        "relay: process {pid}, socket {} at {at} ({} open, {} so far){why}",
        socket.inode, relay.open, relay.total
    )
}

/// The socket that gets what is sent to the address asked for.
fn taker<'a>(journey: Journey<'a>) -> Option<&'a Socket> {
    let asked = journey.facts.question.address;
    let takes = journey.facts.sockets.iter().filter(|socket| socket.takes(asked));
    takes.max_by_key(|socket| {
        (socket.address == asked, socket.address.is_ipv4() == asked.is_ipv4(), socket.ours)
    })
}

fn taken(journey: Journey<'_>, other: &Socket) -> Hop {
    let at = SocketAddr::new(other.address, other.port);
    let host = &journey.served.publication.host;
    let narrower = !other.address.is_unspecified()
        && host.addresses.iter().any(|address| address.is_unspecified());
    let more = if narrower { ", an address of its own, which goes before \"any\"" } else { "" };
    let holder = other.holder();
    let remedy = match &other.process {
        Some((pid, _)) => format!("stop process {pid}, or publish another port"),
        None => "stop that program, or publish another port".to_owned(),
    };
    Hop::fails(Place::Plane, format!("{holder} listens at {at}{more}, and answers"), vec![remedy])
}

fn rewriting(journey: Journey<'_>) -> Hop {
    let place = Place::Rewriting;
    let asked = journey.facts.question;
    let from = SocketAddr::new(asked.address, asked.port);
    let Some(to) = journey.destination() else {
        return Hop::unknown(place, "the target has no address now");
    };
    let seen = match journey.served.source() {
        Some(SourceSeen::Client) => "from the client's address",
        Some(SourceSeen::Host) => "from this host's address",
        _ => "from the gateway's address",
    };
    Hop::ok(
        place,
        match journey.plane() {
            Plane::Nft => format!("{from} becomes {to}"),
            Plane::Ebpf => format!(
                "{from} becomes {to} in connect() and sendmsg(), {seen}; getpeername() says {from}"
            ),
            Plane::Routed => format!("nothing: {to} is asked for and gets it"),
            Plane::Relay if journey.is_inside() => {
                format!("{from} ends here; the relay asks {to} from inside the namespace")
            }
            Plane::Relay => format!("{from} ends here; the relay asks {to}, {seen}"),
        },
    )
}

fn forwarding(journey: Journey<'_>) -> Option<Hop> {
    if journey.plane() == Plane::Relay || journey.is_own() {
        return None;
    }
    let settings = &journey.served.forwarding;
    let off: Vec<&str> = settings.iter().filter(|it| !it.on).map(|it| it.name.as_str()).collect();
    if off.is_empty() {
        let on: Vec<&str> = settings.iter().map(|it| it.name.as_str()).collect();
        return Some(Hop::ok(Place::Forwarding, format!("{} = 1", on.join(", "))));
    }
    let remedy = off.iter().map(|name| format!("sysctl -w {name}=1")).collect();
    let text = format!("{} = 0: the kernel passes nothing on", off.join(", "));
    Some(Hop::fails(Place::Forwarding, text, remedy))
}

fn bridge(journey: Journey<'_>, bridge: &Bridge) -> Hop {
    let name = &bridge.name;
    let place = Place::Bridge;
    let Some(interface) = &bridge.interface else {
        let text = format!("bridge {name} is gone");
        return Hop::fails(place, text, made_anew(journey, bridge));
    };
    if !interface.up {
        let remedy = vec![format!("ip link set {name} up")];
        return Hop::fails(place, format!("bridge {name} is down"), remedy);
    }
    match bridge.gateway {
        Some(gateway) if !bridge.has_gateway => Hop::fails(
            place,
            format!("bridge {name} has lost its address {gateway}, which the target answers to"),
            made_anew(journey, bridge),
        ),
        Some(gateway) => Hop::ok(place, format!("{name} is up and has {gateway}")),
        None => Hop::ok(place, format!("{name} is up")),
    }
}

fn made_anew(journey: Journey<'_>, bridge: &Bridge) -> Vec<String> {
    if bridge.ours {
        let name = journey.served.name;
        return vec![format!("wharf restart {name}"), "systemctl restart wharf".to_owned()];
    }
    vec![format!("restart the engine whose network {} is", bridge.name)]
}

fn veth(journey: Journey<'_>, veth: &Veth) -> Hop {
    let (name, target) = (&veth.name, journey.served.name);
    let fault = match &veth.interface {
        None => Some(format!("{name}, the cable to {target}, is gone")),
        Some(interface) => down(interface),
    };
    let apart = (!veth.on_bridge).then(|| format!("{name} is no port of the bridge"));
    match fault.or(apart) {
        Some(fault) => Hop::fails(Place::Veth, fault, vec![format!("wharf restart {target}")]),
        None => Hop::ok(Place::Veth, format!("{name} is up, a port of the bridge")),
    }
}
