//! A rule of nftables, run in thought.

use std::sync::Arc;

use wharf_host::nftables::IpFamily;
use wharf_host::nftables::foreign::{Compared, Expression, ForeignRule, Register};
use wharf_host::xtables::Extension;
use wharf_plan::firewall::{Action, Field, MarkChange, Match, Rule, Span, TableFamily};

use super::legacy;
use super::load::{self, Order, Piece};
use super::registers::{self, Content, Registers};
use super::sets::{self, Sets};

const META_MARK: u32 = 3;
const NFPROTO_IPV4: u128 = 2;
const NFPROTO_IPV6: u128 = 10;
/// Expressions that decide nothing. Those that could load something do not: they change it.
const HARMLESS: [&str; 12] = [
    "counter",
    "log",
    "last",
    "notrack",
    "objref",
    "ct",
    "meta",
    "payload",
    "exthdr",
    "dup",
    "secmark",
    "flow_offload",
];
/// Expressions that rewrite, after which the table has no more to say.
const REWRITING: [&str; 4] = ["nat", "masq", "redir", "tproxy"];

/// What a rule refers to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Whose packets come to the table.
    pub(super) family: TableFamily,
    /// The numbers and names of interfaces.
    pub(super) interfaces: &'a [(u32, String)],
    /// Every table's sets.
    pub(super) sets: &'a Sets<'a>,
    /// The rule.
    pub(super) rule: &'a ForeignRule,
}

/// A rule being read.
struct Program<'a> {
    around: Surroundings<'a>,
    /// The family as far as the rule has asked for it: places in headers depend on it.
    family: TableFamily,
    registers: Registers,
    rule: Rule,
}

/// What `rule` asks for and does.
pub(super) fn rule(around: Surroundings<'_>) -> Rule {
    let registers = Registers::default();
    let mut program = Program { around, family: around.family, registers, rule: Rule::default() };
    for expression in &around.rule.expressions {
        program.step(expression);
    }
    program.rule
}

// === impl Program ===

impl<'a> Program<'a> {
    fn step(&mut self, expression: &'a Expression) {
        match expression {
            Expression::Meta { key, to } => self.load(*to, load::meta(*key)),
            Expression::Conntrack { key, direction, to } => {
                self.load(*to, load::conntrack(*key, *direction, self.family));
            }
            Expression::Fib { result, flags, to } => self.load(*to, load::fib(*result, *flags)),
            Expression::Payload { base, offset, length, to } => {
                let pieces = load::payload(*base, *offset, *length, self.family);
                self.registers.load(*to, pieces);
            }
            Expression::Immediate { to, value } => {
                self.registers.put(*to, value.len(), Content::Constant(value.clone()));
            }
            Expression::Bitwise { from, to, mask, xor } => self.bitwise(*from, *to, mask, xor),
            Expression::SetMeta { key, from } => self.set_meta(*key, *from),
            Expression::Compare { from, how, with } => {
                let condition = self.compare(*from, *how, with);
                self.push(condition, "comparison");
            }
            Expression::Range { from, negated, first, last } => {
                let condition = self.range(*from, *negated, first, last);
                self.push(condition, "range");
            }
            Expression::Lookup { set, from, to, negated } => self.lookup(set, *from, *to, *negated),
            Expression::Fall(fall) => self.rule.action = sets::action(fall),
            Expression::Reject => self.rule.action = Action::Reject,
            Expression::Match { name, revision, data } => self.extension(name, *revision, data),
            Expression::Target { name, revision, data } => {
                let outcome = extension(name, *revision, data).outcome();
                legacy::decide(&mut self.rule, &outcome);
            }
            Expression::Other { name, to } => self.other(name, *to),
        }
    }

    fn load(&mut self, to: Register, piece: Option<Piece>) {
        self.registers.load(to, piece.map(|piece| vec![piece]));
    }

    fn other(&mut self, name: &str, to: Option<Register>) {
        match to {
            Some(to) => self.registers.load(to, None),
            None if REWRITING.contains(&name) => self.rule.action = Action::Accept,
            None if HARMLESS.contains(&name) => {}
            // Limits, quotas, sets that fill themselves: true for some packets only.
            None => self.rule.matches.push(Match::Unknown(name.to_owned())),
        }
    }

    fn bitwise(&mut self, from: Register, to: Register, mask: &[u8], xor: &[u8]) {
        let content = match self.registers.at(from).map(|loaded| &loaded.content) {
            Some(Content::Pieces { pieces, mask: None, xor: None }) => Content::Pieces {
                pieces: pieces.clone(),
                mask: Some(mask.to_vec()),
                xor: Some(xor.to_vec()),
            },
            _ => Content::Unknown,
        };
        self.registers.put(to, mask.len(), content);
    }

