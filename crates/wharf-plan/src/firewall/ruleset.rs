//! Tables, chains and rules, whoever made them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::field::{Field, Span};

/// Everything that was read of a host's filtering rules; our own table is not among it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables, in the order they were read.
    pub tables: Vec<Table>,
}

/// One table with its chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which packets come to it.
    pub family: TableFamily,
    /// Its name: `filter`, `firewalld`.
    pub name: String,
    /// The part of the kernel that holds it.
    pub backend: Backend,
    /// Its chains by name.
    pub chains: BTreeMap<String, Chain>,
}

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableFamily {
    /// Both families.
    Inet,
    /// IPv4 only.
    Ip,
    /// IPv6 only.
    Ip6,
}

/// A packet's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The part of the kernel that holds a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// nftables, written by `nft`, firewalld or `iptables-nft`.
    Nftables,
    /// The older tables of `iptables-legacy`.
    IptablesLegacy,
}

/// A list of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it by themselves; `None` if it is only jumped to.
    pub base: Option<Base>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The point in a packet's way.
    pub hook: Hook,
    /// The order among all chains at that point, lowest first.
    pub priority: i32,
    /// What becomes of a packet no rule decided on.
    pub policy: Policy,
}

/// A point in a packet's way through the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// On arrival, before routing.
    Prerouting,
    /// To a socket of this host.
    Input,
    /// Through this host.
    Forward,
    /// From a socket of this host.
    Output,
    /// Before leaving.
    Postrouting,
}

/// What becomes of a packet no rule of a base chain decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It goes on to the next base chain.
    Accept,
    /// It ends here.
    Drop,
}

/// One rule: if everything matches, what is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// All of them must hold.
    pub matches: Vec<Match>,
    /// What the rule does to the packet's mark before it decides.
    pub mark: Option<MarkChange>,
    /// What it decides.
    pub action: Action,
    /// The note its author left with it.
    pub comment: Option<String>,
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// The fields have values that are (or, negated, are not) among the alternatives.
    Fields {
        /// What is looked at; several make a concatenation.
        fields: Vec<Field>,
        /// The keys that fit, each with one span for every field.
        any_of: Arc<[Key]>,
        /// Whether none of them must fit.
        negated: bool,
    },
    /// A condition this model does not know, by its name; it is taken as not holding.
    Unknown(String),
}

/// One span for each field of a concatenation.
pub type Key = Vec<Span>;

/// A change of a packet's mark: `(mark & keep) ^ flip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkChange {
    /// The bits that stay.
    pub keep: u32,
    /// The bits that are turned over then.
    pub flip: u32,
}

/// What a rule decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the next rule has its turn (counters, logs).
    #[default]
    Continue,
    /// The packet is through with this base chain.
    Accept,
    /// The packet ends here, silently.
    Drop,
    /// The packet ends here, and its sender is told.
    Reject,
    /// Back to where this chain was jumped to from; in a base chain, the policy.
    Return,
    /// On with another chain of the table, then back.
    Jump(String),
    /// On with another chain of the table, not back here.
    Goto(String),
    /// What a map has for the fields' values; without an entry the next rule has its turn.
    Map {
        /// What is looked up.
        fields: Vec<Field>,
        /// The entries; the first that fits decides.
        entries: Arc<[(Key, Action)]>,
    },
}

// === impl TableFamily ===

impl TableFamily {
    /// Whether packets of `family` come to such a table.
    pub fn sees(self, family: Family) -> bool {
        match self {
            Self::Inet => true,
            Self::Ip => family == Family::V4,
            Self::Ip6 => family == Family::V6,
        }
    }

    /// As `nft` writes it: `inet`, `ip`, `ip6`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

// === impl Table ===

impl Table {
    /// Whether this is a table of `iptables`, new or old: those have set names.
    pub fn is_iptables(&self) -> bool {
        self.backend == Backend::IptablesLegacy
            || (self.family != TableFamily::Inet
                && ["filter", "nat", "mangle", "raw", "security"].contains(&self.name.as_str())
                && self.chains.iter().any(|(name, chain)| {
                    let upper = |c: char| c.is_ascii_uppercase();
                    chain.base.is_some() && name.chars().all(upper)
                }))
    }
}

// === impl Match ===

impl Match {
    /// A match on one field.
    pub fn field(field: Field, any_of: impl IntoIterator<Item = Span>, negated: bool) -> Self {
        let any_of = any_of.into_iter().map(|span| vec![span]).collect();
        Self::Fields { fields: vec![field], any_of, negated }
    }
}

// === impl MarkChange ===

impl MarkChange {
    pub(super) fn of(self, mark: u32) -> u32 {
        (mark & self.keep) ^ self.flip
    }
}
