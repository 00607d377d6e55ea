//! Being told that somebody else has changed our table.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use socket2::{SockFilter, SockRef};

use crate::error::{Context, Error, Result};
use crate::netlink::{Family, Netlink};

const NFNLGRP_NFTABLES: u32 = 7;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWGEN: u16 = 15;
const NFPROTO_INET: u8 = 1;
/// The table's name, in messages about tables and about whatever is in them.
const NFTA_TABLE: u16 = 1;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;
const ATTRIBUTE_KIND: u16 = 0x3fff;

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 20;
/// The kernel packs messages into buffers of a page or two.
const LARGEST: usize = 64 << 10;
/// Datagrams read in one go; with more waiting, the descriptor stays readable.
const DATAGRAMS: usize = 4096;
/// Different programs told of at once; a host where more than these change one table between two
/// looks needs no longer list.
const TOUCHES: usize = 16;

/// Tells when table `inet {table}`, or anything in it, is changed by somebody else. Its descriptor
/// becomes readable at every change of nftables in the network namespace but those of the
/// disregarded socket; [`RulesetWatch::read`] finds out whether this table is concerned.
///
/// As long as one is open, the kernel writes a message for every element that is added or deleted
/// anywhere in the namespace.
#[derive(Debug)]
pub struct RulesetWatch {
    netlink: Netlink,
    table: String,
    buffer: Vec<u8>,
    /// The table was touched by the transaction whose end has not been told yet.
    touched: bool,
}

/// A foreign change of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The process that made it, by its number in the initial pid namespace and by name; `None`
    /// when messages were lost, and with them perhaps nothing about this table.
    pub process: Option<(u32, String)>,
}

// === impl RulesetWatch ===

impl RulesetWatch {
    /// Watches table `inet {table}` in the calling thread's network namespace from now on.
    pub fn open(table: &str) -> Result<Self> {
        let mut netlink = Netlink::open(Family::Netfilter)?;
        netlink.join(NFNLGRP_NFTABLES)?;
        Ok(Self { netlink, table: table.to_owned(), buffer: vec![0; LARGEST], touched: false })
    }

    /// Leaves out what the socket numbered `port` ([`Netlink::port`]) changes: the kernel does not
    /// queue it, so a large change of our own neither wakes anyone nor crowds out what others do.
    pub fn disregard(&mut self, port: u32) -> Result<()> {
        // The classic filter language reads numbers in network order, netlink writes its own.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let program = [
            SockFilter::new(0x20, 0, 0, 12),       // load nlmsg_pid
            SockFilter::new(0x15, 0, 1, port),     // is it ours?
            SockFilter::new(0x06, 0, 0, 0),        // drop
            SockFilter::new(0x06, 0, 0, u32::MAX), // keep
        ];
        SockRef::from(&self.netlink.as_fd())
            .attach_filter(&program)
            .during(|| "disregard our own changes of nftables")
    }

    /// Who has touched the table since the last call, each program once; empty when nobody has.
    /// Does not wait.
    pub fn read(&mut self) -> Result<Vec<Touch>> {
        let mut touches = Vec::new();
        for _ in 0..DATAGRAMS {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = self.receive(&mut buffer);
            let known = received.as_ref().ok().and_then(|received| match received {
                Received::Datagram(length) => buffer.get(..*length),
                _ => None,
            });
            let found = known.map(|datagram| self.look_through(datagram));
            self.buffer = buffer;
            match received? {
                Received::Nothing => break,
                Received::Lost => note(&mut touches, Touch { process: None }),
                Received::Datagram(_) => {
                    found.into_iter().flatten().for_each(|touch| note(&mut touches, touch));
                }
            }
        }
        Ok(touches)
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<Received> {
        match rustix::net::recv(&self.netlink, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)
        {
            Ok((_, length)) if length > buffer.len() => Ok(Received::Lost),
            Ok((_, length)) => Ok(Received::Datagram(length)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(Received::Nothing),
            Err(Errno::NOBUFS) => Ok(Received::Lost),
            Err(error) => Err(Error::kernel("read changes of nftables", error)),
        }
    }

    /// A transaction is told as what it changed, then by whom.
    fn look_through(&mut self, datagram: &[u8]) -> Vec<Touch> {
        let mut touches = Vec::new();
        for message in messages(datagram) {
            if message.kind != NFT_MSG_NEWGEN {
                let name = attribute(message.attributes, NFTA_TABLE).map(text);
                self.touched |=
                    message.family == NFPROTO_INET && name.as_ref() == Some(&self.table);
            } else if std::mem::take(&mut self.touched) {
                touches.push(Touch { process: process(message.attributes) });
            }
        }
        touches
    }
}

impl AsFd for RulesetWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

enum Received {
    /// So many bytes.
    Datagram(usize),
    Nothing,
    /// More came than could be kept.
    Lost,
}

fn note(touches: &mut Vec<Touch>, touch: Touch) {
    if touches.len() < TOUCHES && !touches.contains(&touch) {
        touches.push(touch);
    }
}

fn process(attributes: &[u8]) -> Option<(u32, String)> {
    let pid = attribute(attributes, NFTA_GEN_PROC_PID)?.first_chunk()?;
    let name = attribute(attributes, NFTA_GEN_PROC_NAME).map(text).unwrap_or_default();
    Some((u32::from_be_bytes(*pid), name))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

struct Message<'a> {
    kind: u16,
    family: u8,
    attributes: &'a [u8],
}

/// The nftables messages of a datagram. Only what is needed is read: there may be one for each of
/// thousands of elements.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..length).filter(|message| message.len() >= HEADERS)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
    .filter_map(|message| {
        let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
        let family = *message.get(16)?;
        let attributes = message.get(HEADERS..)?;
        (kind >> 8 == NFNL_SUBSYS_NFTABLES).then_some(Message {
            kind: kind & 0xff,
            family,
            attributes,
        })
    })
}

/// The value of the first attribute of a kind.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & ATTRIBUTE_KIND;
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

// === impl Touch ===

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(f, "{name} (process {pid})"),
            None => f.write_str("somebody, among more changes than could be read"),
        }
    }
}
