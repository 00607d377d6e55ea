//! What iptables asks for and does, in its own tables and, through `iptables-nft`, in nftables.

use std::net::IpAddr;

use wharf_host::nftables::IpFamily;
use wharf_host::xtables::{
    Condition, LegacyChain, LegacyRule, LegacyTable, MaskedAddress, Outcome,
};
use wharf_plan::firewall::{
    Action, Backend, Base, Chain, Field, MarkChange, Match, Policy, Rule, Span, Table, TableFamily,
};

use super::nftables::hook;

pub(super) fn table(table: LegacyTable) -> Table {
    let family = match table.family {
        IpFamily::V4 => TableFamily::Ip,
        IpFamily::V6 => TableFamily::Ip6,
    };
    let priority = priority(&table.name);
    let chains =
        table.chains.into_iter().map(|(name, chain)| (name, self::chain(&chain, priority)));
    Table { family, backend: Backend::IptablesLegacy, chains: chains.collect(), name: table.name }
}

/// `NF_IP_PRI_*`.
fn priority(table: &str) -> i32 {
    match table {
        "raw" => -300,
        "mangle" => -150,
        "security" => 50,
        _ => 0,
    }
}

fn chain(chain: &LegacyChain, priority: i32) -> Chain {
    let base = chain.hook.and_then(|(number, drops)| {
        let policy = if drops { Policy::Drop } else { Policy::Accept };
        Some(Base { hook: hook(number)?, priority, policy })
    });
    Chain { base, rules: chain.rules.iter().map(rule).collect() }
}

fn rule(legacy: &LegacyRule) -> Rule {
    let matches = legacy.conditions.iter().map(condition).collect();
    let mut rule = Rule { matches, comment: legacy.comment.clone(), ..Rule::default() };
    decide(&mut rule, &legacy.outcome);
    rule
}

/// Has `rule` do what a target does.
pub(super) fn decide(rule: &mut Rule, outcome: &Outcome) {
    rule.action = match outcome {
        Outcome::Continue => Action::Continue,
        Outcome::Accept => Action::Accept,
        Outcome::Drop => Action::Drop,
        Outcome::Reject => Action::Reject,
        Outcome::Return => Action::Return,
        Outcome::Jump(chain) => Action::Jump(chain.clone()),
        Outcome::Goto(chain) => Action::Goto(chain.clone()),
        Outcome::Mark { keep, flip } => {
            rule.mark = Some(MarkChange { keep: *keep, flip: *flip });
            Action::Continue
        }
    };
}

/// What a match asks for.
pub(super) fn condition(condition: &Condition) -> Match {
    match condition {
        Condition::Source(it, not) => masked([Field::Source4, Field::Source6], it, *not),
        Condition::Destination(it, not) => {
            masked([Field::Destination4, Field::Destination6], it, *not)
        }
        Condition::AskedAddress(it, not) => {
            masked([Field::AskedAddress4, Field::AskedAddress6], it, *not)
        }
        Condition::SourceBetween(first, last, not) => {
            between([Field::Source4, Field::Source6], *first, *last, *not)
        }
        Condition::DestinationBetween(first, last, not) => {
            between([Field::Destination4, Field::Destination6], *first, *last, *not)
        }
        Condition::InInterface { name, mask, negated } => {
            Match::field(Field::InInterface, [interface(*name, *mask)], *negated)
        }
        Condition::OutInterface { name, mask, negated } => {
            Match::field(Field::OutInterface, [interface(*name, *mask)], *negated)
        }
        Condition::Protocol(number, not) => one(Field::Protocol, Span::one(*number), *not),
        Condition::SourcePorts(ports, not) => self::ports(Field::SourcePort, ports, *not),
        Condition::DestinationPorts(ports, not) => self::ports(Field::DestinationPort, ports, *not),
        Condition::AskedPorts(ports, not) => self::ports(Field::AskedPort, ports, *not),
        Condition::State(bits, not) => one(Field::StateOrRewritten, Span::any_bit(*bits), *not),
        Condition::Status(bits, not) => one(Field::Status, Span::any_bit(*bits), *not),
        Condition::Direction(number) => one(Field::Direction, Span::one(*number), false),
        Condition::SourceKinds(kinds, not) => self::kinds(Field::SourceKind, kinds, *not),
        Condition::DestinationKinds(kinds, not) => self::kinds(Field::DestinationKind, kinds, *not),
        Condition::Mark(value, mask, not) => one(Field::Mark, Span::masked(*value, *mask), *not),
        Condition::FlowMark(value, mask, not) => {
            one(Field::FlowMark, Span::masked(*value, *mask), *not)
        }
        Condition::PacketType(kind, not) => one(Field::PacketType, Span::one(*kind), *not),
        Condition::TcpFlags(flags, mask, not) => {
            one(Field::TcpFlags, Span::masked(*flags, *mask), *not)
        }
        Condition::Unknown(name) => Match::Unknown(name.clone()),
    }
}

fn one(field: Field, span: Span, negated: bool) -> Match {
    Match::field(field, [span], negated)
}

fn ports(field: Field, ports: &[(u16, u16)], negated: bool) -> Match {
    Match::field(field, ports.iter().map(|(first, last)| Span::range(*first, *last)), negated)
}

fn kinds(field: Field, kinds: &[u32], negated: bool) -> Match {
    Match::field(field, kinds.iter().map(|kind| Span::one(*kind)), negated)
}

fn masked([v4, v6]: [Field; 2], it: &MaskedAddress, negated: bool) -> Match {
    let (span, field) = (Span::masked(number(it.address), number(it.mask)), [v4, v6]);
    Match::field(of_family(field, it.address), [span], negated)
}

fn between(fields: [Field; 2], first: IpAddr, last: IpAddr, negated: bool) -> Match {
    let span = Span::range(number(first), number(last));
    Match::field(of_family(fields, first), [span], negated)
}

fn of_family([v4, v6]: [Field; 2], address: IpAddr) -> Field {
    if address.is_ipv4() { v4 } else { v6 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// A mask that reaches past the name's end stands for exactly that name; a shorter one for what
/// begins with it (`eth+`).
fn interface(name: u128, mask: u128) -> Span {
    let bytes = name.to_be_bytes();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if mask.to_be_bytes().get(end).is_none_or(|byte| *byte == 0xff) {
        Span::one(name)
    } else {
        Span::masked(name & mask, mask)
    }
}
