//! Where a datagram goes, as sendmsg(2) wants to be told.

use std::io::IoSlice;

use socket2::SockAddr;

use super::control::Control;
use super::{Path, empty_header};

/// The name and the control data that a header points to.
#[derive(Debug)]
pub(crate) struct Envelope {
    name: Option<SockAddr>,
    control: Control,
}

// === impl Envelope ===

impl Envelope {
    /// For a datagram along `path`, or to the peer of a connected socket; cut every `segment` bytes.
    pub(crate) fn new(path: Option<&Path>, segment: Option<u16>) -> Self {
        let mut control = Control::new();
        if let Some((from, dual)) = path.and_then(|path| Some((path.from?, path.dual))) {
            control.push_local(from, dual);
        }
        if let Some(segment) = segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        Self { name: path.map(|path| path.name().into()), control }
    }

    /// A header for `data`, whose pointers are good for as long as neither this nor `data` is moved.
    pub(crate) fn header(&mut self, data: &[IoSlice<'_>]) -> libc::msghdr {
        let mut header = empty_header();
        if let Some(name) = &self.name {
            header.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_namelen = name.len();
        }
        header.msg_iov = data.as_ptr().cast_mut().cast();
        header.msg_iovlen = data.len() as _;
        if self.control.used() > 0 {
            header.msg_controllen = self.control.used() as _;
            header.msg_control = self.control.as_mut_ptr().cast();
        }
        header
    }
}
