//! The helper's side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::wire::{self, Answer, Message, Request};
use super::{Domain, Kind};
use crate::error::{Context, Result};
use crate::netns::Netns;
use crate::sandbox::{CapabilitySet, Confinement, Profile};

/// Confines the calling process to `CAP_SYS_ADMIN` and a handful of system calls, and opens
/// sockets for the peer of `socket`, usually standard input, until that is gone. To be called
/// before a second thread is started; [`super::Opener::start`] makes the other end.
///
/// # Errors
/// When the process cannot be confined, `socket` is none, or the way back from a namespace fails.
pub fn serve(socket: impl AsFd) -> Result<()> {
    let home = Netns::current()?;
    let confinement = Confinement {
        capabilities: CapabilitySet::SYS_ADMIN,
        unlink_in: None,
        syscalls: Profile::Opener,
    };
    let entered = confinement.enter()?;
    tracing::info!(pid = std::process::id(), %entered, "ready to open sockets");
    answer_all(socket.as_fd(), &home)
}

/// There is no limit to waiting for a request: the peer may need no socket for months, and its
/// end is noticed.
pub(super) fn answer_all(socket: BorrowedFd<'_>, home: &Netns) -> Result<()> {
    let ready = Answer { number: wire::READY, errno: 0 };
    reply(socket, ready, None)?;
    loop {
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).during(|| "wait for requests")?;
        match wire::receive(socket) {
            Ok(Some(message)) => {
                let number = message.number();
                let opened = answer(&message, home)?;
                let errno = opened.as_ref().map_or_else(|errno| errno.raw_os_error(), |_| 0);
                reply(socket, Answer { number, errno }, opened.ok().as_ref())?;
            }
            Ok(None) | Err(Errno::CONNRESET) => return Ok(()),
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno).during(|| "receive a request"),
        }
    }
}

/// A peer that is gone or does not read is noticed when the next request is waited for.
fn reply(socket: BorrowedFd<'_>, answer: Answer, descriptor: Option<&OwnedFd>) -> Result<()> {
    match wire::send(socket, &answer.to_bytes(), descriptor.map(AsFd::as_fd)) {
        Ok(()) | Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(errno).during(|| "answer a request"),
    }
}

/// What can be answered is in the inner result; the outer one is an end.
pub(super) fn answer(
    message: &Message<{ wire::REQUEST }>,
    home: &Netns,
) -> Result<rustix::io::Result<OwnedFd>> {
    let request = message.payload().ok().and_then(Request::from_bytes);
    let (Some(request), Some(namespace)) = (request, &message.descriptor) else {
        return Ok(Err(Errno::INVAL));
    };
    if let Err(errno) = enter(namespace.as_fd()) {
        return Ok(Err(errno));
    }
    let socket = open(request.domain, request.kind);
    // At once, because a process keeps the namespace alive that it is in.
    enter(home.as_fd()).during(|| "return from a network namespace")?;
    Ok(socket)
}

fn enter(namespace: BorrowedFd<'_>) -> rustix::io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}

fn open(domain: Domain, kind: Kind) -> rustix::io::Result<OwnedFd> {
    let family = match domain {
        Domain::Ipv4 => AddressFamily::INET,
        Domain::Ipv6 => AddressFamily::INET6,
    };
    let kind = match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Datagram => SocketType::DGRAM,
    };
    socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}
