//! Tables of nftables, whoever wrote them.

use std::collections::BTreeMap;

use wharf_host::nftables::foreign::{Foreign, ForeignBase, ForeignChain, ForeignRule};
use wharf_plan::firewall::{Backend, Base, Chain, Hook, Policy, Rule, Table, TableFamily};

use super::program::{self, Surroundings};
use super::sets::Sets;

pub(super) fn tables(foreign: &Foreign) -> Vec<Table> {
    let mut tables: BTreeMap<(u8, &str), Table> = BTreeMap::new();
    for chain in &foreign.chains {
        let Some(family) = family(chain.family) else { continue };
        let table = tables.entry((chain.family, &chain.table)).or_insert_with(|| Table {
            family,
            name: chain.table.clone(),
            backend: Backend::Nftables,
            chains: BTreeMap::new(),
        });
        table.chains.insert(chain.name.clone(), Chain { base: base(chain), rules: Vec::new() });
    }
    let sets = Sets::of(&foreign.sets);
    for rule in &foreign.rules {
        let table = tables.get_mut(&(rule.family, rule.table.as_str()));
        let Some(table) = table else { continue };
        let translated = translate(foreign, &sets, table.family, rule);
        if let Some(chain) = table.chains.get_mut(&rule.chain) {
            chain.rules.push(translated);
        }
    }
    tables.into_values().collect()
}

fn translate(foreign: &Foreign, sets: &Sets<'_>, family: TableFamily, rule: &ForeignRule) -> Rule {
    let around = Surroundings { family, interfaces: &foreign.interfaces, sets, rule };
    let mut rule = program::rule(around);
    rule.comment = rule.comment.take().or_else(|| around.rule.comment.clone());
    rule
}

fn family(number: u8) -> Option<TableFamily> {
    match number {
        1 => Some(TableFamily::Inet),
        2 => Some(TableFamily::Ip),
        10 => Some(TableFamily::Ip6),
        _ => None,
    }
}

/// Chains that translate decide nothing; they are kept as chains nobody enters.
fn base(chain: &ForeignChain) -> Option<Base> {
    let ForeignBase { kind, hook, priority, drops } = chain.base.as_ref()?;
    if kind == "nat" {
        return None;
    }
    let policy = if *drops { Policy::Drop } else { Policy::Accept };
    Some(Base { hook: self::hook(*hook)?, priority: *priority, policy })
}

/// `NF_INET_*`; what hangs on a device (`ingress`, `egress`) is not judged.
pub(super) fn hook(number: u32) -> Option<Hook> {
    match number {
        0 => Some(Hook::Prerouting),
        1 => Some(Hook::Input),
        2 => Some(Hook::Forward),
        3 => Some(Hook::Output),
        4 => Some(Hook::Postrouting),
        _ => None,
    }
}
