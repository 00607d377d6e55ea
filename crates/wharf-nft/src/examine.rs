//! Whether the kernel has what one publication needs; for people who ask why.

use std::collections::BTreeMap;

use wharf_host::netlink::{Family, Netlink};
use wharf_host::nftables::{self, Counted, Element};
use wharf_plan::nft::NftPlan;

use crate::contents::Contents;
use crate::{Result, table};

/// What a table has of a part of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// The sets and maps that hold the part, by name.
    pub sets: Vec<&'static str>,
    /// What is missing or different, one sentence each; nothing when all is there.
    pub missing: Vec<String>,
    /// What the table's rules with a comment have counted, by comment.
    pub counters: BTreeMap<String, Counted>,
}

/// Looks for the elements of `part`, and for the chains that lead to them, in table
/// `inet {table}` of the calling thread's network namespace. Changes nothing; lists the sets that
/// `part` is about, so it is not for the way of a change.
///
/// # Errors
/// The part contradicts itself, or the kernel does not answer.
pub fn examine(table: &str, part: &NftPlan) -> Result<Examined> {
    let mut netlink = Netlink::open(Family::Netfilter)?;
    let mut examined = Examined::default();
    if nftables::table(&mut netlink, table)?.is_none() {
        examined.missing.push(format!("table inet {table} is missing"));
        return Ok(examined);
    }
    examined.counters = nftables::counters(&mut netlink, table)?;
    examined.missing = missing_chains(&mut netlink, table)?;
    let wanted = Contents::of(part)?;
    for (set, elements) in wanted.iter() {
        let wanted: Vec<Element> = elements.collect();
        if wanted.is_empty() {
            continue;
        }
        examined.sets.push(set.name);
        let there = match nftables::elements(&mut netlink, table, set) {
            Ok(there) => there,
            Err(error) if error.is_not_found() => {
                examined.missing.push(format!("set {} is missing", set.name));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        examined.missing.extend(lack(set.name, &wanted, &there));
    }
    Ok(examined)
}

/// Chains that are gone or have lost rules. The one for the way back is empty on some hosts.
fn missing_chains(netlink: &mut Netlink, table: &str) -> Result<Vec<String>> {
    let there = nftables::chains(netlink, table)?;
    let wanted = table::chains(false).map(|(chain, rules)| (chain.name, rules.len()));
    let lost = wanted.filter_map(|(chain, rules)| match there.get(chain) {
        None => Some(format!("chain {chain} is missing")),
        Some(found) if *found < rules => {
            Some(format!("chain {chain} has {found} of its {rules} rules"))
        }
        Some(_) => None,
    });
    Ok(lost.collect())
}

/// Both lists are in order.
fn lack(set: &str, wanted: &[Element], there: &[Element]) -> Option<String> {
    let lacks = |element: &&Element| there.binary_search(element).is_err();
    let lacking: Vec<&Element> = wanted.iter().filter(lacks).collect();
    // Open ports are cut and joined with those of others; only a set without any is sure.
    let is_shared = set.starts_with("open");
    if lacking.is_empty() || (is_shared && !there.is_empty()) {
        return None;
    }
    let same_key = |it: &Element| there.iter().any(|other| other.key == it.key);
    let elsewhere = lacking.iter().filter(|it| same_key(it)).count();
    let what = if elsewhere == 0 { "missing from" } else { "led elsewhere by" };
    Some(match (lacking.len(), wanted.len()) {
        (1, 1) => format!("the port is {what} set {set}"),
        (some, all) => format!("{some} of {all} entries are {what} set {set}"),
    })
}

#[cfg(test)]
mod tests {
    use wharf_host::netns::Netns;
    use wharf_host::nftables::{Batch, Datum};
    use wharf_plan::nft::Dnat;
    use wharf_spec::{PortRange, Proto};

    use super::*;
    use crate::NftPlane;

    const TABLE: &str = "wharf-examined";

    fn part(first: u16, last: u16, to: u16) -> NftPlan {
        let ports = PortRange::new(first, last).unwrap();
        let target_ports = PortRange::new(to, to + (last - first)).unwrap();
        let target = "172.30.0.2".parse().unwrap();
        let entry = Dnat { proto: Proto::Tcp, host: None, ports, target, target_ports };
        NftPlan { dnat: [entry].into(), ..NftPlan::default() }
    }

    fn missing(part: &NftPlan) -> String {
        examine(TABLE, part).unwrap().missing.join("; ")
    }

    fn in_a_namespace(work: impl FnOnce() + Send) {
        if wharf_lab::can_run() {
            Netns::create().unwrap().run(work).unwrap();
        }
    }

    #[test]
    fn what_is_there_is_found_and_what_is_gone_is_named() {
        in_a_namespace(|| {
            let (one, range, shifted) = (part(80, 80, 8080), part(90, 99, 90), part(70, 72, 170));
            assert_eq!(missing(&one), "table inet wharf-examined is missing");
            let mut whole = one.clone();
            whole.add(range.clone());
            let mut plane = NftPlane::open(TABLE).unwrap();
            plane.apply(&whole).unwrap();
            assert_eq!(missing(&one), "");
            assert_eq!(examine(TABLE, &one).unwrap().sets, ["ports4"]);
            assert_eq!(examine(TABLE, &range).unwrap().sets, ["port_ranges4"]);
            assert_eq!(missing(&range), "");
            assert_eq!(missing(&shifted), "3 of 3 entries are missing from set ports4");
            assert_eq!(missing(&part(80, 80, 81)), "the port is led elsewhere by set ports4");
            delete(80);
            assert_eq!(missing(&one), "the port is missing from set ports4");
            plane.remove().unwrap();
        });
    }

    fn delete(port: u16) {
        let set = table::SETS.iter().find(|set| set.name == "ports4").unwrap();
        let key = Datum::new().proto(Proto::Tcp.number()).port(port);
        let mut batch = Batch::new(TABLE);
        batch.delete_elements(set, [Element::of(key)]);
        batch.commit(&mut Netlink::open(Family::Netfilter).unwrap()).unwrap();
    }
}
