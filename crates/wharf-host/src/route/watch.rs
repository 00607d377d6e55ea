//! Being told that somebody has changed the rules.

use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Result;
use crate::netlink::{Family, Netlink};

const RTNLGRP_IPV4_RULE: u32 = 8;
const RTNLGRP_IPV6_RULE: u32 = 19;

/// Tells when rules of either family are changed, by whomever. Its descriptor becomes readable
/// then; what exactly has changed is not told.
#[derive(Debug)]
pub struct RuleWatch {
    netlink: Netlink,
}

// === impl RuleWatch ===

impl RuleWatch {
    /// Watches the calling thread's network namespace from now on.
    pub fn open() -> Result<Self> {
        let mut netlink = Netlink::open(Family::Route)?;
        netlink.join(RTNLGRP_IPV4_RULE)?;
        netlink.join(RTNLGRP_IPV6_RULE)?;
        Ok(Self { netlink })
    }

    /// Forgets what has been told so far, so that the descriptor is readable at the next change.
    pub fn clear(&mut self) {
        self.netlink.drain();
    }
}

impl AsFd for RuleWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}
