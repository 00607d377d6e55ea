//! Other people's rules: each program by itself, and what its rules do to our packets.

use std::collections::BTreeMap;

use wharf_api::Check;
use wharf_plan::firewall::{Family, Forwarded, Obstacle, Owner, Ruleset, forward_obstacle};
use wharf_spec::Publication;

use super::{Patient, note, ok, problem};
use crate::planes::TABLE;

/// Any bridge of ours; what is not said of one by name holds for all of them.
const SOME_BRIDGE: &str = "wharf0";

/// More of the same is no help.
const TOLD: usize = 20;

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let found = wharf_nft::foreign::read(TABLE);
    let mut checks = programs(patient, &found.ruleset);
    checks.extend(ports(patient));
    checks.extend(found.unread.iter().map(|unread| {
        note(
            "firewall",
            unread,
            "rules that cannot be read cannot be taken into account",
            &["`wharf explain` with the client's address shows what gets through"],
        )
    }));
    checks
}

/// One line for each program with rules here: what it keeps from being forwarded, or nothing.
fn programs(patient: &Patient<'_>, ruleset: &Ruleset) -> Vec<Check> {
    let mut drops: BTreeMap<Owner, (Obstacle, Vec<String>)> = BTreeMap::new();
    let some = [SOME_BRIDGE.to_owned()];
    let bridges = if patient.bridges.is_empty() { &some[..] } else { &patient.bridges };
    for bridge in bridges {
        for family in [Family::V4, Family::V6] {
            let asked = Forwarded::to_bridge(family, bridge);
            if let Some(obstacle) = forward_obstacle(ruleset, asked) {
                let remedy = asked.remedy(&obstacle);
                drops.entry(obstacle.owner).or_insert((obstacle, remedy));
            }
        }
    }
    let mut checks: Vec<Check> =
        drops.values().map(|(obstacle, remedy)| drop_of(obstacle, remedy)).collect();
    let peaceful = ruleset.owners().into_iter().filter(|owner| !drops.contains_key(owner));
    checks.extend(peaceful.map(|owner| {
        ok(&name(owner), format!("{owner} has rules here; they let forwarded packets pass"))
    }));
    if checks.is_empty() {
        checks.push(ok("firewall", "no rules of others stand in the way of forwarded packets"));
    }
    checks
}

fn drop_of(obstacle: &Obstacle, remedy: &[String]) -> Check {
    let remedy: Vec<&str> = remedy.iter().map(String::as_str).collect();
    note(
        &name(obstacle.owner),
        obstacle.to_string(),
        "the relay serves what other hosts ask for, as far as INPUT rules let them; to have the \
         kernel serve it, let these packets pass",
        &remedy,
    )
}

fn name(owner: Owner) -> String {
    format!("firewall-{owner}")
}

/// Ports that somebody's INPUT rules block, or that are open although they would.
fn ports(patient: &Patient<'_>) -> Vec<Check> {
    let live = patient.records.iter().filter(|record| record.suspended.is_none());
    let live: Vec<Publication> = live.map(|record| record.publication.clone()).collect();
    let notes = patient.daemon.firewall_notes(&live);
    let check = |text: String| match text.split_once("; ") {
        Some((what, advice)) if what.starts_with("other hosts cannot reach") => {
            problem("port", what, "the relay obeys the host's INPUT rules", &[advice])
        }
        Some((what, advice)) => {
            note("port", what, "published ports walk past INPUT rules", &[advice])
        }
        None => note("port", text, "see `wharf explain`", &[]),
    };
    notes.into_iter().take(TOLD).map(check).collect()
}
