//! A blocking netlink socket: request, acknowledgement, dump and batch.
//!
//! A socket keeps the network namespace it was made in (see [`crate::netns::Netns::run`]), so
//! one made inside a container's namespace can be used from any thread afterwards.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr, protocols};

use crate::error::{Context, Error, Result};

/// The kernel answers requests synchronously; a silence this long means a lost message.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// nftables refuses a transaction that does not fit one `sendmsg`; 60,000 map elements take about
/// 2.2 MB, so the send buffer is raised well past that.
const SEND_BUFFER: usize = 16 << 20;
/// Room for the acknowledgements of a large batch and for full dumps.
const RECEIVE_BUFFER: usize = 8 << 20;

/// The netlink families Wharf talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, rules.
    Route,
    /// nftables and conntrack.
    Netfilter,
    /// Which sockets exist (`sock_diag`).
    SockDiag,
}

/// A blocking netlink socket in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

// === impl Family ===

impl Family {
    fn protocol(self) -> isize {
        match self {
            Self::Route => protocols::NETLINK_ROUTE,
            Self::Netfilter => protocols::NETLINK_NETFILTER,
            Self::SockDiag => protocols::NETLINK_SOCK_DIAG,
        }
    }
}

// === impl Netlink ===

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink").field("fd", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}

