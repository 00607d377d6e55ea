//! The sets and maps rules look into.

use std::collections::BTreeMap;

use wharf_host::nftables::foreign::{Fall, ForeignElement, ForeignSet};
use wharf_plan::firewall::{Action, Key};

use super::load::Piece;
use super::registers;

const NFT_SET_INTERVAL: u32 = 4;

/// All sets by family, table and name.
#[derive(Debug)]
pub(super) struct Sets<'a> {
    sets: BTreeMap<(u8, &'a str, &'a str), Set<'a>>,
}

/// One set, its ranges put together.
#[derive(Debug)]
pub(super) struct Set<'a> {
    pub(super) key_length: usize,
    /// `None` if it is too long to be read.
    entries: Option<Vec<Entry<'a>>>,
}

#[derive(Debug)]
struct Entry<'a> {
    /// First and last key; `None` fits everything.
    keys: Option<(Vec<u8>, Vec<u8>)>,
    fall: Option<&'a Fall>,
}

// === impl Sets ===

impl<'a> Sets<'a> {
    pub(super) fn of(sets: &'a [ForeignSet]) -> Self {
        let known = sets.iter().map(|set| {
            let entries = set.elements.as_deref().map(|elements| entries(set, elements));
            let key = (set.family, set.table.as_str(), set.name.as_str());
            (key, Set { key_length: set.key_length, entries })
        });
        Self { sets: known.collect() }
    }

    pub(super) fn get(&self, family: u8, table: &'a str, name: &'a str) -> Option<&Set<'a>> {
        self.sets.get(&(family, table, name))
    }
}

// === impl Set ===

impl Set<'_> {
    /// The keys, as spans of `fields`; those that mean nothing to these fields (an interface that
    /// is gone) are left out.
    pub(super) fn keys(&self, fields: &[Piece], names: &[(u32, String)]) -> Option<Vec<Key>> {
        let entries = self.entries.as_ref()?;
        Some(entries.iter().filter_map(|entry| entry.key(fields, names)).collect())
    }

    /// The keys with what a map of verdicts has for them.
    pub(super) fn verdicts(
        &self,
        fields: &[Piece],
        names: &[(u32, String)],
    ) -> Option<Vec<(Key, Action)>> {
        let with_verdict =
            |entry: &Entry<'_>| Some((entry.key(fields, names)?, action(entry.fall?)));
        let mut found: Vec<_> = self.entries.as_ref()?.iter().filter_map(with_verdict).collect();
        // What fits everything is asked last.
        found.sort_by_key(|(key, _)| key.is_empty());
        Some(found)
    }
}

// === impl Entry ===

impl Entry<'_> {
    fn key(&self, fields: &[Piece], names: &[(u32, String)]) -> Option<Key> {
        let Some((first, last)) = &self.keys else { return Some(Key::new()) };
        let (mut at, mut key) = (0, Key::new());
        for piece in fields {
            let part = at..at + piece.length;
            key.push(registers::between(piece, first.get(part.clone())?, last.get(part)?, names)?);
            at += piece.length.next_multiple_of(4);
        }
        Some(key)
    }
}

pub(super) fn action(fall: &Fall) -> Action {
    match fall {
        Fall::Continue => Action::Continue,
        // What a queue's program does is not known; it lets through what it has no reason to stop.
        Fall::Accept | Fall::Queue => Action::Accept,
        Fall::Drop => Action::Drop,
        Fall::Return => Action::Return,
        Fall::Jump(chain) => Action::Jump(chain.clone()),
        Fall::Goto(chain) => Action::Goto(chain.clone()),
    }
}

/// In a set of ranges without ends of their own, each key lasts until the next one that ends a
/// range.
fn entries<'a>(set: &ForeignSet, elements: &'a [ForeignElement]) -> Vec<Entry<'a>> {
    let has_ends = |element: &ForeignElement| element.key_end.is_some();
    let in_tree = set.flags & NFT_SET_INTERVAL != 0 && !elements.iter().any(has_ends);
    let mut ends: Vec<&[u8]> = elements
        .iter()
        .filter(|element| element.ends_a_range)
        .filter_map(|element| element.key.as_deref())
        .collect();
    ends.sort_unstable();
    let starts = elements.iter().filter(|element| !element.ends_a_range);
    let keys = |element: &ForeignElement| {
        let first = element.key.clone()?;
        let last = match &element.key_end {
            Some(end) => end.clone(),
            None if in_tree => last(&first, &ends),
            None => first.clone(),
        };
        Some((first, last))
    };
    starts.map(|element| Entry { keys: keys(element), fall: element.fall.as_ref() }).collect()
}

fn last(first: &[u8], ends: &[&[u8]]) -> Vec<u8> {
    let after = ends.get(ends.partition_point(|end| *end <= first));
    after.map_or_else(|| vec![0xff; first.len()], |after| predecessor(after))
}

fn predecessor(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    key
}
