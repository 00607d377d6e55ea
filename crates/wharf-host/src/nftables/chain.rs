//! Chains: the lists rules live in, and the hooks they hang on.

use netlink_packet_netfilter::nftables::{ChainAttribute, Hook, InetHookNumber};

/// `NF_IP_PRI_NAT_DST`: where `nft` puts `priority dstnat`.
pub(super) const PRIORITY_DSTNAT: i32 = -100;

/// `NF_IP_PRI_MANGLE`: where `nft` puts `priority mangle`.
pub(super) const PRIORITY_MANGLE: i32 = -150;

/// A chain; one without a base hook runs only when jumped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The chain's name.
    pub name: &'static str,
    /// Where packets enter it, if they do by themselves.
    pub base: Option<BaseHook>,
}

/// Where in the kernel a chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseHook {
    /// What the chain may do.
    pub kind: ChainKind,
    /// The point in a packet's way.
    pub hook: HookPoint,
    /// The order among all chains at that point, lowest first.
    pub priority: i32,
    /// What becomes of a packet no rule decided on.
    pub policy: Policy,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Accept and drop; sees every packet.
    Filter,
    /// Rewrite addresses; sees the first packet of each flow.
    Nat,
    /// Change what decides a packet's route, which is then sought anew; at
    /// [`HookPoint::Output`] only.
    Route,
}

/// A point in a packet's way through the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    /// Arrived, not routed yet.
    Prerouting,
    /// Routed to somewhere else.
    Forward,
    /// Made by a process of this host.
    Output,
    /// About to leave.
    Postrouting,
}

/// What becomes of a packet no rule decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

// === impl Chain ===

impl Chain {
    pub(super) fn attributes(&self, table: &str) -> Vec<ChainAttribute> {
        let mut attributes = vec![
            ChainAttribute::Table(table.to_owned()),
            ChainAttribute::Name(self.name.to_owned()),
        ];
        if let Some(base) = self.base {
            attributes.extend([
                ChainAttribute::Hook(vec![
                    Hook::Number(base.hook.number().into()),
                    Hook::Priority(base.priority.cast_unsigned()),
                ]),
                ChainAttribute::Policy(base.policy.number()),
                ChainAttribute::Type(base.kind.name().to_owned()),
            ]);
        }
        attributes
    }
}

// === impl ChainKind ===

impl ChainKind {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

// === impl HookPoint ===

impl HookPoint {
    fn number(self) -> InetHookNumber {
        match self {
            Self::Prerouting => InetHookNumber::PreRouting,
            Self::Forward => InetHookNumber::Forward,
            Self::Output => InetHookNumber::LocalOut,
            Self::Postrouting => InetHookNumber::PostRouting,
        }
    }
}

// === impl Policy ===

impl Policy {
    fn number(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
        }
    }
}
