//! Rules as text for people, near to how `nft` lists them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::field::{Field, Span, name_of};
use super::ruleset::{Action, Key, Match, Rule};

/// Sets can have thousands of elements; a line of text has room for a few.
const SHOWN: usize = 4;

/// `iifname eth0 tcp dport 80 drop`.
pub(super) fn rule(rule: &Rule) -> String {
    let mut words: Vec<String> = rule.matches.iter().map(condition).collect();
    words.push(action(&rule.action));
    if let Some(comment) = &rule.comment {
        words.push(format!("comment '{comment}'"));
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn condition(condition: &Match) -> String {
    let Match::Fields { fields, any_of, negated } = condition else {
        let Match::Unknown(name) = condition else { return String::new() };
        return format!("[{name}]");
    };
    let names: Vec<&str> = fields.iter().map(|field| name(*field)).collect();
    let not = if *negated { "!= " } else { "" };
    format!("{} {not}{}", names.join(" . "), keys(fields, any_of))
}

fn keys(fields: &[Field], any_of: &[Key]) -> String {
    let mut shown: Vec<String> =
        any_of.iter().take(SHOWN).map(|key| self::key(fields, key)).collect();
    if any_of.len() > SHOWN {
        shown.push("…".to_owned());
    }
    match shown.as_slice() {
        [only] => only.clone(),
        _ => format!("{{ {} }}", shown.join(", ")),
    }
}

fn key(fields: &[Field], key: &Key) -> String {
    let parts: Vec<String> =
        fields.iter().zip(key).map(|(field, span)| self::span(*field, *span)).collect();
    if parts.is_empty() { "*".to_owned() } else { parts.join(" . ") }
}

fn span(field: Field, span: Span) -> String {
    match field {
        Field::State | Field::StateOrRewritten if is_any_bit(span) => bits(span.mask, &STATES),
        Field::Status if is_any_bit(span) => bits(span.mask, &STATUSES),
        _ if span.mask == u128::MAX && span.first == span.last => value(field, span.first),
        _ if span.mask == u128::MAX => {
            format!("{}-{}", value(field, span.first), value(field, span.last))
        }
        _ => masked(field, span),
    }
}

fn is_any_bit(span: Span) -> bool {
    span == Span::any_bit(span.mask)
}

fn masked(field: Field, span: Span) -> String {
    let (width, text) = match field {
        Field::InInterface | Field::OutInterface => return format!("{}*", name_of(span.first)),
        Field::Source4 | Field::Destination4 | Field::AskedAddress4 => {
            (32, value(field, span.first))
        }
        Field::Source6 | Field::Destination6 | Field::AskedAddress6 => {
            (128, value(field, span.first))
        }
        _ => return format!("{:#x}/{:#x}", span.first, span.mask),
    };
    let ones = span.mask.count_ones().min(width);
    format!("{text}/{ones}")
}

fn value(field: Field, value: u128) -> String {
    match field {
        Field::InInterface | Field::OutInterface => name_of(value),
        Field::Source4 | Field::Destination4 | Field::AskedAddress4 => u32::try_from(value)
            .map_or_else(|_| value.to_string(), |v| Ipv4Addr::from(v).to_string()),
        Field::Source6 | Field::Destination6 | Field::AskedAddress6 => {
            Ipv6Addr::from(value).to_string()
        }
        Field::State | Field::StateOrRewritten => bits(value, &STATES),
        Field::Status => bits(value, &STATUSES),
        Field::Protocol => {
            numbered(value, &[(6, "tcp"), (17, "udp"), (1, "icmp"), (58, "icmpv6"), (132, "sctp")])
        }
        Field::Family => numbered(value, &[(2, "ipv4"), (10, "ipv6")]),
        Field::SourceKind | Field::DestinationKind => {
            numbered(value, &[(1, "unicast"), (2, "local"), (3, "broadcast"), (5, "multicast")])
        }
        Field::Direction => numbered(value, &[(0, "original"), (1, "reply")]),
        Field::PacketType => numbered(value, &[(0, "host"), (1, "broadcast"), (2, "multicast")]),
        Field::Mark | Field::FlowMark | Field::TcpFlags => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

const STATES: [(u128, &str); 6] = [
    (1, "invalid"),
    (2, "established"),
    (4, "related"),
    (8, "new"),
    (0x40, "untracked"),
    (0x80, "dnat"),
];
const STATUSES: [(u128, &str); 2] = [(0x10, "snat"), (0x20, "dnat")];

fn bits(value: u128, names: &[(u128, &str)]) -> String {
    let set: Vec<&str> =
        names.iter().filter(|(bit, _)| value & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { format!("{value:#x}") } else { set.join(",") }
}

fn numbered(value: u128, names: &[(u128, &str)]) -> String {
    let named = names.iter().find(|(number, _)| *number == value);
    named.map_or_else(|| value.to_string(), |(_, name)| (*name).to_owned())
}

fn name(field: Field) -> &'static str {
    match field {
        Field::Family => "meta nfproto",
        Field::Protocol => "meta l4proto",
        Field::InInterface => "iifname",
        Field::OutInterface => "oifname",
        Field::Source4 => "ip saddr",
        Field::Source6 => "ip6 saddr",
        Field::Destination4 => "ip daddr",
        Field::Destination6 => "ip6 daddr",
        Field::SourcePort => "th sport",
        Field::DestinationPort => "th dport",
        Field::AskedAddress4 => "ct original ip daddr",
        Field::AskedAddress6 => "ct original ip6 daddr",
        Field::AskedPort => "ct original proto-dst",
        Field::State | Field::StateOrRewritten => "ct state",
        Field::Status => "ct status",
        Field::Direction => "ct direction",
        Field::SourceKind => "fib saddr type",
        Field::DestinationKind => "fib daddr type",
        Field::Mark => "meta mark",
        Field::FlowMark => "ct mark",
        Field::PacketType => "meta pkttype",
        Field::TcpFlags => "tcp flags",
        Field::IcmpType => "icmp type",
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::Continue => String::new(),
        Action::Accept => "accept".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Reject => "reject".to_owned(),
        Action::Return => "return".to_owned(),
        Action::Jump(to) => format!("jump {to}"),
        Action::Goto(to) => format!("goto {to}"),
        Action::Map { fields, entries } => {
            let names: Vec<&str> = fields.iter().map(|field| name(*field)).collect();
            let mut shown: Vec<String> = entries
                .iter()
                .take(SHOWN)
                .map(|(key, action)| {
                    format!("{} : {}", self::key(fields, key), self::action(action))
                })
                .collect();
            if entries.len() > SHOWN {
                shown.push("…".to_owned());
            }
            format!("{} vmap {{ {} }}", names.join(" . "), shown.join(", "))
        }
    }
}
