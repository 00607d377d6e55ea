//! Are these really the sockets a route speaks of?

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use wharf_spec::Proto;

use crate::protocol::{Refusal, Route};

/// Gives each route its sockets, after checking both.
pub(super) fn deal(routes: &[Route], sockets: Vec<OwnedFd>) -> Result<Vec<Vec<OwnedFd>>, Refusal> {
    let mut ids = BTreeSet::new();
    for route in routes {
        route.check()?;
        if !ids.insert(&route.id) {
            return Err(Refusal::Duplicate { id: route.id.clone() });
        }
    }
    let needed = routes.iter().map(Route::descriptors).sum();
    if sockets.len() != needed {
        return Err(Refusal::Sockets { got: sockets.len(), needed });
    }
    let mut rest = sockets.into_iter();
    let mut sets = Vec::with_capacity(routes.len());
    for route in routes {
        let set: Vec<OwnedFd> = rest.by_ref().take(route.descriptors()).collect();
        check_set(route, &set)?;
        sets.push(set);
    }
    Ok(sets)
}

fn check_set(route: &Route, set: &[OwnedFd]) -> Result<(), Refusal> {
    let ports = route.host_ports.iter();
    let wanted = ports.flat_map(|port| route.listeners.iter().map(move |place| (place, port)));
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
