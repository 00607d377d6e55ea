//! What stands in a packet's way, and whose it is.

use std::fmt;

use super::render;
use super::ruleset::{Action, Backend, Base, Chain, Hook, Rule, Table, TableFamily};

/// A rule or policy that ends packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The table's family.
    pub family: TableFamily,
    /// The part of the kernel that holds the table.
    pub backend: Backend,
    /// The table's name.
    pub table: String,
    /// The base chain the packet entered by.
    pub base_chain: String,
    /// The chain the rule is in; the base chain itself for a policy.
    pub chain: String,
    /// The hook of the base chain.
    pub hook: Hook,
    /// The rule, about as its own program writes it; `None` means the policy of the base chain.
    pub rule: Option<String>,
    /// How the packet ends.
    pub denial: Denial,
    /// Whose rule or policy it is, as far as names tell.
    pub owner: Owner,
}

/// How a packet ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Silently: the client waits.
    Drop,
    /// With a message to the client.
    Reject,
    /// There are more rules than can be followed, so nothing can be relied on.
    TooLong,
}

/// The program whose rules a chain has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// ufw.
    Ufw,
    /// firewalld.
    Firewalld,
    /// Docker.
    Docker,
    /// Podman (netavark or CNI).
    Podman,
    /// Somebody, with `iptables` on top of nftables.
    IptablesNft,
    /// Somebody, with `iptables-legacy`.
    IptablesLegacy,
    /// Somebody, with `nft`.
    Nftables,
}

// === impl Obstacle ===

impl Obstacle {
    pub(super) fn policy(table: &Table, chain: &str, base: Base) -> Self {
        let owner = Owner::of_chain(table, chain).or_else(|| Owner::of_jumps(table, chain));
        Self::new(table, chain, chain, base.hook, owner)
    }

    pub(super) fn rule(
        table: &Table,
        base_chain: &str,
        chain: &str,
        rule: &Rule,
        denial: Denial,
    ) -> Self {
        // firewalld on iptables ends the built-in chains with a rule of its own.
        let theirs = || Owner::of_jumps(table, base_chain).filter(|it| *it == Owner::Firewalld);
        let owner = Owner::of_chain(table, chain).or_else(theirs);
        let text = Some(render::rule(rule));
        let hook = hook_of(table, base_chain);
        Self { rule: text, denial, ..Self::new(table, base_chain, chain, hook, owner) }
    }

    pub(super) fn lost(table: &Table, base_chain: &str, chain: &str) -> Self {
        let (owner, hook) = (Owner::of_chain(table, chain), hook_of(table, base_chain));
        let denial = Denial::TooLong;
        Self { denial, ..Self::new(table, base_chain, chain, hook, owner) }
    }

    fn new(table: &Table, base: &str, chain: &str, hook: Hook, owner: Option<Owner>) -> Self {
        Self {
            family: table.family,
            backend: table.backend,
            table: table.name.clone(),
            base_chain: base.to_owned(),
            chain: chain.to_owned(),
            hook,
            rule: None,
            denial: Denial::Drop,
            owner: owner.unwrap_or_else(|| Owner::of_table(table)),
        }
    }

    /// Where it is: `chain FORWARD of table ip filter`.
    pub fn place(&self) -> String {
        format!("chain {} of table {} {}", self.chain, self.family.as_str(), self.table)
    }
}

impl fmt::Display for Obstacle {
    /// `ufw drops forwarded packets (policy of chain FORWARD of table ip filter)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (owner, place) = (self.owner, self.place());
        let which = match self.hook {
            Hook::Forward => "forwarded packets",
            Hook::Input => "packets to this host",
            Hook::Prerouting => "arriving packets",
            Hook::Output => "packets of this host",
            Hook::Postrouting => "leaving packets",
        };
        let denies = match self.denial {
            Denial::Drop => "drops",
            Denial::Reject => "rejects",
            Denial::TooLong => {
                return write!(
                    f,
                    "{owner} has more rules for {which} than can be followed ({place})"
                );
            }
        };
        match &self.rule {
            None => write!(f, "{owner} {denies} {which} (policy of {place})"),
            Some(rule) => write!(f, "{owner} {denies} {which} (rule \"{rule}\" in {place})"),
        }
    }
}

fn hook_of(table: &Table, base_chain: &str) -> Hook {
    let base = table.chains.get(base_chain).and_then(|chain| chain.base);
    base.map_or(Hook::Forward, |base| base.hook)
}

// === impl Owner ===

impl Owner {
    /// By the names programs give their chains and tables; `None` if nobody does.
    pub(super) fn of_chain(table: &Table, chain: &str) -> Option<Self> {
        match table.name.as_str() {
            "firewalld" => return Some(Self::Firewalld),
            "docker-bridges" => return Some(Self::Docker),
            "netavark" => return Some(Self::Podman),
            _ => {}
        }
        let begins = |names: &[&str]| names.iter().any(|name| chain.starts_with(name));
        if begins(&["ufw-", "ufw6-"]) {
            Some(Self::Ufw)
        } else if begins(&["DOCKER"]) {
            Some(Self::Docker)
        } else if begins(&["NETAVARK", "CNI-"]) {
            Some(Self::Podman)
        } else if is_firewalld(chain) {
            Some(Self::Firewalld)
        } else {
            None
        }
    }

    /// By whom the chain jumps to: ufw and Docker set the policy of the built-in chains.
    fn of_jumps(table: &Table, chain: &str) -> Option<Self> {
        let jumps = |rule: &Rule| match &rule.action {
            Action::Jump(to) | Action::Goto(to) => Self::of_chain(table, to),
            _ => None,
        };
        // ufw and firewalld come first in the order of owners: with Docker beside them, the
        // policy is theirs.
        let rules = |chain: &Chain| chain.rules.iter().filter_map(jumps).min();
        table.chains.get(chain).and_then(rules)
    }

    fn of_table(table: &Table) -> Self {
        match table.backend {
            Backend::IptablesLegacy => Self::IptablesLegacy,
            Backend::Nftables if table.is_iptables() => Self::IptablesNft,
            Backend::Nftables => Self::Nftables,
        }
    }
}

/// The chains of firewalld's older backend, which writes iptables rules.
fn is_firewalld(chain: &str) -> bool {
    ["IN_", "FWD_", "FWDI_", "FWDO_"].iter().any(|prefix| chain.starts_with(prefix))
        || ["_ZONES", "_ZONES_SOURCE", "_direct", "_POLICIES_pre", "_POLICIES_post"]
            .iter()
            .any(|suffix| chain.ends_with(suffix))
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ufw => "ufw",
            Self::Firewalld => "firewalld",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::IptablesNft => "iptables",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Nftables => "nftables",
        })
    }
}
