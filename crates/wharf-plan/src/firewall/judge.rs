//! A packet's way through the chains of a hook.

use super::field::{Answer, Field, Span, Value};
use super::obstacle::{Denial, Obstacle};
use super::packet::Packet;
use super::ruleset::{Action, Base, Chain, Hook, Key, Match, Policy, Rule, Ruleset, Table};

/// The kernel allows nftables 16 jumps within each other (`NFT_JUMP_STACK_SIZE`); iptables-legacy
/// has no such limit, but nobody writes rules this deep.
const DEPTH: usize = 64;
/// Rules and keys looked at for one packet. Chains that jump to each other in a fan can multiply
/// without end; a kernel that walked this many would take milliseconds for a packet.
const STEPS: usize = 1 << 20;

/// What becomes of a packet at a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// No rule that is understood keeps it from going on.
    Passes,
    /// It ends here.
    Dropped(Box<Obstacle>),
}

/// Sends `packet` through every base chain of `hook`, lowest priority first. In nftables all of
/// them must let it through: an accept in one says nothing about the next.
///
/// A rule with a match that is not known, or about something of the packet that is not known, is
/// taken as not matching; see [the module](super) for why.
pub fn judge(ruleset: &Ruleset, hook: Hook, packet: &Packet) -> Judgement {
    Walk::new(ruleset, packet).through(hook)
}

/// A packet on its way; its mark is what the rules so far made of it.
pub(super) struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet,
    mark: u32,
    steps: usize,
}

/// A base chain with its table.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a Table,
    name: &'a str,
    base: Base,
}

/// How a chain was left.
enum End<'a> {
    Accepted,
    /// The last rule was reached, or one said to return.
    Fell,
    Denied {
        chain: &'a str,
        rule: &'a Rule,
        denial: Denial,
    },
    /// There is more than can be followed.
    Lost {
        chain: &'a str,
    },
}

/// What a rule means for this packet.
enum Step<'a> {
    Next,
    Done(End<'a>),
}

// === impl Judgement ===

impl Judgement {
    /// What stands in the way, if anything does.
    pub fn obstacle(self) -> Option<Obstacle> {
        match self {
            Self::Passes => None,
            Self::Dropped(obstacle) => Some(*obstacle),
        }
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn new(ruleset: &'a Ruleset, packet: &'a Packet) -> Self {
        Self { ruleset, packet, mark: packet.mark, steps: STEPS }
    }

    /// Goes on with the mark and the patience the hooks before have left.
    pub(super) fn through(&mut self, hook: Hook) -> Judgement {
        for place in self.places(hook) {
            let Some(chain) = place.table.chains.get(place.name) else { continue };
            let obstacle = match self.chain(place, place.name, chain, DEPTH) {
                End::Accepted => continue,
                End::Fell if place.base.policy == Policy::Accept => continue,
                End::Fell => Obstacle::policy(place.table, place.name, place.base),
                End::Denied { chain, rule, denial } => {
                    Obstacle::rule(place.table, place.name, chain, rule, denial)
                }
                End::Lost { chain } => Obstacle::lost(place.table, place.name, chain),
            };
            return Judgement::Dropped(Box::new(obstacle));
        }
        Judgement::Passes
    }

    fn places(&self, hook: Hook) -> Vec<Place<'a>> {
        let mut places: Vec<Place<'a>> = Vec::new();
        for table in self.ruleset.tables.iter().filter(|t| t.family.sees(self.packet.family)) {
            places.extend(table.chains.iter().filter_map(|(name, chain)| {
                let base = chain.base.filter(|base| base.hook == hook)?;
                Some(Place { table, name, base })
            }));
        }
        places.sort_by_key(|place| place.base.priority);
        places
    }

    fn chain(
        &mut self,
        place: Place<'a>,
        name: &'a str,
        chain: &'a Chain,
        depth: usize,
    ) -> End<'a> {
        for rule in &chain.rules {
            if !self.takes_step() {
                return End::Lost { chain: name };
            }
            if !rule.matches.iter().all(|condition| self.holds(place, condition)) {
                continue;
            }
            if let Some(change) = rule.mark {
                self.mark = change.of(self.mark);
            }
            match self.act(place, name, rule, &rule.action, depth) {
                Step::Next => {}
                Step::Done(end) => return end,
            }
        }
        End::Fell
    }

    fn act(
        &mut self,
        place: Place<'a>,
        chain: &'a str,
        rule: &'a Rule,
        action: &'a Action,
        depth: usize,
    ) -> Step<'a> {
        let denied = |denial| Step::Done(End::Denied { chain, rule, denial });
        match action {
            Action::Continue => Step::Next,
            Action::Accept => Step::Done(End::Accepted),
            Action::Drop => denied(Denial::Drop),
            Action::Reject => denied(Denial::Reject),
            Action::Return => Step::Done(End::Fell),
            Action::Jump(to) => match self.enter(place, chain, to, depth) {
                End::Fell => Step::Next,
                end => Step::Done(end),
            },
            Action::Goto(to) => Step::Done(self.enter(place, chain, to, depth)),
            Action::Map { fields, entries } => match self.found(place, fields, entries) {
                // A map in a map does not exist; should one be read, it is passed by.
                None | Some(Action::Map { .. }) => Step::Next,
                Some(action) => self.act(place, chain, rule, action, depth),
            },
        }
    }

    fn enter(&mut self, place: Place<'a>, from: &'a str, to: &'a str, depth: usize) -> End<'a> {
        match (place.table.chains.get(to), depth.checked_sub(1)) {
            (Some(chain), Some(depth)) => self.chain(place, to, chain, depth),
            (Some(_), None) => End::Lost { chain: from },
            // Deleted between two readings: as good as empty.
            (None, _) => End::Fell,
        }
    }

    fn holds(&mut self, place: Place<'a>, condition: &Match) -> bool {
        let Match::Fields { fields, any_of, negated } = condition else { return false };
        let values = self.values(place, fields);
        if values.contains(&Value::Absent) {
            return false;
        }
        let mut found = Answer::No;
        for key in any_of.iter() {
            found = found.or(fits(&values, key));
            if found == Answer::Yes || !self.takes_step() {
                break;
            }
        }
        let answer = if *negated { found.not() } else { found };
        answer == Answer::Yes && self.steps > 0
    }

    fn found(
        &mut self,
        place: Place<'a>,
        fields: &[Field],
        entries: &'a [(Key, Action)],
    ) -> Option<&'a Action> {
        let values = self.values(place, fields);
        if values.contains(&Value::Absent) {
            return None;
        }
        let fits =
            |(key, _): &&(Key, Action)| self.takes_step() && fits(&values, key) == Answer::Yes;
        entries.iter().find(fits).map(|(_, action)| action)
    }

    fn values(&self, place: Place<'a>, fields: &[Field]) -> Vec<Value> {
        let Base { hook, priority, .. } = place.base;
        fields.iter().map(|field| self.packet.value(*field, hook, priority, self.mark)).collect()
    }

    fn takes_step(&mut self) -> bool {
        let left = self.steps.checked_sub(1);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }
}

/// A key without spans fits everything (the `*` of a set).
fn fits(values: &[Value], key: &[Span]) -> Answer {
    let pairs = values.iter().zip(key);
    pairs.fold(Answer::Yes, |so_far, (value, span)| so_far.and(span.covers(*value)))
}
