//! Being told that somebody has changed the host's network.

use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Result;
use crate::netlink::{Family, Netlink};

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV4_RULE: u32 = 8;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_IPV6_RULE: u32 = 19;

/// Tells when something of the host's network is changed, by whomever. Its descriptor becomes
/// readable then; what exactly has changed is not told.
#[derive(Debug)]
pub struct HostWatch {
    netlink: Netlink,
}

// === impl HostWatch ===

impl HostWatch {
    /// Watches the policy rules and routes of both families in the calling thread's network
    /// namespace.
    pub fn rules() -> Result<Self> {
        Self::open(&[RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE])
    }

    /// Watches interfaces, their addresses and routes in the calling thread's network namespace.
    pub fn links() -> Result<Self> {
        Self::open(&[
            RTNLGRP_LINK,
            RTNLGRP_IPV4_IFADDR,
            RTNLGRP_IPV6_IFADDR,
            RTNLGRP_IPV4_ROUTE,
            RTNLGRP_IPV6_ROUTE,
        ])
    }

    fn open(groups: &[u32]) -> Result<Self> {
        let mut netlink = Netlink::open(Family::Route)?;
        groups.iter().try_for_each(|group| netlink.join(*group))?;
        Ok(Self { netlink })
    }

    /// Forgets what has been told so far, so that the descriptor is readable at the next change.
    pub fn clear(&mut self) {
        self.netlink.drain();
    }
}

impl AsFd for HostWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}
