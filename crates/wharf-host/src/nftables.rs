//! nftables over netlink: tables, chains, sets, maps, rules and elements, changed in transactions.
//!
//! A [`Batch`] collects changes to one table of the `inet` family and commits them in one write:
//! the kernel applies all of them or none, and no packet sees anything in between. What is
//! written lists under `nft list ruleset` with its types by name. Reading back covers what is
//! needed to notice a foreign change (chains with their number of rules, and the elements of a
//! set), and what rules have counted. A [`RulesetWatch`] tells of foreign changes as they come.
//! Nothing here knows what the table is for.

mod batch;
mod chain;
mod counters;
pub mod foreign;
mod generation;
mod owner;
mod read;
mod rule;
mod set;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

pub use self::batch::{Batch, Ownership};
pub use self::chain::{BaseHook, Chain, ChainKind, HookPoint, Policy};
pub use self::counters::{Counted, counters};
pub use self::generation::{generation, next_generation};
pub use self::owner::socket_owner;
pub use self::read::{TableState, chains, elements, table};
pub use self::rule::{Load, Mark, Rule, Verdict};
pub use self::set::{Datum, Element, FieldType, Set};
pub use self::watch::{RulesetWatch, Touch};

use crate::netlink::{Family, Netlink};

/// The table that is checked and never made.
const PROBE: &str = "wharf-probe";

/// The two IP families a rule of an `inet` table can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

// === impl IpFamily ===

impl IpFamily {
    /// The kernel's number for the family (`NFPROTO_IPV4`, `NFPROTO_IPV6`; the same as `AF_*`).
    pub fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// The family of `address`.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Whether a NAT chain of the `inet` family can be made in the calling thread's network
/// namespace; nothing is left behind.
pub fn probe_nat() -> bool {
    is_accepted(ChainKind::Nat, chain::PRIORITY_DSTNAT, &Rule::new())
}

/// Whether rules can find the sockets packets are for (`CONFIG_NFT_SOCKET`, Linux 4.18), in the
/// calling thread's network namespace; nothing is left behind.
pub fn probe_sockets() -> bool {
    let rule = Rule::new().reply().to_transparent_socket();
    is_accepted(ChainKind::Filter, chain::PRIORITY_MANGLE, &rule)
}

/// Whether a table can belong to one socket and outlive it (Linux 6.9), in the network namespace
/// of `netlink`; nothing is left behind.
pub fn probe_ownership(netlink: &mut Netlink) -> bool {
    let mut batch = Batch::new(PROBE);
    batch.add_table(Ownership::Owned);
    batch.check(netlink).is_ok()
}

fn is_accepted(kind: ChainKind, priority: i32, rule: &Rule) -> bool {
    let hook = HookPoint::Prerouting;
    let base = Some(BaseHook { kind, hook, priority, policy: Policy::Accept });
    let chain = Chain { name: "probe", base };
    let mut batch = Batch::new(PROBE);
    batch.add_table(Ownership::Shared);
    batch.add_chain(&chain);
    batch.add_rule(&chain, rule);
    Netlink::open(Family::Netfilter).and_then(|mut netlink| batch.check(&mut netlink)).is_ok()
}
