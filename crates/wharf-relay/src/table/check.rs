//! Are these really the sockets a route speaks of?

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use wharf_spec::Proto;

use crate::protocol::{Refusal, Route};
use crate::route::inside::Entrance;

/// What belongs to one route of those that came with a request.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) sockets: Vec<OwnedFd>,
    pub(super) entrance: Option<Entrance>,
}

/// Gives each route its sockets, after checking both.
pub(super) fn deal(routes: &[Route], sockets: Vec<OwnedFd>) -> Result<Vec<Set>, Refusal> {
    check_all(routes, sockets.len(), Route::descriptors)?;
    let mut rest = sockets.into_iter();
    let mut sets = Vec::with_capacity(routes.len());
    for route in routes {
        let sockets: Vec<OwnedFd> = rest.by_ref().take(route.sockets()).collect();
        check_set(route, &sockets)?;
        let entrance = entrance(route, &mut rest)?;
        sets.push(Set { sockets, entrance });
    }
    Ok(sets)
}

/// Gives each route that is to be changed what leads inside, if it does, after checking both.
pub(super) fn deal_changes(
    routes: &[Route],
    descriptors: Vec<OwnedFd>,
) -> Result<Vec<Option<Entrance>>, Refusal> {
    check_all(routes, descriptors.len(), Route::descriptors_of_change)?;
    let mut rest = descriptors.into_iter();
    routes.iter().map(|route| entrance(route, &mut rest)).collect()
}

fn check_all(routes: &[Route], got: usize, needs: fn(&Route) -> usize) -> Result<(), Refusal> {
    let mut ids = BTreeSet::new();
    for route in routes {
        route.check()?;
        if !ids.insert(&route.id) {
            return Err(Refusal::Duplicate { id: route.id.clone() });
        }
    }
    let needed = routes.iter().map(needs).sum();
    if got == needed { Ok(()) } else { Err(Refusal::Sockets { got, needed }) }
}

fn entrance(
    route: &Route,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> Result<Option<Entrance>, Refusal> {
    if !route.inside {
        return Ok(None);
    }
    let (Some(opener), Some(namespace)) = (descriptors.next(), descriptors.next()) else {
        return Err(Refusal::Sockets { got: 0, needed: 2 });
    };
    let refuse = |reason| Refusal::Route { id: route.id.clone(), reason };
    Entrance::new(opener, namespace).map(Some).map_err(refuse)
}

fn check_set(route: &Route, set: &[OwnedFd]) -> Result<(), Refusal> {
    let ports = route.bound_ports();
    let wanted =
        ports.iter().flat_map(|port| route.listeners.iter().map(move |place| (place, port)));
    for (socket, (place, port)) in set.iter().zip(wanted) {
        let wanted = SocketAddr::new(place.address, port);
        check_one(route.proto, socket.as_fd(), wanted).map_err(|reason| Refusal::Route {
            id: route.id.clone(),
            reason: format!("the socket for {wanted} {reason}"),
        })?;
    }
    Ok(())
}

fn check_one(proto: Proto, socket: BorrowedFd<'_>, wanted: SocketAddr) -> Result<(), String> {
    let kind = socket_type(socket).map_err(|e| format!("is none: {e}"))?;
    let right = match proto {
        Proto::Tcp => kind == SocketType::STREAM && socket_acceptconn(socket).unwrap_or(false),
        _ => kind == SocketType::DGRAM,
    };
    if !right {
        return Err(format!("is not a {proto} listener"));
    }
    let bound = rustix::net::getsockname(socket).map_err(|e| format!("is not bound: {e}"))?;
    let bound = SocketAddr::try_from(bound).map_err(|e| format!("is of another family: {e}"))?;
    if (bound.ip(), bound.port()) != (wanted.ip(), wanted.port()) {
        return Err(format!("is bound to {bound}"));
    }
    // A blocking socket would stop the thread that accepts for all routes.
    rustix::io::ioctl_fionbio(socket, true).map_err(|e| format!("cannot be used: {e}"))
}