    fn set_meta(&mut self, key: u32, from: Register) {
        let word = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.try_into().ok()?));
        let change = match self.registers.at(from).map(|loaded| &loaded.content) {
            Some(Content::Constant(value)) => word(value).map(|flip| MarkChange { keep: 0, flip }),
            Some(Content::Pieces { pieces, mask: Some(mask), xor: Some(xor) })
                if pieces.iter().all(|piece| piece.field == Field::Mark) =>
            {
                word(mask).zip(word(xor)).map(|(keep, flip)| MarkChange { keep, flip })
            }
            _ => None,
        };
        if key == META_MARK {
            self.rule.mark = change;
        }
    }

    fn compare(&mut self, from: Register, how: Compared, with: &[u8]) -> Option<Match> {
        let loaded = self.registers.at(from)?;
        let Content::Pieces { pieces, mask, xor } = &loaded.content else { return None };
        let negated = how == Compared::NotEqual;
        if !negated && how != Compared::Equal {
            return ordered(pieces, mask.is_some(), how, with);
        }
        let wanted = flipped(with, xor.as_deref());
        // `& bits != 0` is how states are asked for.
        if let (true, [piece], Some(mask)) = (negated, pieces.as_slice(), mask)
            && wanted.iter().all(|byte| *byte == 0)
            && piece.order == Order::Host
        {
            let bits = registers::number(mask, piece)?;
            return Some(Match::field(piece.field, [Span::any_bit(bits)], false));
        }
        let (mut fields, mut key, mut at) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            let ends = (at + piece.length).min(wanted.len());
            let bytes = wanted.get(at..ends).filter(|bytes| !bytes.is_empty())?;
            let mask = mask.as_deref().map(|mask| mask.get(at..ends)).unwrap_or_default();
            fields.push(piece.field);
            key.push(registers::span(piece, bytes, mask, self.around.interfaces)?);
            at = ends;
        }
        self.note_family(&fields, &key, negated);
        Some(Match::Fields { fields, any_of: Arc::new([key]), negated })
    }

    /// From here on, the rule is about one family.
    fn note_family(&mut self, fields: &[Field], key: &[Span], negated: bool) {
        if let ([Field::Family], [span], false) = (fields, key, negated) {
            match span.first {
                NFPROTO_IPV4 => self.family = TableFamily::Ip,
                NFPROTO_IPV6 => self.family = TableFamily::Ip6,
                _ => {}
            }
        }
    }

    fn range(&self, from: Register, negated: bool, first: &[u8], last: &[u8]) -> Option<Match> {
        let piece = self.plain(from)?;
        let span = registers::between(&piece, first, last, self.around.interfaces)?;
        Some(Match::field(piece.field, [span], negated))
    }

    fn lookup(&mut self, name: &'a str, from: Register, to: Option<Register>, negated: bool) {
        let rule = self.around.rule;
        let set = self.around.sets.get(rule.family, &rule.table, name);
        let names = self.around.interfaces;
        let known = set.and_then(|set| Some((set, self.registers.key(from, set.key_length)?)));
        let fields = |pieces: &[Piece]| pieces.iter().map(|piece| piece.field).collect::<Vec<_>>();
        match to {
            Some(Register::Verdict) => {
                let map = known.and_then(|(set, pieces)| {
                    let entries = set.verdicts(&pieces, names)?.into();
                    Some(Action::Map { fields: fields(&pieces), entries })
                });
                match map {
                    Some(map) => self.rule.action = map,
                    None => self.rule.matches.push(Match::Unknown(format!("map {name}"))),
                }
            }
            // What a map has is loaded, which no rule that filters does.
            Some(to) => {
                self.registers.load(to, None);
                self.rule.matches.push(Match::Unknown(format!("map {name}")));
            }
            None => {
                let condition = known.and_then(|(set, pieces)| {
                    let any_of = set.keys(&pieces, names)?.into();
                    Some(Match::Fields { fields: fields(&pieces), any_of, negated })
                });
                self.push(condition, &format!("set {name}"));
            }
        }
    }

    fn extension(&mut self, name: &str, revision: u32, data: &[u8]) {
        let extension = extension(name, revision, data);
        if let Some(comment) = extension.comment() {
            self.rule.comment = Some(comment);
            return;
        }
        let family = if self.family == TableFamily::Ip6 { IpFamily::V6 } else { IpFamily::V4 };
        let conditions = extension.conditions(family);
        self.rule.matches.extend(conditions.iter().map(legacy::condition));
    }

    /// A field as it is, whole.
    fn plain(&self, from: Register) -> Option<Piece> {
        let loaded = self.registers.at(from)?;
        match &loaded.content {
            Content::Pieces { pieces, mask: None, xor: None } => match pieces.as_slice() {
                [piece] if piece.length == piece.width => Some(*piece),
                _ => None,
            },
            _ => None,
        }
    }

    fn push(&mut self, condition: Option<Match>, what: &str) {
        self.rule.matches.push(condition.unwrap_or_else(|| Match::Unknown(what.to_owned())));
    }
}

fn extension(name: &str, revision: u32, data: &[u8]) -> Extension {
    let revision = u8::try_from(revision).unwrap_or(u8::MAX);
    Extension { name: name.to_owned(), revision, data: data.to_vec() }
}

fn flipped(with: &[u8], xor: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = with.to_vec();
    for (byte, flip) in bytes.iter_mut().zip(xor.unwrap_or_default()) {
        *byte ^= flip;
    }
    bytes
}

/// Less and greater, of a whole field in network order: ports and addresses.
fn ordered(pieces: &[Piece], masked: bool, how: Compared, with: &[u8]) -> Option<Match> {
    let [piece] = pieces else { return None };
    if masked || piece.order == Order::Index || with.len() != piece.width {
        return None;
    }
    let value = registers::number(with, piece)?;
    let span = match how {
        Compared::Less => Span::range(0u32, value.checked_sub(1)?),
        Compared::LessOrEqual => Span::range(0u32, value),
        Compared::Greater => Span::range(value.checked_add(1)?, u128::MAX),
        Compared::GreaterOrEqual => Span::range(value, u128::MAX),
        Compared::Equal | Compared::NotEqual => return None,
    };
    Some(Match::field(piece.field, [span], false))
}