impl Netlink {
    /// Opens a socket of `family` in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self> {
        let what = || format!("open a netlink socket ({family:?})");
        let mut socket = Socket::new(family.protocol()).during(what)?;
        socket.bind_auto().during(what)?;
        socket.connect(&SocketAddr::new(0, 0)).during(what)?;
        rustix::net::sockopt::set_socket_timeout(
            socket.as_fd(),
            rustix::net::sockopt::Timeout::Recv,
            Some(ANSWER_LIMIT),
        )
        .during(what)?;
        let fd = socket.as_fd();
        // The FORCE variants pass net.core.{w,r}mem_max but need CAP_NET_ADMIN over the initial
        // user namespace; without it the kernel's default must do and big batches may be refused.
        let _forced = rustix::net::sockopt::set_socket_send_buffer_size_force(fd, SEND_BUFFER)
            .or_else(|_| rustix::net::sockopt::set_socket_send_buffer_size(fd, SEND_BUFFER));
        let _forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER)
            .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER));
        Ok(Self { socket, sequence: 0 })
    }

    /// The kernel's number for this socket: what it changes bears it, and what it owns.
    pub fn port(&self) -> Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address).during(|| "ask for a netlink socket's number")?;
        Ok(address.port_number())
    }

    /// Subscribes to a multicast group (for example `RTNLGRP_LINK`).
    pub fn join(&mut self, group: u32) -> Result<()> {
        self.socket.add_membership(group).during(|| format!("join netlink group {group}"))
    }

    /// Sends one request and waits for its acknowledgement; `extra` are flags besides REQUEST|ACK.
    pub fn request<M>(&mut self, action: &str, message: M, extra: u16) -> Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        self.batch(action, vec![(message, NLM_F_ACK | extra)]).map_err(|failure| failure.error)
    }

    /// Sends one request and collects every message of the answer up to its acknowledgement.
    pub fn query<M>(&mut self, action: &str, message: M, extra: u16) -> Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        let sequence = self.send(action, vec![(message, NLM_F_ACK | extra)])?;
        self.collect(action, sequence, usize::MAX)
    }

    /// Dumps every object that matches `message`.
    pub fn dump<M>(&mut self, action: &str, message: M) -> Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        self.dump_at_most(action, message, usize::MAX)
    }

    /// As [`Netlink::dump`], for lists that others make as long as they like.
    ///
    /// # Errors
    /// [`Error::Answer`] when there are more than `limit`; the kernel goes on with the dump, so
    /// the socket must not be used again.
    pub fn dump_at_most<M>(&mut self, action: &str, message: M, limit: usize) -> Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        let sequence = self.send(action, vec![(message, NLM_F_DUMP)])?;
        self.collect(action, sequence, limit)
    }

    /// Sends `messages` in one write and waits for the acknowledgement of each that asks for one
    /// (`NLM_F_ACK` among its flags; `NLM_F_REQUEST` is added to all).
    ///
    /// # Errors
    /// The first message the kernel refused, by its index.
    pub fn batch<M>(&mut self, action: &str, messages: Vec<(M, u16)>) -> Result<(), BatchFailure>
    where
        M: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        let wants: Vec<bool> = messages.iter().map(|(_, flags)| flags & NLM_F_ACK != 0).collect();
        let last = self.send(action, messages).map_err(BatchFailure::whole)?;
        let first =
            last.wrapping_sub(u32::try_from(wants.len()).unwrap_or(u32::MAX)).wrapping_add(1);
        let mut pending: BTreeSet<u32> = (0u32..)
            .zip(&wants)
            .filter(|(_, want)| **want)
            .map(|(offset, _)| first.wrapping_add(offset))
            .collect();
        let mut failure: Option<BatchFailure> = None;
        while !pending.is_empty() {
            for reply in self.receive::<M>(action).map_err(BatchFailure::whole)? {
                let sequence = reply.header.sequence_number;
                let NetlinkPayload::Error(answer) = reply.payload else { continue };
                pending.remove(&sequence);
                let Some(code) = answer.code else { continue };
                if failure.is_none() {
                    let index = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                    let source = io::Error::from_raw_os_error(code.get().abs());
                    failure = Some(BatchFailure { index, error: Error::kernel(action, source) });
                }
                // A refused nftables transaction is acknowledged only for the messages that
                // failed, so the rest of the acknowledgements need not come.
                if failure.is_some() {
                    self.drain();
                    pending.clear();
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Reads whatever has arrived (events), waiting at most `limit`; an empty list means nothing
    /// came.
    pub fn events<M>(&mut self, limit: Duration) -> Result<Vec<NetlinkMessage<M>>>
    where
        M: NetlinkDeserializable + std::fmt::Debug,
    {
        let timeout = rustix::event::Timespec::try_from(limit).unwrap_or_default();
        let mut fds = [rustix::event::PollFd::new(&self.socket, rustix::event::PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&timeout)).during(|| "wait for events")?;
        if ready == 0 { Ok(Vec::new()) } else { self.receive("read events") }
    }

    fn send<M>(&mut self, action: &str, messages: Vec<(M, u16)>) -> Result<u32>
    where
        M: NetlinkSerializable + std::fmt::Debug,
    {
        let mut buffer = Vec::new();
        for (message, flags) in messages {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = NetlinkMessage::new(
                NetlinkHeader::default(),
                NetlinkPayload::InnerMessage(message),
            );
            message.header.flags = NLM_F_REQUEST | flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            let start = buffer.len();
            buffer.resize(start + message.buffer_len(), 0);
            if let Some(slot) = buffer.get_mut(start..) {
                message.serialize(slot);
            }
        }
        self.socket.send(&buffer, 0).during(|| action)?;
        Ok(self.sequence)
    }

    fn collect<M>(&mut self, action: &str, sequence: u32, limit: usize) -> Result<Vec<M>>
    where
        M: NetlinkDeserializable + std::fmt::Debug,
    {
        let mut found = Vec::new();
        loop {
            for reply in self.receive::<M>(action)? {
                if reply.header.sequence_number != sequence {
                    continue;
                }
                match reply.payload {
                    NetlinkPayload::InnerMessage(_) if found.len() >= limit => {
                        return Err(Error::answer(action, format!("more than {limit} of them")));
                    }
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(answer) => match answer.code {
                        None => return Ok(found),
                        Some(code) => {
                            let source = io::Error::from_raw_os_error(code.get().abs());
                            return Err(Error::kernel(action, source));
                        }
                    },
                    _ => {}
                }
            }
        }
    }

    fn receive<M>(&mut self, action: &str) -> Result<Vec<NetlinkMessage<M>>>
    where
        M: NetlinkDeserializable + std::fmt::Debug,
    {
        let (datagram, _) = self.socket.recv_from_full().map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => {
                Error::Timeout { action: action.to_owned(), seconds: ANSWER_LIMIT.as_secs() }
            }
            _ => Error::kernel(action, source),
        })?;
        let mut rest = datagram.as_slice();
        let mut messages = Vec::new();
        while rest.len() >= 16 {
            let message = NetlinkMessage::<M>::deserialize(rest)
                .map_err(|e| Error::answer(action, e.to_string()))?;
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            messages.push(message);
            let padded = length.max(16).next_multiple_of(4);
            rest = rest.get(padded..).unwrap_or_default();
        }
        Ok(messages)
    }

    /// Throws away whatever has arrived.
    pub(crate) fn drain(&mut self) {
        let mut scratch = Vec::with_capacity(1 << 16);
        for _ in 0..1_000_000 {
            scratch.clear();
            if self.socket.recv(&mut scratch, libc::MSG_DONTWAIT).is_err() {
                return;
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A batch the kernel refused, with the message it stumbled over.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct BatchFailure {
    /// Index of the refused message within the batch; 0 when the whole batch was refused.
    pub index: usize,
    /// What the kernel said.
    #[source]
    pub error: Error,
}

// === impl BatchFailure ===

impl BatchFailure {
    fn whole(error: Error) -> Self {
        Self { index: 0, error }
    }
}

impl From<BatchFailure> for Error {
    fn from(failure: BatchFailure) -> Self {
        failure.error
    }
}
